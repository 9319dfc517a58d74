"""Reads what the writers of tables.py and aligned.py write, strictly: anything else is a ValueError."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from trinity_core.tables import END, Column, Form, Kind, undefused


@dataclass(frozen=True, slots=True)
class End:
    """What a table tells of itself in its last record."""

    rows: int
    sha256: str
    """Of all bytes before the record, in hexadecimal."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table that was read."""

    rows: list[list[str]]
    """Without the names of the columns, and without the last record that tells of the table."""
    end: End | None


def read_table(form: Form, data: bytes, columns: Sequence[Column], *, defused: bool) -> Table:
    """Read a table of these columns; `defused` says that it was written so.

    Raises ValueError for what no writer makes: a cut table, other columns, a stray quote.
    """
    text = data.decode()
    if form is Form.JSON:
        return _read_json(text, columns)
    records = _RECORDS[form](text)
    if not records or records[0] != [column.name for column in columns]:
        raise ValueError("the first record is not the names of the columns")
    end = _end(records[-1])
    if end is not None:
        records.pop()
    for record in records:
        if len(record) != len(columns):
            raise ValueError(f"a record has {len(record)} cells instead of {len(columns)}")
    rows = records[1:]
    if defused:
        places = [index for index, column in enumerate(columns) if column.kind is Kind.TEXT]
        for row in rows:
            for place in places:
                row[place] = undefused(row[place])
    return Table(rows, end)


def csv_records(text: str) -> list[list[str]]:
    """The records of an RFC 4180 text whose every record, the last too, ends with CRLF."""
    records: list[list[str]] = []
    record: list[str] = []
    at = 0
    while at < len(text):
        found = _CSV_CELL.match(text, at)
        if found is None or found["after"] is None:
            raise ValueError(f"not RFC 4180 at character {at}")
        quoted = found["quoted"]
        record.append(found["bare"] if quoted is None else quoted.replace('""', '"'))
        if found["after"] == "\r\n":
            records.append(record)
            record = []
        at = found.end()
    if record:
        raise ValueError("the last record is cut")
    return records


def tsv_records(text: str) -> list[list[str]]:
    """The records of a TSV text whose every record, the last too, ends with a line feed."""
    return [[_unescaped(cell) for cell in line.split("\t")] for line in _lines(text)]


def text_records(text: str) -> list[list[str]]:
    """The records of aligned columns."""
    return [
        ["" if cell == "-" else _unescaped(cell) for cell in re.split(" {2,}", line.strip(" "))]
        for line in _lines(text)
    ]


def _lines(text: str) -> list[str]:
    if text and not text.endswith("\n"):
        raise ValueError("the last line is cut")
    return text.split("\n")[:-1]


def _unescaped(cell: str) -> str:
    return _ESCAPE.sub(_character, cell) if "\\" in cell else cell


def _character(found: re.Match[str]) -> str:
    if found["number"]:
        return chr(int(found["number"][1:], 16))
    try:
        return _CHARACTERS[found["letter"]]
    except KeyError:
        raise ValueError(f"no writer makes the escape {found[0]!r}") from None


def _read_json(text: str, columns: Sequence[Column]) -> Table:
    items: list[dict[str, Any]] = json.loads(text)
    end = None
    if items and set(items[-1]) == {"end"}:
        told = items.pop()["end"]
        end = End(int(told["rows"]), told["sha256"])
    rows = []
    for item in items:
        if list(item) != [column.json_name for column in columns]:
            raise ValueError(f"an object has other members: {', '.join(item)}")
        rows.append([value if isinstance(value, str) else json.dumps(value) for value in item.values()])
    return Table(rows, end)


def _end(record: list[str]) -> End | None:
    found = _END.fullmatch(" ".join(record))
    return End(int(found[1]), found[2]) if found else None


_RECORDS: Final = {Form.CSV: csv_records, Form.TSV: tsv_records, Form.TEXT: text_records}
_CSV_CELL: Final = re.compile(r'(?:"(?P<quoted>(?:[^"]|"")*+)"|(?P<bare>[^",\r\n]*+))(?P<after>,|\r\n)?')
_END: Final = re.compile(rf"{END} rows=(\d+) sha256=([0-9a-f]{{64}}) *")
_ESCAPE: Final = re.compile(r"\\(?:(?P<number>x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})|(?P<letter>.?))", re.DOTALL)
_CHARACTERS: Final = {"t": "\t", "n": "\n", "r": "\r", "\\": "\\", "s": " ", "-": "-"}
