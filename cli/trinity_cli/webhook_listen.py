"""`trinity webhook listen`: a receiver on this machine, for anyone who integrates."""

from __future__ import annotations

import asyncio
import re
import secrets
import ssl
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Any

import click

from trinity_cli.exits import CommandError, Exit
from trinity_cli.output import Output, json_option
from trinity_cli.price import Milliseconds
from trinity_cli.webhook_ports import Place, http_port, udp_port
from trinity_cli.webhook_receiver import Faults, Receiver, Record, line_of
from trinity_mesh.clock import SystemClock


class Share(click.ParamType):  # type: ignore[type-arg] # generic only from click 8.4 on
    """A share such as 10% or 0.1."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read the text."""
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"(\d{1,3}(?:\.\d{1,6})?)(%?)", str(value).strip())
        share = float(found[1]) / (100 if found[2] else 1) if found else -1.0
        if not 0 <= share <= 1:
            self.fail(f"{value!r} is no share; write it as 10% or 0.1", param, ctx)
        return share


class Bind(click.ParamType):  # type: ignore[type-arg] # generic only from click 8.4 on
    """Where to listen: host:port, [host]:port or a port of this machine."""

    name = "host:port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Place:
        """Read the text."""
        if isinstance(value, tuple):
            return value
        host, _, port = str(value).rpartition(":")
        if not port.isdecimal() or len(port) > 5 or int(port) > 65_535:
            self.fail(f"{value!r} is no place to listen; write it as 127.0.0.1:8088, or 0 for any port", param, ctx)
        return host.strip("[]") or "127.0.0.1", int(port)


@click.command()
@click.option("--http", type=Bind(), default="127.0.0.1:8088", show_default=True, help="Where to listen for HTTP.")
@click.option("--udp", type=Bind(), help="Where to listen for datagrams; needs a whsec_ secret. [default: nowhere]")
@click.option(
    "--secret",
    "keys",
    multiple=True,
    envvar="TRINITY_WEBHOOK_SECRET",
    help="whsec_… or whpk_… of the endpoint; several while a rotation lasts. Better in $TRINITY_WEBHOOK_SECRET, "
    "separated by spaces. [default: nothing is verified]",
)
@click.option(
    "--cert", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Certificate chain, for TLS."
)
@click.option("--cert-key", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Its private key.")
@click.option("--fail", type=Share(), default=0.0, help="Share to answer with --status, such as 10%.")
@click.option("--status", type=click.IntRange(200, 599), default=503, show_default=True, help="Status of those.")
@click.option("--retry-after", type=click.IntRange(0, 86_400), help="Retry-After of those, seconds.")
@click.option("--hang", type=Share(), default=0.0, help="Share not to answer at all, such as 2%.")
@click.option("--delay", type=Milliseconds(), default=0, help="How long every answer waits, such as 300ms.")
@click.option("--seed", type=int, help="Makes the choice of what fails repeatable.")
@click.option("--count", type=click.IntRange(1), help="End after so many. [default: Ctrl-C ends it]")
@json_option
def listen(
    http: Place,
    udp: Place | None,
    keys: tuple[str, ...],
    cert: Path | None,
    cert_key: Path | None,
    fail: float,
    status: int,
    retry_after: int | None,
    hang: float,
    delay: int,
    seed: int | None,
    count: int | None,
    as_json: bool,
) -> int:
    """Receive deliveries on this machine: answer challenges, verify signatures, print each.

    With --json, a line of JSON each. An endpoint on this machine is taken where the mesh's setting webhook.loopback
    says so; from elsewhere, let a tunnel lead here.
    """
    if fail + hang > 1:
        raise click.UsageError("--fail and --hang together are more than all")
    if (cert is None) != (cert_key is None):
        raise click.UsageError("--cert and --cert-key belong together")
    output = Output(as_json=as_json)
    ended = asyncio.Event()
    left = count

    def told(record: Record) -> None:
        nonlocal left
        if as_json:
            output.record(record)
        else:
            output.line(line_of(record))
        if left is not None and record.get("type") != "heartbeat":
            left -= 1
            if left <= 0:
                # What is under way is answered first.
                asyncio.get_running_loop().call_later(delay / 1_000, ended.set)

    faults = Faults(fail=fail, status=status, hang=hang, delay_s=delay / 1_000, retry_after_s=retry_after)
    # Which delivery fails is no secret.
    chance = Random(secrets.randbits(64) if seed is None else seed)  # noqa: S311
    try:
        receiver = Receiver(list(keys), faults=faults, clock=SystemClock(), random=chance.random, told=told)
    except ValueError as error:
        raise click.BadOptionUsage("secret", f"--secret: {error}") from error
    if udp is not None and not receiver.reads_datagrams:
        raise click.UsageError("datagrams are checked and answered with the endpoint's whsec_ secret; name it")
    if not keys:
        output.warn("without a secret nothing is verified; name the endpoint's with $TRINITY_WEBHOOK_SECRET")
    asyncio.run(_listen(http, udp, receiver, delay_s=faults.delay_s, tls=_tls(cert, cert_key), ended=ended, out=output))
    return Exit.OK


async def _listen(
    http: Place,
    udp: Place | None,
    receiver: Receiver,
    *,
    delay_s: float,
    tls: ssl.SSLContext | None,
    ended: asyncio.Event,
    out: Output,
) -> None:
    async with AsyncExitStack() as stack:
        try:
            host, port = await stack.enter_async_context(http_port(http, receiver, delay_s=delay_s, context=tls))
            out.warn(f"listening at {'http' if tls is None else 'https'}://{_shown(host, port)}/")
            if udp is not None:
                host, port = await stack.enter_async_context(udp_port(udp, receiver, delay_s=delay_s))
                out.warn(f"listening at udp://{_shown(host, port)}")
        except OSError as error:
            raise CommandError(f"cannot listen: {error.strerror or error}", code=Exit.UNREACHABLE) from error
        await ended.wait()


def _tls(cert: Path | None, cert_key: Path | None) -> ssl.SSLContext | None:
    if cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, cert_key)
    except OSError as error:
        raise CommandError(f"{cert} and {cert_key} are no certificate and key", code=Exit.USAGE) from error
    return context


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
