"""`trinity webhook endpoints`: where one is told. A new secret is printed once, alone on stdout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from google.protobuf.field_mask_pb2 import FieldMask

from trinity.webhook.v1 import webhook_pb2 as pb
from trinity_cli.account_calls import moment, words
from trinity_cli.exits import Exit
from trinity_cli.key_commands import Seconds
from trinity_cli.output import Column, Output, json_option, proto_json, short_enum
from trinity_cli.price import Milliseconds
from trinity_cli.webhook_calls import PAGE_SIZE, Webhooks, duration, show, webhook_options

_COLUMNS = (
    Column("ENDPOINT", needed=True),
    Column("STATE", needed=True),
    Column("URL", needed=True, wraps=True),
    Column("NAME"),
    Column("SIGNED"),
    Column("ASSOCIATE"),
    Column("VERIFIED"),
    Column("FAILING SINCE"),
    Column("TAKEN", right=True),
    Column("FAILED", right=True),
    Column("CIRCUIT"),
    Column("LAST ERROR", wraps=True),
)
_MASKED = ("name", "url", "paused", "rate_per_s", "in_flight_max", "batch_max", "batch_wait", "ttl")
_SCHEMES = {"v1": pb.SCHEME_V1, "v1a": pb.SCHEME_V1A}


def _amounts(command: Any) -> Any:
    for option in (
        click.option("--ttl", type=Milliseconds(), help="After how long a price that cannot be delivered is dropped."),
        click.option("--batch-wait", type=Milliseconds(), help="How long a price may wait for others, such as 100ms."),
        click.option("--batch-max", type=click.IntRange(1, 500), help="Most prices in one delivery."),
        click.option("--in-flight", type=click.IntRange(1, 64), help="Most alerts under way at once."),
        click.option("--rate", type=click.IntRange(1, 1_000), help="Most deliveries a second."),
        click.option("--name", help="Name to show."),
    ):
        command = option(command)
    return command


@click.group()
def endpoints() -> None:
    """Where you are told: HTTPS or UDP addresses that are yours."""


@endpoints.command()
@click.argument("url")
@click.option("--sign", "schemes", multiple=True, type=click.Choice(list(_SCHEMES)), help="How. [default: v1]")
@click.option("--associate", default="", metavar="ASSOCIATE", help="Customer that it is for. [default: the key's]")
@_amounts
@webhook_options
@json_option
def create(
    url: str, schemes: tuple[str, ...], associate: str, address: str | None, ready_file: Path | None, as_json: bool,
    **amounts: Any,
) -> int:  # fmt: skip
    """Make an endpoint of URL and print its secret, this once; a challenge is sent to it."""
    wanted = pb.Endpoint(url=url, schemes=[_SCHEMES[name] for name in schemes], **_fields(amounts))
    answer = Webhooks(address, ready_file).ask(pb.CreateEndpointRequest(endpoint=wanted, associate=associate))
    return _show_secret(answer, f"made {answer.endpoint.endpoint}; a challenge is on its way to it", as_json=as_json)


@endpoints.command("list")
@click.option("--associate", default="", metavar="ASSOCIATE", help="Only this customer's.")
@click.option("--limit", type=click.IntRange(1), default=10_000, show_default=True, help="Most to show.")
@webhook_options
@json_option
def list_(associate: str, limit: int, address: str | None, ready_file: Path | None, as_json: bool) -> int:
    """Show endpoints, newest first."""
    output = Output(as_json=as_json)
    request = pb.ListEndpointsRequest(associate=associate, page_size=min(limit, PAGE_SIZE))
    found, more = Webhooks(address, ready_file).all(request, "endpoints", limit=limit)
    if as_json:
        output.document({"endpoints": [proto_json(each) for each in found]})
    else:
        output.table(_COLUMNS, [_row(each) for each in found])
    if more:
        output.warn(f"there are more than {limit} endpoints; --limit shows more")
    return Exit.OK


@endpoints.command()
@click.argument("endpoint")
@webhook_options
@json_option
def get(endpoint: str, address: str | None, ready_file: Path | None, as_json: bool) -> int:
    """Show the endpoint of id ENDPOINT."""
    return _show(Webhooks(address, ready_file).ask(pb.GetEndpointRequest(endpoint=endpoint)), as_json=as_json)


@endpoints.command()
@click.argument("endpoint")
@click.option("--url", help="New address; it must be proved anew.")
@click.option("--pause/--resume", "paused", default=None, help="Send nothing for now, or go on.")
@_amounts
@webhook_options
@json_option
def update(
    endpoint: str, url: str | None, paused: bool | None, address: str | None, ready_file: Path | None, as_json: bool,
    **amounts: Any,
) -> int:  # fmt: skip
    """Change what is named of the endpoint of id ENDPOINT."""
    given = {**_fields(amounts), "url": url, "paused": paused}
    changes = {name: value for name, value in given.items() if value is not None}
    if not changes:
        raise click.UsageError(f"name what to change: {', '.join(_MASKED)}")
    wanted = pb.Endpoint(endpoint=endpoint, **changes)
    request = pb.UpdateEndpointRequest(endpoint=wanted, update_mask=FieldMask(paths=list(changes)))
    return _show(Webhooks(address, ready_file).ask(request), as_json=as_json)


@endpoints.command()
@click.argument("endpoint")
@webhook_options
@json_option
def delete(endpoint: str, address: str | None, ready_file: Path | None, as_json: bool) -> int:
    """Remove the endpoint of id ENDPOINT, with its subscriptions and deliveries, for good."""
    Webhooks(address, ready_file).ask(pb.DeleteEndpointRequest(endpoint=endpoint))
    if as_json:
        Output(as_json=True).document({})
    return Exit.OK


@endpoints.command()
@click.argument("endpoint")
@click.argument("challenge", default="")
@webhook_options
@json_option
def verify(endpoint: str, challenge: str, address: str | None, ready_file: Path | None, as_json: bool) -> int:
    """Prove the endpoint of id ENDPOINT with the CHALLENGE that it received; without one, have one sent."""
    request = pb.VerifyEndpointRequest(endpoint=endpoint, challenge=challenge)
    answer = Webhooks(address, ready_file).ask(request)
    if as_json:
        Output(as_json=True).document(proto_json(answer))
        return Exit.OK
    if answer.HasField("challenge_expire_time"):
        until = moment(answer.challenge_expire_time)
        Output(as_json=False).warn(f"a challenge is on its way; it may be answered until {until} UTC")
    return _show(answer, as_json=False)


@endpoints.command("rotate-secret")
@click.argument("endpoint")
@click.option("--sign", "scheme", type=click.Choice(list(_SCHEMES)), help="Which. [default: all]")
@click.option("--overlap", type=Seconds(), help="How long the old one signs beside it, such as 1h. [default: 1d]")
@webhook_options
@json_option
def rotate_secret(
    endpoint: str, scheme: str | None, overlap: int | None, address: str | None, ready_file: Path | None, as_json: bool
) -> int:
    """Replace the secrets of the endpoint of id ENDPOINT and print the new one, this once."""
    request = pb.RotateSecretRequest(
        endpoint=endpoint,
        scheme=_SCHEMES[scheme] if scheme else pb.SCHEME_UNSPECIFIED,
        overlap=None if overlap is None else duration(overlap * 1_000),
    )
    answer = Webhooks(address, ready_file).ask(request)
    return _show_secret(answer, f"{endpoint} has a new secret", as_json=as_json)


@endpoints.command()
@click.argument("endpoint")
@webhook_options
@json_option
def keys(endpoint: str, address: str | None, ready_file: Path | None, as_json: bool) -> int:
    """Print the public keys of v1a of the endpoint of id ENDPOINT, newest first, one a line."""
    output = Output(as_json=as_json)
    answer = Webhooks(address, ready_file).ask(pb.GetKeySetRequest(endpoint=endpoint))
    if as_json:
        output.document(proto_json(answer))
        return Exit.OK
    for key in answer.keys:
        output.line(key.public_key)
        if key.HasField("expire_time"):
            output.warn(f"{key.public_key} signs until {moment(key.expire_time)} UTC")
    if not answer.keys:
        output.warn("it is not signed with v1a; `endpoints create --sign v1a` makes one that is")
    return Exit.OK


@endpoints.command()
@click.argument("endpoint")
@webhook_options
@json_option
def test(endpoint: str, address: str | None, ready_file: Path | None, as_json: bool) -> int:
    """Send a test to the endpoint of id ENDPOINT and print its id; `deliveries list` shows what became of it."""
    output = Output(as_json=as_json)
    answer = Webhooks(address, ready_file).ask(pb.SendTestRequest(endpoint=endpoint))
    if as_json:
        output.document(proto_json(answer.delivery))
    else:
        output.line(answer.delivery.delivery)
    return Exit.OK


def _fields(amounts: dict[str, Any]) -> dict[str, Any]:
    """Fields of an endpoint that the options name."""
    found = {
        "name": amounts["name"],
        "rate_per_s": amounts["rate"],
        "in_flight_max": amounts["in_flight"],
        "batch_max": amounts["batch_max"],
        "batch_wait": duration(amounts["batch_wait"]),
        "ttl": duration(amounts["ttl"]),
    }
    return {name: value for name, value in found.items() if value is not None}


def _show(answer: Any, *, as_json: bool) -> int:
    show(_COLUMNS, _row(answer.endpoint), answer.endpoint, as_json=as_json)
    return Exit.OK


def _show_secret(answer: Any, said: str, *, as_json: bool) -> int:
    output = Output(as_json=as_json)
    if as_json:
        output.document(proto_json(answer))
        return Exit.OK
    output.warn(said)
    for secret in answer.endpoint.secrets:
        if secret.public_key and not secret.HasField("expire_time"):
            output.warn(f"its public key for v1a is {secret.public_key}")
    if answer.secret:
        output.warn("this is the only time that the secret is shown")
        output.line(answer.secret)
    return Exit.OK


def _row(one: pb.Endpoint) -> tuple[str, ...]:
    state = short_enum(pb.EndpointState.Name(one.state), "ENDPOINT_STATE_").lower()
    return (
        one.endpoint,
        f"{state}, paused" if one.paused else state,
        one.url,
        one.name,
        words([short_enum(pb.Scheme.Name(each), "SCHEME_").lower() for each in one.schemes], "-"),
        one.associate,
        moment(one.verify_time, present=one.HasField("verify_time")),
        moment(one.failing_since, present=one.HasField("failing_since")),
        *_activity(one),
    )


def _activity(one: pb.Endpoint) -> tuple[str, ...]:
    """How calls of it went: taken, failed, whether it is called, what went wrong last."""
    if not one.HasField("activity"):
        return "-", "-", "-", "-"
    seen = one.activity
    circuit = short_enum(pb.Circuit.Name(seen.circuit), "CIRCUIT_").lower()
    if seen.HasField("ready_time"):
        circuit += f" until {moment(seen.ready_time)}"
    error = f"{moment(seen.failure_time)} {seen.failure_error}" if seen.HasField("failure_time") else "-"
    return (
        str(seen.ticks_delivered + seen.alerts_delivered),
        str(seen.ticks_failed + seen.alerts_failed),
        circuit,
        error,
    )
