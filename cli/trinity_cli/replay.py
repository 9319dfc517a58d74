"""`trinity replay`: the prices that a recorded tick log makes, always the same."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import click

from trinity_cli.exits import CommandError, Exit
from trinity_cli.output import Output, json_option, proto_json
from trinity_core.assets import load_assets
from trinity_core.book import Book
from trinity_core.prices import Price, plain
from trinity_core.replay import replay as replay_log
from trinity_core.ticklog import LINE_MAX, TickLogError
from trinity_mesh.config import ConfigError, load
from trinity_mesh.wire import price_to_message
from trinity_price.config import PriceConfig


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--asset", "assets", multiple=True, metavar="ASSET", help="Print only this asset; may be repeated.")
@json_option
def replay(file: Path, assets: tuple[str, ...], as_json: bool) -> int:
    """Print every price that the tick log FILE makes (- for stdin), in order.

    The same log with the same bounds (TRINITY_PRICE_BOOK_...) gives the same output, byte for byte.
    """
    output = Output(as_json=as_json)
    table = load_assets()
    wanted = frozenset(asset.upper() for asset in assets)
    for asset in sorted(wanted - table.by_id.keys()):
        raise CommandError(table.unknown(asset).message, code=Exit.REFUSED)
    try:
        settings = load(PriceConfig, section="price", values={}, environ=os.environ).book
    except ConfigError as error:
        raise CommandError(str(error), code=Exit.USAGE, hint="docs/configuration.md has every setting") from error
    book = Book(assets=table, settings=settings)
    show = _show_json if as_json else _show_line
    try:
        with click.open_file(str(file), "rb") as log:
            for price in replay_log(_lines(log), book):
                if not wanted or price.asset in wanted:
                    show(output, price)
    except TickLogError as error:
        name = "stdin" if str(file) == "-" else file
        raise CommandError(
            f"{name}, {error}", code=Exit.REFUSED, hint="prices above are those of the lines before"
        ) from error
    return Exit.OK


def _lines(log: IO[Any]) -> Iterator[bytes]:
    """The log's lines; one that is too long ends at what the log refuses, however long it is."""
    return iter(functools.partial(log.readline, LINE_MAX + 1), b"")


def _show_line(output: Output, price: Price) -> None:
    fields = (
        f"{price.sequence:>8}",
        price.asset.ljust(6),
        plain(price.price).rjust(14),
        price.state.name.ljust(9),
        f"{plain(price.spread_bps)} bps",
        ",".join(price.sources),
    )
    output.line("  ".join(fields).rstrip())


def _show_json(output: Output, price: Price) -> None:
    output.record(as_document(price))


def as_document(price: Price) -> dict[str, Any]:
    """The price as trinity.price.v1.Price in ProtoJSON, without what a log does not tell: `epoch` and `sandbox`."""
    offset_ns = price.receive_time_ns - price.receive_mono_ns
    document: dict[str, Any] = proto_json(price_to_message(price, epoch=0, wall_offset_ns=offset_ns, sandbox=False))
    del document["epoch"], document["sandbox"]
    return document
