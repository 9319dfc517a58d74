"""What a command shows: tables and lines for people, JSON for programs; each output flags simulated prices."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import click
from google.protobuf import json_format
from google.protobuf.message import Message
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from trinity_cli.exits import printable

F = TypeVar("F", bound=Callable[..., Any])

SIMULATED = "simulated"
"""The word that stands beside every simulated price."""

_STYLES = {
    "FRESH": "green",
    "LIVE": "green",
    "ok": "green",
    "DELAYED": "yellow",
    "DIVERGENT": "yellow",
    "MAINTENANCE": "yellow",
    "STALE": "red",
    "HALTED": "red",
    "BACKING_OFF": "red",
    "FAILED": "bold red",
    SIMULATED: "magenta",
}


_WRAPPED_CELLS = 26
"""Least room for a column that wraps."""


def json_option(command: F) -> F:
    """Adds --json to a command."""
    return click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")(command)


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    title: str
    right: bool = False
    """Numbers: aligned to the right."""
    needed: bool = False
    """Stays in a terminal that is too narrow for all columns."""
    wraps: bool = False
    """Words: may take several lines."""


class Terminal(Console):
    """A console that lets a closed pipe be an exception like any other."""

    def on_broken_pipe(self) -> NoReturn:
        """Instead of ending the process: `trinity_cli.main` knows what to do."""
        raise BrokenPipeError


class Output:
    """Where a command writes; made when the command starts."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        """The caller wants JSON and nothing else on stdout."""
        self.live = not as_json and sys.stdout.isatty() and os.environ.get("TERM", "") not in ("", "dumb")
        """Somebody looks: stdout is a terminal that can be redrawn."""
        self.unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
        """Stdout takes more than ASCII."""
        self.console = Terminal(highlight=False)
        """For what is drawn while `live`."""

    def document(self, value: Any) -> None:
        """The one JSON document of a command."""
        click.echo(json.dumps(value, indent=2))

    def record(self, value: Any) -> None:
        """One line of JSON Lines, sent at once."""
        click.echo(json.dumps(value, separators=(",", ":")))

    def line(self, text: str) -> None:
        """One line of text, sent at once."""
        click.echo(printable(text))

    def table(self, columns: Sequence[Column], rows: Sequence[Sequence[str]], *, headings: bool = True) -> None:
        """A table, as wide as the terminal; where there is none, whole lines, with or without headings."""
        if self.live:
            self.console.print(self.grid(columns, rows))
            return
        lines = [[column.title for column in columns], *rows] if headings else rows
        widths = [max((len(line[index]) for line in lines), default=0) for index in range(len(columns))]
        for line in lines:
            cells = zip(columns, line, widths, strict=True)
            aligned = (cell.rjust(width) if column.right else cell.ljust(width) for column, cell, width in cells)
            self.line("  ".join(aligned).rstrip())

    def grid(self, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> RenderableType:
        """The table as rich draws it, without the columns that the terminal has no room for."""
        width = self.console.width
        shown = fitting(columns, rows, width=width)
        if not shown:
            # Not even what is needed stands side by side: a paragraph a row.
            needed = [index for index, column in enumerate(columns) if column.needed]
            return Text("\n".join(printable(" ".join(filter(None, (row[index] for index in needed)))) for row in rows))
        grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for index in shown:
            column = columns[index]
            grid.add_column(column.title, justify="right" if column.right else "left", no_wrap=not column.wraps)
        for row in rows:
            grid.add_row(*(Text(printable(row[index]), style=_STYLES.get(row[index], "")) for index in shown))
        return grid

    def warn(self, text: str) -> None:
        """A line on stderr that does not end the command."""
        click.echo(f"trinity: {printable(text)}", err=True)


def fitting(columns: Sequence[Column], rows: Sequence[Sequence[str]], *, width: int) -> list[int]:
    """Indices of the columns that fit side by side: all needed ones, and others from the left while there is room.

    Empty when there is no room for the needed ones.
    """
    widths = [2 + max([len(column.title), *(len(row[index]) for row in rows)]) for index, column in enumerate(columns)]
    widths = [
        min(cells, _WRAPPED_CELLS) if column.wraps else cells for cells, column in zip(widths, columns, strict=True)
    ]
    room = width + 2 - sum(cells for cells, column in zip(widths, columns, strict=True) if column.needed)
    if room < 0:
        return []
    shown = []
    for index, column in enumerate(columns):
        if not column.needed:
            room -= widths[index]
        if column.needed or room >= 0:
            shown.append(index)
    return shown


def proto_json(message: Message) -> Any:
    """A message as ProtoJSON, the same document as over HTTP; zero values are shown."""
    return json_format.MessageToDict(message, always_print_fields_with_no_presence=True)


def short_enum(name: str, prefix: str) -> str:
    """An enum value's name without what all values of the enum share: "FRESH" of "STATE_FRESH"."""
    return name.removeprefix(prefix)


def seconds(milliseconds: float) -> str:
    """A duration for people: "0.3 s", "12 s", "3 min"."""
    if milliseconds < 0:
        return "-"
    if milliseconds < 10_000:
        return f"{milliseconds / 1_000:.1f} s"
    if milliseconds < 120_000:
        return f"{milliseconds / 1_000:.0f} s"
    return f"{milliseconds / 60_000:.0f} min"
