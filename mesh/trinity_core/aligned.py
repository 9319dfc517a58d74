"""Tables as columns aligned for people, which programs can read back all the same."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

from trinity_core.tables import (
    ESCAPES,
    Column,
    CsvWriter,
    Form,
    JsonWriter,
    Kind,
    Row,
    TableWriter,
    TsvWriter,
    defused_row,
    end_cells,
    text_columns,
)


def writer_of(form: Form, columns: Sequence[Column], *, defuse: bool) -> TableWriter:
    """A writer for one table of any form. `defuse` keeps text cells from being formulas; JSON is never changed."""
    match form:
        case Form.JSON:
            return JsonWriter(columns)
        case Form.CSV:
            return CsvWriter(columns, defuse=defuse)
        case Form.TSV:
            return TsvWriter(columns, defuse=defuse)
        case Form.TEXT:
            return TextWriter(columns, defuse=defuse)


class TextWriter:
    r"""Columns aligned for people, at least two spaces between them.

    No cell holds two spaces in a row, or one at an edge: such are written \s, tab, line feed,
    carriage return and backslash as in TSV, what cannot be printed (controls, marks that turn
    the direction of text, surrogates) as \xNN, \uNNNN or \UNNNNNNNN, an empty cell as - and a
    cell that is one hyphen as \-. Columns are as wide as their widest cell among the rows so
    far, a block of rows ahead included; a cell of more than 40 characters does not widen its column.
    """

    def __init__(self, columns: Sequence[Column], *, defuse: bool) -> None:
        self._right = [column.kind is Kind.COUNT for column in columns]
        self._open = text_columns(columns) if defuse else ()
        self._widths = [0] * len(columns)
        self._block = [[_plain(column.name) for column in columns]]
        self._block_length = 0

    def head(self) -> bytes:
        """Nothing yet: the headings come with the first rows, whose width they must have."""
        return b""

    def rows(self, rows: Iterable[Row]) -> bytes:
        """See TableWriter."""
        done = []
        for row in rows:
            cells = [_plain(cell) for cell in defused_row(row, self._open)]
            self._block.append(cells)
            self._block_length += sum(map(len, cells))
            if len(self._block) >= _BLOCK_ROWS or self._block_length >= _BLOCK_LENGTH:
                done.append(self._flush())
        return b"".join(done)

    def flush(self) -> bytes:
        """The rows that wait for others to be aligned with."""
        return self._flush() if self._block else b""

    def mark(self, *, rows: int, sha256: str) -> bytes:
        """A line of three words."""
        return "  ".join(end_cells(rows=rows, sha256=sha256)).encode() + b"\n"

    def tail(self) -> bytes:
        """Nothing."""
        return b""

    def _flush(self) -> bytes:
        widths = self._widths
        measured = [[_width(cell) for cell in row] for row in self._block]
        for row in measured:
            for index, width in enumerate(row):
                if widths[index] < width <= _WIDTH_MAX:
                    widths[index] = width
        lines = []
        for cells, row in zip(self._block, measured, strict=True):
            padded = [
                " " * (wide - width) + cell if right else cell + " " * (wide - width)
                for cell, width, wide, right in zip(cells, row, widths, self._right, strict=True)
            ]
            lines.append("  ".join(padded).rstrip(" ") + "\n")
        self._block, self._block_length = [], 0
        return "".join(lines).encode()


def _plain(cell: str) -> str:
    if cell in {"", "-"}:
        return "-" if not cell else r"\-"
    if not cell.isprintable() or "\\" in cell:
        cell = "".join([_escaped(character) for character in cell])
    if "  " in cell or cell[0] == " " or cell[-1] == " ":
        cell = _EDGE_SPACE.sub(r"\\s", cell)
    return cell


def _escaped(character: str) -> str:
    if character in ESCAPES:
        return ESCAPES[character]
    if character.isprintable():
        return character
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _width(cell: str) -> int:
    """Cells of a terminal."""
    if cell.isascii():
        return len(cell)
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in cell
    )


_EDGE_SPACE: Final = re.compile(r"^ | $|(?<= ) ")
_BLOCK_ROWS: Final = 500
_BLOCK_LENGTH: Final = 256 << 10
"""Characters of a block: one of long cells is not waited for."""
_WIDTH_MAX: Final = 40
