"""`trinity top`: services, lanes, venues, webhooks and errors of a mesh, live in a terminal or once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Final

import click
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from trinity_cli.exits import CommandError, Exit
from trinity_cli.output import Column, Output, json_option
from trinity_cli.target import Target, resolve, target_options
from trinity_cli.top_figures import Board, Look, board_of
from trinity_core.errors import TrinityError
from trinity_mesh.clock import Clock, SystemClock
from trinity_mesh.telemetry.listener import scrape

_ASK_S: Final = 5.0
_ERRORS_SHOWN: Final = 12

_SERVICES: Final = (
    Column("SERVICE", needed=True),
    Column("", needed=True),
    Column("CALLS/S", right=True, needed=True),
    Column("ERR/S", right=True),
    Column("P99", right=True),
    Column("CPU", right=True, needed=True),
    Column("AVG", right=True),
    Column("P50", right=True),
    Column("MEMORY", right=True),
)
_LANES: Final = (
    Column("LANE", needed=True),
    Column("ANSWERS/S", right=True, needed=True),
    Column("ERR/S", right=True, needed=True),
    Column("AVG", right=True),
    Column("P99", right=True),
    Column("P50", right=True),
)
_VENUES: Final = (
    Column("VENUE", needed=True),
    Column("STATE", needed=True),
    Column("FRESH", right=True, needed=True),
    Column("LAG", right=True),
    Column("TICKS/S", right=True),
    Column("FAULTS", right=True),
    Column("RECONNECTS", right=True),
)
_COUNTS: Final = (Column("WHAT", needed=True), Column("A SECOND", right=True), Column("TOTAL", right=True, needed=True))


@click.command()
@click.option(
    "--interval", type=click.FloatRange(0.2, 60), default=2.0, show_default=True, help="Seconds between two looks."
)
@click.option("--once", is_flag=True, help="Look twice, show what happened in between, and end.")
@target_options("Address of the metrics (host:port or unix:/path)")
@json_option
def top(*, interval: float, once: bool, address: str | None, ready_file: Path | None, as_json: bool) -> int:
    """Show what the mesh is doing: its services, lanes, venues, webhooks and errors, until Ctrl-C.

    In a terminal this is a live view; elsewhere, or with --json, a report at each interval.
    """
    output = Output(as_json=as_json)
    target = resolve("metrics", address, ready_file)
    asyncio.run(_follow(target, output, SystemClock(), interval_s=interval, once=once))
    return Exit.OK


async def _follow(target: Target, output: Output, clock: Clock, *, interval_s: float, once: bool) -> None:
    before = await _look(target, clock)
    if not output.live or once:
        while True:
            before, board = await _next(target, clock, before, interval_s)
            _report(output, board, once=once)
            if once:
                return
    with Live(console=output.console, auto_refresh=False, screen=True) as live:
        while True:
            before, board = await _next(target, clock, before, interval_s)
            live.update(view(output, board), refresh=True)


async def _next(target: Target, clock: Clock, before: Look, interval_s: float) -> tuple[Look, Board]:
    await clock.sleep(interval_s)
    now = await _look(target, clock)
    return now, board_of(before, now)


async def _look(target: Target, clock: Clock) -> Look:
    try:
        return Look(await scrape(target.need("metrics"), timeout_s=_ASK_S), clock.monotonic_ns())
    except (TrinityError, ValueError) as error:
        told = error.message if isinstance(error, TrinityError) else f"this is no text of metrics: {error}"
        raise CommandError(
            f"{target.where('metrics')}: {told}",
            code=Exit.UNREACHABLE,
            hint="is the mesh running? `trinity up` starts it, and prints the address of its metrics",
        ) from error


def _report(output: Output, board: Board, *, once: bool) -> None:
    if output.as_json:
        document = asdict(board)
        if once:
            output.document(document)
        else:
            output.record(document)
        return
    for title, columns, rows in sections(board):
        if rows:
            output.line("")
            output.line(title)
            output.table(columns, rows)


def view(output: Output, board: Board) -> RenderableType:
    """The board, as wide as the terminal."""
    parts: list[RenderableType] = []
    for title, columns, rows in sections(board):
        if rows:
            parts += [Text(title, style="bold cyan"), output.grid(columns, rows), Text("")]
    return Group(*parts)


def sections(board: Board) -> Iterator[tuple[str, tuple[Column, ...], list[tuple[str, ...]]]]:
    """Title, columns and rows of each part of the board."""
    services: list[tuple[str, ...]] = [
        (
            each.name,
            "ok" if each.up else "FAILED",
            _rate(each.calls_per_s),
            _rate(each.errors_per_s),
            _ms(each.p99_ms),
            f"{each.cpu_percent:.0f}%",
            _ms(each.avg_ms),
            _ms(each.p50_ms),
            f"{each.memory_mib:.0f} MiB",
        )
        for each in board.services
    ]
    yield "services", _SERVICES, services
    hits = "" if board.hit_rate_percent is None else f", {board.hit_rate_percent:.1f}% of prices from memory or cache"
    lanes: list[tuple[str, ...]] = [
        (each.name, _rate(each.per_s), _rate(each.errors_per_s), _ms(each.avg_ms), _ms(each.p99_ms), _ms(each.p50_ms))
        for each in board.lanes
    ]
    yield f"lanes{hits}", _LANES, lanes
    states = ", ".join(f"{count} {state}" for state, count in board.prices.items() if count)
    venues: list[tuple[str, ...]] = [
        (
            each.name,
            each.state.upper(),
            f"{each.fresh}/{each.wanted}",
            _ms(each.lag_ms),
            _rate(each.ticks_per_s),
            str(each.faults),
            str(each.reconnects),
        )
        for each in board.venues
    ]
    yield f"venues{f'; prices: {states}' if states else ''}", _VENUES, venues
    for title, counts in (("webhooks", board.webhooks), ("limits and errors", board.errors[:_ERRORS_SHOWN])):
        yield title, _COUNTS, [(each.name, _rate(each.per_s), str(each.total)) for each in counts]


def _rate(per_s: float) -> str:
    if per_s == 0:
        return "0"
    return f"{per_s:,.0f}" if per_s >= 10 else f"{per_s:.1f}"


def _ms(milliseconds: float | None) -> str:
    if milliseconds is None:
        return "-"
    return f"{milliseconds:.2f} ms" if milliseconds < 10 else f"{milliseconds:,.0f} ms"
