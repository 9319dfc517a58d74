"""`trinity explain`: every input of a price, its age, its weight, and who was left out and why."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from trinity.price.v1 import price_pb2
from trinity_cli.dialling import dial
from trinity_cli.exits import Exit, asking
from trinity_cli.output import SIMULATED, Column, Output, json_option, proto_json, seconds, short_enum
from trinity_cli.target import Target, resolve, target_options
from trinity_client import PriceClient
from trinity_core.prices import Method
from trinity_mesh.clock import SystemClock
from trinity_mesh.wire import unstamp

_COLUMNS = (
    Column("VENUE", needed=True),
    Column("PRICE USD", right=True, needed=True),
    Column("WEIGHT", right=True),
    Column("OFF BPS", right=True),
    Column("AGE", right=True),
    Column("ALIVE", right=True),
    Column("USED", needed=True),
    Column("SYMBOL"),
    Column("LAST", right=True),
    Column("BID", right=True),
    Column("ASK", right=True),
    Column("RATE", right=True),
)


@click.command()
@click.argument("asset")
@click.option("--method", type=click.Choice([method.name.lower() for method in Method]), help="How to make the price.")
@target_options("gRPC address of the price service (unix:/path or host:port; several with commas)")
@json_option
def explain(asset: str, method: str | None, address: str | None, ready_file: Path | None, as_json: bool) -> int:
    """Show how the price of ASSET is made: each venue's quote, its age, its weight, or why it does not count."""
    output = Output(as_json=as_json)
    target = resolve("price", address, ready_file)
    answer = asyncio.run(_ask(target, asset, Method[method.upper()] if method else None))
    if as_json:
        output.document(proto_json(answer))
        return Exit.OK
    for line in summary(asset.upper(), answer, now_ns=SystemClock().unix_ns()):
        output.line(line)
    output.line("")
    output.table(_COLUMNS, [_row(one) for one in answer.inputs])
    details = [f"{one.venue}: {one.detail}" for one in answer.inputs if one.detail]
    if details:
        output.line("")
    for line in details:
        output.line(line)
    return Exit.OK


async def _ask(target: Target, asset: str, method: Method | None) -> price_pb2.ExplainPriceResponse:
    async with dial(target.price, "price") as channel, PriceClient(channel) as client:
        with asking(target.where("price")):
            return await client.explain(asset, method=method)


def summary(asset: str, answer: price_pb2.ExplainPriceResponse, *, now_ns: int) -> list[str]:
    """The price and its bounds in a few lines."""
    lines = []
    if answer.HasField("price"):
        price = answer.price
        state = short_enum(price_pb2.State.Name(price.state), "STATE_")
        method = short_enum(price_pb2.Method.Name(price.method), "METHOD_").lower()
        age = seconds(max(0, now_ns - unstamp(price.receive_time)) / 1e6)
        mark = f"  {SIMULATED}, not a market price" if price.sandbox else ""
        lines += [
            f"{price.asset}  {price.price} USD  {state}{mark}",
            f"{method} of {price.source_count} of {len(answer.inputs)} venues, +/- {price.confidence} USD, "
            f"spread {price.spread_bps} bps, {age} old, sequence {price.sequence}",
        ]
    else:
        lines.append(f"{asset}  no price")
    if answer.median:
        lines.append(
            f"median of the fresh quotes {answer.median} USD, MAD {answer.mad} USD; "
            f"kept within {answer.threshold} USD of the median"
        )
    lines.append(
        f"fresh up to {seconds(answer.fresh_ms)}, up to {seconds(answer.quiet_ms)} on heartbeats alone; "
        f"stale from {seconds(answer.stale_ms)}"
    )
    if answer.detail:
        lines.append(answer.detail)
    return lines


def _row(one: price_pb2.PriceInput) -> tuple[str, ...]:
    used = "yes" if one.kept else short_enum(price_pb2.Exclusion.Name(one.exclusion), "EXCLUSION_").lower()
    rate = f"{one.conversion.rate or '?'} {one.conversion.currency}" if one.HasField("conversion") else ""
    return (
        one.venue,
        one.value_usd or "-",
        one.weight if one.kept else "",
        one.deviation_bps,
        seconds(one.age_ms) if one.value else "",
        "down" if one.alive_ms < 0 else seconds(one.alive_ms),
        used.replace("_", " "),
        one.symbol,
        one.last,
        one.bid,
        one.ask,
        rate,
    )
