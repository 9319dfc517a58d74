"""Tables as text: JSON, CSV, TSV and aligned columns, written a batch of rows at a time at constant memory.

What a writer makes depends on the rows alone, not on how they come in batches. Every cell
reads back as it was (`table_readers.py`), but for two documented changes: cells that a
spreadsheet would take for a formula are defused, which `undefused` takes back, and a lone
surrogate, which no UTF-8 text can hold, becomes U+FFFD in CSV and TSV.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final, Protocol

Row = Sequence[str]
"""One cell a column."""


class Form(IntEnum):
    """Forms of a table; numbers of trinity.report.v1.Format."""

    JSON = 1
    CSV = 2
    TSV = 3
    TEXT = 4


MEDIA_TYPES: Final = {
    Form.JSON: "application/json",
    Form.CSV: "text/csv; charset=utf-8; header=present",
    Form.TSV: "text/tab-separated-values; charset=utf-8",
    Form.TEXT: "text/plain; charset=utf-8",
}


class Kind(Enum):
    """What the cells of a column are."""

    TEXT = "text"
    COUNT = "64-bit integers, which JSON has as strings, as ProtoJSON does; aligned to the right; never defused"
    FLAG = "true or false; never defused"


@dataclass(frozen=True, slots=True)
class Column:
    """One column."""

    name: str
    """Its heading."""
    json_name: str
    """Its member in JSON."""
    kind: Kind = Kind.TEXT


class TableWriter(Protocol):
    """Writes one table: `head`, `rows` as often as one likes, `flush`, at will `mark`, `tail`."""

    def head(self) -> bytes:
        """What comes before the first row."""
        ...

    def rows(self, rows: Iterable[Row]) -> bytes:
        """Some rows; what has to be known first of others may come with a later call."""
        ...

    def flush(self) -> bytes:
        """What was held back, after the last rows."""
        ...

    def mark(self, *, rows: int, sha256: str) -> bytes:
        """A last line, or element, that tells the number of rows and the SHA-256 of all bytes before it."""
        ...

    def tail(self) -> bytes:
        """What closes the table."""
        ...


def defused(cell: str) -> str:
    """The cell with an apostrophe before it, where a spreadsheet would take it for a formula.

    Those begin with = + - @, tab, carriage return or line feed. So that `undefused` is exact,
    apostrophes before such a beginning count as part of it.
    """
    return f"'{cell}" if _FORMULA.match(cell) else cell


def undefused(cell: str) -> str:
    """The cell that `defused` was given."""
    return cell[1:] if cell[:1] == "'" and _FORMULA.match(cell) else cell


def end_cells(*, rows: int, sha256: str) -> list[str]:
    """The first cells of a last record that tells of the table."""
    return [END, f"rows={rows}", f"sha256={sha256}"]


class _Records:
    """What CSV and TSV share: a record a row, the first one with the names of the columns."""

    def __init__(self, columns: Sequence[Column], *, defuse: bool) -> None:
        self._names = [column.name for column in columns]
        self._open = text_columns(columns) if defuse else ()

    def head(self) -> bytes:
        """The names of the columns."""
        return _utf8(self._record(self._names))

    def rows(self, rows: Iterable[Row]) -> bytes:
        """See TableWriter."""
        return _utf8("".join([self._record(defused_row(row, self._open)) for row in rows]))

    def flush(self) -> bytes:
        """Nothing is held back."""
        return b""

    def mark(self, *, rows: int, sha256: str) -> bytes:
        """A record with as many fields as every other."""
        told = end_cells(rows=rows, sha256=sha256)
        return _utf8(self._record([*told, *[""] * (len(self._names) - len(told))]))

    def tail(self) -> bytes:
        """Nothing."""
        return b""

    def _record(self, row: Row) -> str:
        raise NotImplementedError


class CsvWriter(_Records):
    """RFC 4180: CRLF after every record, quotes where a cell holds a comma, a quote or a line end; UTF-8."""

    def _record(self, row: Row) -> str:
        text = ",".join(row)
        # One look at all cells together: hardly any needs quotes.
        if text.count(",") >= len(row) or _QUOTED.search(text):
            text = ",".join([_quoted(cell) for cell in row])
        # A blank line is no record to everybody.
        return (text or '""') + "\r\n"


class TsvWriter(_Records):
    r"""Cells between tabs, records between line feeds; tab, line feed, carriage return and backslash as \t \n \r \\."""

    def _record(self, row: Row) -> str:
        return "\t".join([cell.translate(_TSV) if _TSV_ESCAPED.search(cell) else cell for cell in row]) + "\n"


class JsonWriter:
    """One array of objects, an object a line, as ProtoJSON writes them."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._members = [(json.dumps(column.json_name) + ":", column.kind is Kind.FLAG) for column in columns]
        self._before = "\n"

    def head(self) -> bytes:
        """The opening bracket."""
        return b"["

    def rows(self, rows: Iterable[Row]) -> bytes:
        """See TableWriter."""
        items = [
            "{"
            + ",".join(
                [
                    name + (cell if flag else json_string(cell))
                    for (name, flag), cell in zip(self._members, row, strict=True)
                ]
            )
            + "}"
            for row in rows
        ]
        return self._items(items)

    def flush(self) -> bytes:
        """Nothing is held back."""
        return b""

    def mark(self, *, rows: int, sha256: str) -> bytes:
        """An object with the one member `end`; the rows may have been written by another than this."""
        if rows:
            self._before = ",\n"
        return self._items([f'{{"end":{{"rows":"{rows}","sha256":"{sha256}"}}}}'])

    def tail(self) -> bytes:
        """The closing bracket."""
        return b"\n]\n"

    def _items(self, items: Sequence[str]) -> bytes:
        if not items:
            return b""
        before, self._before = self._before, ",\n"
        return (before + ",\n".join(items)).encode()


def json_string(text: str) -> str:
    """The text as JSON has it, ASCII where it must be."""
    written = json.dumps(text, ensure_ascii=False)
    return json.dumps(text) if _SURROGATE.search(written) else written


def text_columns(columns: Sequence[Column]) -> tuple[int, ...]:
    """Places of the columns whose cells may have to be defused."""
    return tuple(index for index, column in enumerate(columns) if column.kind is Kind.TEXT)


def defused_row(row: Row, places: Sequence[int]) -> Row:
    """The row with the cells at `places` defused; mostly the row itself."""
    for place in places:
        if _FORMULA.match(row[place]):
            cells = list(row)
            for each in places:
                cells[each] = defused(cells[each])
            return cells
    return row


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if _QUOTED.search(cell) or "," in cell else cell


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return _SURROGATE.sub("\ufffd", text).encode()


END: Final = "#end"
"""First cell of a last record that tells of the table."""

_FORMULA: Final = re.compile(r"'*[=+\-@\t\r\n]")
_QUOTED: Final = re.compile(r'["\r\n]')
_TSV_ESCAPED: Final = re.compile(r"[\t\n\r\\]")
ESCAPES: Final = {"\t": "\\t", "\n": "\\n", "\r": "\\r", "\\": "\\\\"}
_TSV: Final = str.maketrans(ESCAPES)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
