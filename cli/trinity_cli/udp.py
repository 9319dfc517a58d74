"""`trinity udp`: prices and totals over UDP, and the client's half of GET."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import click

from trinity_cli.exits import CommandError, Exit, exit_of
from trinity_cli.output import SIMULATED, Column, Output, json_option, seconds
from trinity_cli.price import ASSETS_MAX, Milliseconds
from trinity_cli.target import Target, resolve, target_options
from trinity_cli.udp_exchange import exchange, parse_error
from trinity_cli.udp_session import Session, open_session, session_target
from trinity_cli.udp_usage import show_usage
from trinity_core.errors import Reason, TrinityError
from trinity_core.prices import State
from trinity_mesh.clock import SystemClock

QUERY_BYTES: Final = 40
"""Length to which a query is padded: it earns 120 bytes, more than any answer about one asset needs."""

_COLUMNS = (
    Column("ASSET", needed=True),
    Column("PRICE USD", right=True, needed=True),
    Column("STATE", needed=True),
    Column("SOURCES", right=True),
    Column("AGE", right=True),
    Column("NOTE", needed=True),
)
_ASSET: Final = re.compile("[A-Za-z0-9]{1,16}")
_STATES: Mapping[str, State] = MappingProxyType({state.letter: state for state in State})


@dataclass(frozen=True, slots=True)
class Quoted:
    """A full answer with a price."""

    asset: str
    price: str
    receive_unix_s: int
    source_count: int
    state: State
    sandbox: bool


@click.command()
@click.argument("assets", nargs=-1, metavar="[ASSET...]")
@click.option("--usage", is_flag=True, help="Ask for the totals of the key instead: today, this month, quota left.")
@click.option("--session", "with_session", is_flag=True, help="Ask with a session of the key, which pays for it.")
@click.option("--timeout", type=Milliseconds(), default="1s", help="Wait for each try.", show_default=True)
@click.option(
    "--tries", type=click.IntRange(1, 10), default=3, help="Datagrams to send for each asset.", show_default=True
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
    """Ask for the price of each ASSET over UDP, one datagram each, and again when one is lost.

    A session is opened with the key in $TRINITY_KEY, or else the ready file's.
    """
    if bool(assets) == usage:
        raise click.UsageError("--usage takes no ASSET" if usage else "name an ASSET, such as BTC; or ask for --usage")
    if len(assets) > ASSETS_MAX:
        raise click.UsageError(f"{len(assets)} assets; one call takes at most {ASSETS_MAX}")
    output = Output(as_json=as_json)
    if usage:
        target = session_target("udp_reports", address, ready_file)
        session = open_session(target, clock=SystemClock())
        show_usage(target, session, output, timeout_s=timeout / 1_000, tries=tries)
        return Exit.OK
    target = session_target("udp", address, ready_file) if with_session else resolve("udp", address, ready_file)
    paying = open_session(target, clock=SystemClock()) if with_session else None
    results = asyncio.run(ask_udp(target, assets, timeout_s=timeout / 1_000, tries=tries, session=paying))
    if as_json:
        output.document({"results": [_json(*pair) for pair in zip(assets, results, strict=True)]})
    else:
        now_s = SystemClock().unix_ns() / 1e9
        rows = [_row(result, now_s) for result in results if isinstance(result, Quoted)]
        if rows:
            output.table(_COLUMNS, rows, headings=False)
        for asset, result in zip(assets, results, strict=True):
            if isinstance(result, TrinityError):
                output.warn(f"{asset}: {result.message}")
    return max((exit_of(result) for result in results if isinstance(result, TrinityError)), default=Exit.OK)


def query(mark: str, asset: str) -> bytes:
    """One query, padded with spaces so that it earns a full answer."""
    return f"GET {asset} USD id={mark}".ljust(QUERY_BYTES).encode("ascii")


def parse_answer(line: bytes) -> tuple[str, Quoted | TrinityError] | None:
    """The id of an answer and what it says; None for anything that is no answer to `query`."""
    try:
        words = line.decode("ascii").split()
        if len(words) == 8 and words[0] == "OK":
            _, mark, asset, price, _, time, count, state = words
            star = state.endswith("*")
            return mark, Quoted(asset, price, int(time), int(count), _STATES[state.rstrip("*")], star)
    except (ValueError, KeyError):
        return None
    return parse_error(line)


async def ask_udp(
    target: Target, assets: Sequence[str], *, timeout_s: float, tries: int, session: Session | None = None
) -> list[Quoted | TrinityError]:
    """What a gateway says of each asset, in the order asked; with a session, at its key's expense.

    Raises CommandError: 3 when an id is none, 5 when nothing at all is answered.
    """
    for asset in assets:
        if not _ASSET.fullmatch(asset):
            hint = "an id has 1 to 16 letters and digits, such as BTC"
            raise CommandError(f"{asset!r} is no asset id", code=Exit.REFUSED, hint=hint)
    questions = {str(number): _question(str(number), asset, session) for number, asset in enumerate(assets, 1)}
    results = await exchange(target, "udp", questions, parse_answer, timeout_s=timeout_s, tries=tries)
    silence = TrinityError(Reason.NO_PRICE, "no answer; silence is how UDP says that it was asked too much")
    return [results.get(mark, silence) for mark in questions]


def _question(mark: str, asset: str, session: Session | None) -> Callable[[], bytes]:
    if session is None:
        return lambda: query(mark, asset)
    return lambda: session.sign(f"GET {asset} USD id={mark}")


def _row(quoted: Quoted, now_s: float) -> tuple[str, ...]:
    return (
        quoted.asset,
        quoted.price,
        quoted.state.name,
        str(quoted.source_count),
        seconds(max(0.0, now_s - quoted.receive_unix_s) * 1_000),
        SIMULATED if quoted.sandbox else "",
    )


def _json(asset: str, result: Quoted | TrinityError) -> dict[str, Any]:
    """The fields that a datagram has, named as in trinity.price.v1.Price."""
    if isinstance(result, TrinityError):
        return {"asset": asset, "error": {"reason": result.reason.value, "message": result.message}}
    return {
        "asset": asset,
        "price": {
            "asset": result.asset,
            "quote": "USD",
            "price": result.price,
            "state": f"STATE_{result.state.name}",
            "sourceCount": result.source_count,
            "receiveTime": datetime.fromtimestamp(result.receive_unix_s, UTC).isoformat().replace("+00:00", "Z"),
            "sandbox": result.sandbox,
        },
    }
