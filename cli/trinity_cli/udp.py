"""`trinity udp`: prices over UDP, and the client's half of the text protocol."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Mapping, Sequence
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
@click.argument("assets", nargs=-1, required=True, metavar="ASSET...")
@click.option("--timeout", type=Milliseconds(), default="1s", help="Wait for each try.", show_default=True)
@click.option(
    "--tries", type=click.IntRange(1, 10), default=3, help="Datagrams to send for each asset.", show_default=True
)
@target_options("UDP address of a gateway (host:port)")
@json_option
def udp(
    assets: tuple[str, ...], timeout: int, tries: int, address: str | None, ready_file: Path | None, as_json: bool
) -> int:
    """Ask for the price of each ASSET over UDP, one datagram each, and again when one is lost."""
    if len(assets) > ASSETS_MAX:
        raise click.UsageError(f"{len(assets)} assets; one call takes at most {ASSETS_MAX}")
    output = Output(as_json=as_json)
    target = resolve("udp", address, ready_file)
    results = asyncio.run(ask_udp(target, assets, timeout_s=timeout / 1_000, tries=tries))
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
        if len(words) >= 3 and words[0] == "ERR":
            facts = " ".join(words[3:])
            message = f"{words[2]} {facts}".rstrip()
            return words[1], TrinityError(Reason(words[2]), message)
    except (ValueError, KeyError):
        return None
    return None


class _Client(asyncio.DatagramProtocol):
    """Collects answers by their id."""

    def __init__(self, wanted: Sequence[str]) -> None:
        self.results: dict[str, Quoted | TrinityError] = {}
        self.refused = False
        self.complete = asyncio.Event()
        self._wanted = frozenset(wanted)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Take every line that answers one of our queries."""
        for line in data.splitlines():
            answer = parse_answer(line)
            if answer is not None and answer[0] in self._wanted:
                self.results[answer[0]] = answer[1]
        if len(self.results) == len(self._wanted):
            self.complete.set()

    def error_received(self, exc: Exception) -> None:
        """The network says that nobody listens there."""
        self.refused = True
        self.complete.set()


async def ask_udp(
    target: Target, assets: Sequence[str], *, timeout_s: float, tries: int
) -> list[Quoted | TrinityError]:
    """What a gateway says of each asset, in the order asked.

    Raises CommandError: 3 when an id is none, 5 when nothing at all is answered.
    """
    for asset in assets:
        if not _ASSET.fullmatch(asset):
            hint = "an id has 1 to 16 letters and digits, such as BTC"
            raise CommandError(f"{asset!r} is no asset id", code=Exit.REFUSED, hint=hint)
    marks = [str(number) for number in range(1, len(assets) + 1)]
    transport, client = await _connect(target, marks)
    try:
        for _ in range(tries):
            for mark, asset in zip(marks, assets, strict=True):
                if mark not in client.results:
                    transport.sendto(query(mark, asset))
            try:
                async with asyncio.timeout(timeout_s):
                    await client.complete.wait()
            except TimeoutError:
                continue
            break
    finally:
        transport.close()
    if not client.results:
        why = "nobody listens there" if client.refused else f"no answer to {tries} tries of {timeout_s:g} s"
        raise CommandError(
            f"{target.where('udp')}: {why}",
            code=Exit.UNREACHABLE,
            hint="is the mesh running? `trinity up` starts it, `trinity check` says what is wrong with it",
        )
    silence = TrinityError(Reason.NO_PRICE, "no answer; silence is how UDP says that it was asked too much")
    return [client.results.get(mark, silence) for mark in marks]


async def _connect(target: Target, marks: Sequence[str]) -> tuple[asyncio.DatagramTransport, _Client]:
    host, _, port = target.need("udp").rpartition(":")
    if not host or not port.isdecimal():
        raise click.BadOptionUsage("address", f"{target.udp!r} is no address; write it as 127.0.0.1:2679")
    try:
        return await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Client(marks), remote_addr=(host.strip("[]"), int(port)), proto=socket.IPPROTO_UDP
        )
    except (OSError, OverflowError) as error:
        raise CommandError(
            f"{target.where('udp')}: {error}", code=Exit.UNREACHABLE, hint="name another with --address host:port"
        ) from error


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
