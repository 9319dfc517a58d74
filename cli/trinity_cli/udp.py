"""`trinity udp`: prices and totals over UDP."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from trinity_cli.exits import CommandError, Exit, command_error, exit_of
from trinity_cli.output import SIMULATED, Column, Output, json_option, seconds
from trinity_cli.price import ASSETS_MAX, Milliseconds
from trinity_cli.target import Target, resolve, target_options
from trinity_cli.udp_session import open_session, session_target
from trinity_cli.udp_usage import rfc3339, show_usage
from trinity_client import UdpClient, UdpPrice
from trinity_core.errors import Reason, TrinityError
from trinity_mesh.clock import SystemClock

_COLUMNS = (
    Column("ASSET", needed=True),
    Column("PRICE USD", right=True, needed=True),
    Column("STATE", needed=True),
    Column("SOURCES", right=True),
    Column("AGE", right=True),
    Column("NOTE", needed=True),
)
_ASSET: Final = re.compile("[A-Za-z0-9]{1,16}")


@click.command()
@click.argument("assets", nargs=-1, metavar="[ASSET...]")
@click.option("--usage", is_flag=True, help="Ask for the totals of the key instead: today, this month, quota left.")
@click.option("--session", "with_session", is_flag=True, help="Ask with a session of the key, which pays for it.")
@click.option("--timeout", type=Milliseconds(), default="1s", help="Wait for each try.", show_default=True)
@click.option(
    "--tries", type=click.IntRange(1, 10), default=3, help="Datagrams to send for each question.", show_default=True
)
@target_options("UDP address of a gateway (host:port); sessions are opened where the ready file says")
@json_option
def udp(
    assets: tuple[str, ...],
    usage: bool,
    with_session: bool,
    timeout: int,
    tries: int,
    address: str | None,
    ready_file: Path | None,
    as_json: bool,
) -> int:
    """Ask for the price of each ASSET over UDP, and again when a datagram is lost.

    A session is opened with the key in $TRINITY_KEY, or else the ready file's.
    """
    if bool(assets) == usage:
        raise click.UsageError("--usage takes no ASSET" if usage else "name an ASSET, such as BTC; or ask for --usage")
    if len(assets) > ASSETS_MAX:
        raise click.UsageError(f"{len(assets)} assets; one call takes at most {ASSETS_MAX}")
    output = Output(as_json=as_json)
    if usage:
        show_usage(session_target("udp_reports", address, ready_file), output, timeout_ms=timeout, tries=tries)
        return Exit.OK
    target = session_target("udp", address, ready_file) if with_session else resolve("udp", address, ready_file)
    results = asyncio.run(ask_udp(target, assets, timeout_ms=timeout, tries=tries, paying=with_session))
    if as_json:
        output.document({"results": [_json(*pair) for pair in zip(assets, results, strict=True)]})
    else:
        now_s = SystemClock().unix_ns() / 1e9
        rows = [_row(result, now_s) for result in results if isinstance(result, UdpPrice)]
        if rows:
            output.table(_COLUMNS, rows, headings=False)
        for asset, result in zip(assets, results, strict=True):
            if isinstance(result, TrinityError):
                output.warn(f"{asset}: {result.message}")
    return max((exit_of(result) for result in results if isinstance(result, TrinityError)), default=Exit.OK)


async def ask_udp(
    target: Target, assets: Sequence[str], *, timeout_ms: int, tries: int, paying: bool = False
) -> list[UdpPrice | TrinityError]:
    """What a gateway says of each asset, in the order asked; `paying`: in a session, at its key's expense.

    Raises CommandError: 3 when an id is none, 5 when nothing at all is answered.
    """
    for asset in assets:
        if not _ASSET.fullmatch(asset):
            hint = "an id has 1 to 16 letters and digits, such as BTC"
            raise CommandError(f"{asset!r} is no asset id", code=Exit.REFUSED, hint=hint)
    session = await open_session(target) if paying else None
    address, where = target.need("udp"), target.where("udp")
    try:
        async with UdpClient(address, session=session, timeout_ms=timeout_ms, tries=tries) as client:
            found = await client.batch(assets)
    except ValueError:
        raise click.BadOptionUsage("address", f"{address!r} is no address; write it as 127.0.0.1:2679") from None
    except TrinityError as error:
        raise command_error(error, where) from error
    results = [found[asset.upper()] for asset in assets]
    if all(isinstance(each, TrinityError) and each.reason is Reason.DEADLINE_EXCEEDED for each in results):
        raise CommandError(
            f"{where}: no answer to {tries} tries of {timeout_ms / 1_000:g} s",
            code=Exit.UNREACHABLE,
            hint="is the mesh running? `trinity up` starts it, `trinity check` says what is wrong with it",
        )
    return results


def _row(told: UdpPrice, now_s: float) -> tuple[str, ...]:
    return (
        told.asset,
        f"{told.price:f}",
        told.state.name,
        str(told.source_count),
        seconds(max(0.0, now_s - told.receive_time.timestamp()) * 1_000),
        SIMULATED if told.sandbox else "",
    )


def _json(asset: str, result: UdpPrice | TrinityError) -> dict[str, Any]:
    """The fields that a datagram has, named as in trinity.price.v1.Price."""
    if isinstance(result, TrinityError):
        return {"asset": asset, "error": {"reason": result.reason.value, "message": result.message}}
    return {
        "asset": asset,
        "price": {
            "asset": result.asset,
            "quote": "USD",
            "price": f"{result.price:f}",
            "state": f"STATE_{result.state.name}",
            "tier": f"TIER_{result.tier.name}",
            "sourceCount": result.source_count,
            "receiveTime": rfc3339(result.receive_time),
            "sequence": str(result.sequence),
            "sandbox": result.sandbox,
        },
    }
