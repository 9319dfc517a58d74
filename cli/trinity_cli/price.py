"""`trinity price`: the price of one or more assets, now."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import click

from trinity.price.v1 import price_pb2
from trinity_cli.dialling import dial
from trinity_cli.exits import Exit, asking, exit_of
from trinity_cli.output import SIMULATED, Column, Output, json_option, proto_json, seconds, short_enum
from trinity_cli.target import Target, resolve, target_options
from trinity_client import PriceClient
from trinity_core.errors import TrinityError
from trinity_core.prices import Method
from trinity_core.venues import Venue
from trinity_mesh.clock import SystemClock
from trinity_mesh.status import to_status
from trinity_mesh.wire import unstamp

ASSETS_MAX = 200
"""Most assets of one call, as the contract bounds them."""

COLUMNS = (
    Column("ASSET", needed=True),
    Column("PRICE USD", right=True, needed=True),
    Column("STATE", needed=True),
    Column("SOURCES", right=True),
    Column("AGE", right=True),
    Column("SPREAD BPS", right=True),
    Column("+/- USD", right=True),
    Column("FROM"),
    Column("NOTE", needed=True),
)
"""Columns of a table of prices; `cells` fills them."""

_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}


class Milliseconds(click.ParamType):  # type: ignore[type-arg] # generic only from click 8.4 on
    """A duration such as 500ms, 5s, 2m or 1h; a plain number is seconds. The value is in milliseconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the text."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h)?", str(value).strip())
        if not found:
            self.fail(f"{value!r} is no duration; write it as 500ms, 5s, 2m or 1h", param, ctx)
        milliseconds = round(float(found[1]) * _UNITS[found[2] or "s"])
        if not 1 <= milliseconds <= 86_400_000:
            self.fail(f"{value!r} is not between 1ms and 24h", param, ctx)
        return milliseconds


@click.command()
@click.argument("assets", nargs=-1, required=True, metavar="ASSET...")
@click.option("--method", type=click.Choice([method.name.lower() for method in Method]), help="How to make the price.")
@click.option("--source", type=click.Choice([venue.value for venue in Venue]), help="One venue's own price.")
@click.option("--max-age", type=Milliseconds(), help="Oldest quote to accept, such as 5s.")
@click.option("--min-sources", type=click.IntRange(0, 6), default=0, help="Fewest venues to accept.")
@target_options("gRPC address of the price service (unix:/path or host:port; several with commas)")
@json_option
def price(
    assets: tuple[str, ...],
    method: str | None,
    source: str | None,
    max_age: int | None,
    min_sources: int,
    address: str | None,
    ready_file: Path | None,
    as_json: bool,
) -> int:
    """Show the price of each ASSET, such as BTC.

    If a price cannot be had as asked, stderr says why and the exit code is not 0.
    """
    if len(assets) > ASSETS_MAX:
        raise click.UsageError(f"{len(assets)} assets; one call takes at most {ASSETS_MAX}")
    if method and source:
        raise click.UsageError("--method and --source exclude each other: one venue's price needs no method")
    output = Output(as_json=as_json)
    target = resolve("price", address, ready_file)
    results = asyncio.run(
        _ask(
            target,
            assets,
            source=source or "",
            method=Method[method.upper()] if method else None,
            max_age_ms=max_age,
            min_sources=min_sources,
        )
    )
    if as_json:
        output.document({"results": [result_json(*pair) for pair in zip(assets, results, strict=True)]})
    else:
        now_ns = SystemClock().unix_ns()
        found = [result for result in results if isinstance(result, price_pb2.Price)]
        if found:
            rows = [cells(one, (now_ns - unstamp(one.receive_time)) / 1e6) for one in found]
            output.table(COLUMNS, rows, headings=False)
        for asset, result in zip(assets, results, strict=True):
            if isinstance(result, TrinityError):
                output.warn(f"{asset}: {result.message}")
    return max((exit_of(result) for result in results if isinstance(result, TrinityError)), default=Exit.OK)


async def _ask(target: Target, assets: tuple[str, ...], **wanted: Any) -> list[price_pb2.Price | TrinityError]:
    async with dial(target.price, "price") as channel, PriceClient(channel) as client:
        with asking(target.where("price")):
            return await client.batch(assets, **wanted)


def result_json(asset: str, result: price_pb2.Price | TrinityError) -> dict[str, Any]:
    """One result as trinity.price.v1.PriceResult has it in ProtoJSON."""
    if isinstance(result, TrinityError):
        return {"asset": asset, "error": proto_json(to_status(result))}
    return {"asset": asset, "price": proto_json(result)}


def cells(one: price_pb2.Price, age_ms: float, *, state: str = "") -> tuple[str, ...]:
    """A price as a row of COLUMNS; `state` where it is known better than the message says."""
    notes = [SIMULATED] if one.sandbox else []
    if one.failover:
        notes.append("failover")
    if one.tier == price_pb2.TIER_LIVE:
        notes.append("live quote")
    return (
        one.asset,
        one.price,
        state or short_enum(price_pb2.State.Name(one.state), "STATE_"),
        str(one.source_count),
        seconds(max(0.0, age_ms)),
        one.spread_bps,
        one.confidence,
        ",".join(one.sources),
        " ".join(notes),
    )
