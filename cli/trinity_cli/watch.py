"""`trinity watch`: prices as they change, on a live board or as lines."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Protocol

import click
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from trinity.price.v1 import price_pb2
from trinity_cli.dialling import dial
from trinity_cli.exits import CommandError, Exit, asking
from trinity_cli.output import Column, Output, json_option, proto_json
from trinity_cli.price import COLUMNS, Milliseconds, cells
from trinity_cli.target import Target, resolve, target_options
from trinity_client import PriceBook, PriceView
from trinity_core.assets import load_assets
from trinity_mesh.clock import Clock, SystemClock

READY_S = 5.0
"""Longest wait for the first prices."""

_REDRAW_S = 0.25
_BOARD_COLUMNS = (COLUMNS[0], COLUMNS[1], Column("", needed=True), Column("CHANGE", right=True), *COLUMNS[2:])


@click.command()
@click.argument("assets", nargs=-1, metavar="[ASSET]...")
@click.option("--interval", type=Milliseconds(), help="Shortest time between two changes of an asset, such as 1s.")
@click.option("--count", type=click.IntRange(1), help="End after so many prices.")
@target_options("gRPC address of the price service (unix:/path or host:port; several with commas)")
@json_option
def watch(
    assets: tuple[str, ...],
    interval: int | None,
    count: int | None,
    address: str | None,
    ready_file: Path | None,
    as_json: bool,
) -> int:
    """Follow the prices of each ASSET, or of all, until Ctrl-C.

    In a terminal this is a live board; elsewhere, or with --json, one line a change.
    """
    if interval is not None and interval > 60_000:
        raise click.UsageError("--interval is at most 60s")
    output = Output(as_json=as_json)
    target = resolve("price", address, ready_file)
    asyncio.run(_follow(target, output, SystemClock(), assets=assets, interval_ms=interval or 0, count=count))
    return Exit.OK


class View(Protocol):
    """Where changes go."""

    def take(self, change: PriceView) -> None:
        """Show one change."""
        ...

    async def mind(self) -> None:
        """Do what has to be done between changes, until cancelled."""
        ...


async def _follow(
    target: Target, output: Output, clock: Clock, *, assets: Sequence[str], interval_ms: int, count: int | None
) -> None:
    async with (
        dial(target.price, "price") as channel,
        PriceBook(channel, assets=assets or None, clock=clock, interval_ms=interval_ms) as book,
    ):
        with asking(target.where("price")):
            await _ready(book, target)
            if output.live:
                with Live(console=output.console, auto_refresh=False) as live:
                    await _show(book, Board(book, output, clock, live, assets=assets), count)
            else:
                await _show(book, Lines(book, output, clock), count)


async def _ready(book: PriceBook, target: Target) -> None:
    try:
        async with asyncio.timeout(READY_S):
            await book.ready()
    except TimeoutError as error:
        detail = book.connection.detail
        raise CommandError(
            f"{target.where('price')} sent no prices within {READY_S:g} s{f': {detail}' if detail else ''}",
            code=Exit.UNREACHABLE,
            hint="is the mesh running? `trinity up` starts it, `trinity check` says what is wrong with it",
        ) from error


async def _show(book: PriceBook, view: View, count: int | None) -> None:
    """Hand changes to the view until there were enough; what either of the two tasks raises ends both."""
    tasks = [asyncio.create_task(_take(book, view, count)), asyncio.create_task(view.mind())]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _take(book: PriceBook, view: View, count: int | None) -> None:
    left = count
    async for change in book.changes():
        view.take(change)
        if left is not None:
            left -= 1
            if not left:
                return


class Moves:
    """The newest price of each asset and how it moved."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[Decimal, Decimal]] = {}

    def take(self, change: PriceView) -> None:
        """Take note of a price."""
        price = change.price
        before, move = self._last.get(change.asset, (price, Decimal(0)))
        self._last[change.asset] = (price, price - before if price != before else move)

    def of(self, asset: str) -> Decimal:
        """The last move of an asset that was not zero, USD; zero before any."""
        return self._last[asset][1] if asset in self._last else Decimal(0)


