"""`trinity webhook subscriptions`: what endpoints are told of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from google.protobuf.field_mask_pb2 import FieldMask

from trinity.webhook.v1 import webhook_pb2 as pb
from trinity_cli.account_calls import words
from trinity_cli.exits import Exit
from trinity_cli.output import Column, Output, json_option, proto_json
from trinity_cli.webhook_calls import PAGE_SIZE, Webhooks, show, webhook_options
from trinity_cli.webhook_rule_options import DIRECTIONS, one_rule, rule_options, rules_of
from trinity_cli.webhook_try import try_

_COLUMNS = (
    Column("SUBSCRIPTION", needed=True),
    Column("RULE", needed=True),
    Column("ASSETS", wraps=True),
    Column("STATE"),
    Column("NAME"),
    Column("ENDPOINT"),
)


@click.group()
def subscriptions() -> None:
    """What you are told of: ticks or alerts."""


subscriptions.add_command(try_)


@subscriptions.command()
@click.argument("endpoint")
@click.option("--asset", "assets", multiple=True, help="Asset, such as BTC. [default: all]")
@click.option("--name", default="", help="Name to show; alerts carry it.")
@rule_options
@webhook_options
@json_option
def create(
    endpoint: str, assets: tuple[str, ...], name: str, address: str | None, ready_file: Path | None, as_json: bool,
    **options: Any,
) -> int:  # fmt: skip
    """Tell the endpoint of id ENDPOINT of something; name one rule."""
    wanted = pb.Subscription(name=name, assets=[asset.upper() for asset in assets], **one_rule(options))
    request = pb.CreateSubscriptionRequest(endpoint=endpoint, subscription=wanted)
    return _show(Webhooks(address, ready_file).ask(request), as_json=as_json)


@subscriptions.command("list")
@click.option("--endpoint", default="", metavar="ENDPOINT", help="Only this endpoint's.")
@click.option("--associate", default="", metavar="ASSOCIATE", help="Only this customer's.")
@click.option("--limit", type=click.IntRange(1), default=10_000, show_default=True, help="Most to show.")
@webhook_options
@json_option
def list_(
    endpoint: str, associate: str, limit: int, address: str | None, ready_file: Path | None, as_json: bool
) -> int:
    """Show subscriptions, newest first."""
    output = Output(as_json=as_json)
    request = pb.ListSubscriptionsRequest(endpoint=endpoint, associate=associate, page_size=min(limit, PAGE_SIZE))
    found, more = Webhooks(address, ready_file).all(request, "subscriptions", limit=limit)
    if as_json:
        output.document({"subscriptions": [proto_json(each) for each in found]})
    else:
        output.table(_COLUMNS, [_row(each) for each in found])
    if more:
        output.warn(f"there are more than {limit} subscriptions; --limit shows more")
    return Exit.OK


@subscriptions.command()
@click.argument("subscription")
@webhook_options
@json_option
def get(subscription: str, address: str | None, ready_file: Path | None, as_json: bool) -> int:
    """Show the subscription of id SUBSCRIPTION."""
    request = pb.GetSubscriptionRequest(subscription=subscription)
    return _show(Webhooks(address, ready_file).ask(request), as_json=as_json)


@subscriptions.command()
@click.argument("subscription")
@click.option("--asset", "assets", multiple=True, help="Asset, such as BTC; replaces all.")
@click.option("--name", help="Name to show.")
@click.option("--pause/--resume", "paused", default=None, help="Evaluate nothing for now, or go on.")
@rule_options
@webhook_options
@json_option
def update(
    subscription: str, assets: tuple[str, ...], name: str | None, paused: bool | None, address: str | None,
    ready_file: Path | None, as_json: bool, **options: Any,
) -> int:  # fmt: skip
    """Change what is named of the subscription of id SUBSCRIPTION.

    With another rule, or other assets, its alerts begin anew.
    """
    rules = rules_of(options)
    if len(rules) > 1:
        raise click.UsageError("name one rule at most")
    changes: dict[str, Any] = {}
    if assets:
        changes["assets"] = [asset.upper() for asset in assets]
    changes |= {field: value for field, value in (("name", name), ("paused", paused)) if value is not None}
    paths = [*changes, *(["rule"] if rules else [])]
    if not paths:
        raise click.UsageError("name what to change: --asset, --name, --pause, --resume or a rule")
    wanted = pb.Subscription(subscription=subscription, **changes, **rules)
    request = pb.UpdateSubscriptionRequest(subscription=wanted, update_mask=FieldMask(paths=paths))
    return _show(Webhooks(address, ready_file).ask(request), as_json=as_json)


@subscriptions.command()
@click.argument("subscription")
@webhook_options
@json_option
def delete(subscription: str, address: str | None, ready_file: Path | None, as_json: bool) -> int:
    """Remove the subscription of id SUBSCRIPTION; alerts that were made are still delivered."""
    Webhooks(address, ready_file).ask(pb.DeleteSubscriptionRequest(subscription=subscription))
    if as_json:
        Output(as_json=True).document({})
    return Exit.OK


def _show(answer: Any, *, as_json: bool) -> int:
    show(_COLUMNS, _row(answer.subscription), answer.subscription, as_json=as_json)
    return Exit.OK


def _row(one: pb.Subscription) -> tuple[str, ...]:
    return (
        one.subscription,
        _rule_text(one),
        words(one.assets, "all"),
        "paused" if one.paused else "on",
        one.name,
        one.endpoint,
    )


def _rule_text(one: pb.Subscription) -> str:
    """The rule in words: its name and its main number."""
    name = one.WhichOneof("rule") or "-"
    rule = None if name == "-" else getattr(one, name)
    match rule:
        case pb.Interval():
            return f"{name} {rule.interval.ToJsonString()}"
        case pb.Moved() | pb.Divergence():
            return f"{name} {rule.bps} bps"
        case pb.Crossing():
            return f"{name} {_way(rule.direction)} {rule.threshold}"
        case pb.PercentMove():
            return f"{name} {_way(rule.direction)} {rule.percent} % in {rule.window.ToJsonString()}"
        case pb.Staleness() | pb.Recovery():
            return f"{name} {rule.after.ToJsonString()}"
    return name


def _way(direction: pb.Direction.ValueType) -> str:
    return next((name for name, value in DIRECTIONS.items() if value == direction), "-")