class Lines:
    """One line a change, for pipes and files."""

    def __init__(self, book: PriceBook, output: Output, clock: Clock) -> None:
        self._book = book
        self._output = output
        self._clock = clock
        self._moves = Moves()

    def take(self, change: PriceView) -> None:
        """Print the change."""
        if self._output.as_json:
            self._output.record(proto_json(judged(change)))
            return
        self._moves.take(change)
        move = self._moves.of(change.asset)
        asset, price, state, sources, age, spread, _, _, note = cells(
            change.message, change.age_ms, state=change.state.name
        )
        time = datetime.fromtimestamp(self._clock.unix_ns() / 1e9, UTC).isoformat("T", "milliseconds")
        fields = (
            time.replace("+00:00", "Z"),
            asset.ljust(6),
            price.rjust(14),
            (signed(move) if move else "0").rjust(10),
            state.ljust(9),
            f"{sources} sources",
            age.rjust(6),
            f"{spread} bps",
            note,
        )
        self._output.line("  ".join(fields).rstrip())

    async def mind(self) -> None:
        """Say on stderr when the connection is lost and when it is back."""
        connected = True
        while True:
            await self._clock.sleep(1)
            now = self._book.connection
            if now.connected != connected:
                connected = now.connected
                self._output.warn("connected again" if connected else f"connection lost, trying again: {now.detail}")


class Board:
    """A table that is drawn anew four times a second."""

    def __init__(self, book: PriceBook, output: Output, clock: Clock, live: Live, *, assets: Sequence[str]) -> None:
        self._book = book
        self._output = output
        self._clock = clock
        self._live = live
        self._order = [asset.upper() for asset in assets] or list(load_assets().ids)
        self._moves = Moves()

    def take(self, change: PriceView) -> None:
        """Take note of the change; the next drawing shows it."""
        self._moves.take(change)

    async def mind(self) -> None:
        """Draw, again and again."""
        try:
            while True:
                await self._clock.sleep(_REDRAW_S)
                self._live.update(self.draw(), refresh=True)
        finally:
            self._live.update(self.draw(), refresh=True)

    def draw(self) -> RenderableType:
        """The board as it is now; rows that do not fit the terminal's height are counted."""
        shown = [view for asset in dict.fromkeys(self._order) if (view := self._book.get(asset)) is not None]
        room = max(1, self._output.console.height - 4)
        hidden = len(shown) - room if len(shown) > room else 0
        rows = [self._row(view) for view in shown[: len(shown) - hidden]]
        parts: list[RenderableType] = [self._heading(shown), self._output.grid(_BOARD_COLUMNS, rows)]
        if hidden:
            parts.append(Text(f"and {hidden} more; name the assets to see, or make the terminal taller", style="dim"))
        return Group(*parts)

    def _heading(self, shown: Sequence[PriceView]) -> Text:
        connection = self._book.connection
        text = Text()
        if any(view.sandbox for view in shown):
            text.append("SIMULATED PRICES, not market prices  ", style="bold magenta")
        if connection.connected:
            text.append(f"{len(shown)} assets", style="dim")
        else:
            text.append(f"connection lost, trying again: {connection.detail}", style="bold red")
        return text

    def _row(self, view: PriceView) -> tuple[str, ...]:
        asset, price, *rest = cells(view.message, view.age_ms, state=view.state.name)
        move = self._moves.of(asset)
        arrow = ("▲" if move > 0 else "▼") if self._output.unicode else ("^" if move > 0 else "v")
        return (asset, price, arrow if move else "", signed(move) if move else "", *rest)


def judged(view: PriceView) -> price_pb2.Price:
    """The price's message with the state that it has now."""
    state = view.state
    return view.message if view.message.state == state.value else view.judged(state).message


def signed(move: Decimal) -> str:
    """A move with its sign, every digit kept."""
    return format(move, "+f")
