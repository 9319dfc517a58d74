"""Rows as COPY writes them (report_sql.copied), finished into what the table's writer would have written.

COPY's text format has raw line ends between rows and nowhere else, and begins each with the
hour. So line ends and hours are replaced for many rows at once, and the escapes, which are
rare, are undone last.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from trinity_core.tables import Form

DELIMITERS: Final = {Form.JSON: ",", Form.CSV: ",", Form.TSV: "\t"}
"""What COPY must put between cells."""


class Finisher:
    """Finishes one table's rows, in pieces of any size."""

    def __init__(self, form: Form) -> None:
        """`form` is JSON, CSV or TSV."""
        self._form = form
        self._before, self._after = _AROUND_HOUR[form]
        self._undone = _UNDONE_IN_TSV if form is Form.TSV else _UNDONE
        self._rest = b""
        self._first = True

    def take(self, piece: bytes) -> bytes:
        """The rows that end in a piece; the beginning of another is kept for the next call."""
        data = self._rest + piece if self._rest else piece
        cut = data.rfind(b"\n")
        self._rest = data[cut + 1 :]
        if cut < 0:
            return b""
        rows = self._with_hours(b"\n" + data[:cut])
        if b"\\" in rows:
            rows = _ESCAPE.sub(lambda found: self._undone[found[1]], rows)
        if self._form is Form.JSON:
            # Items are divided, not ended: the first has no comma before it.
            rows = rows[1:] if self._first else rows
            self._first = False
            return rows
        end = len(self._before)
        return rows[end:] + rows[:end]

    def _with_hours(self, rows: bytes) -> bytes:
        """Every hour, "2026-01-20 19:00:00+00" at the beginning of a row, as the form has it."""
        newest, oldest = _hour_at(rows, 1), _hour_at(rows, rows.rfind(b"\n") + 1)
        if newest - oldest > _REPLACED_MAX * _HOUR_S:
            return _HOUR.sub(self._before + rb"\1T\2Z" + self._after, rows)
        for hour in range(oldest, newest + 1, _HOUR_S):
            time = datetime.fromtimestamp(hour, UTC)
            old, new = time.strftime("\n%Y-%m-%d %H:%M:%S+00"), time.strftime("%Y-%m-%dT%H:%M:%SZ")
            rows = rows.replace(old.encode(), self._before + new.encode() + self._after)
        return rows


def _hour_at(rows: bytes, at: int) -> int:
    return int(datetime.fromisoformat(rows[at : at + _STAMP_LENGTH].decode()).timestamp())


_HOUR_S: Final = 3_600
_REPLACED_MAX: Final = 4
"""More hours than these in one piece are found by a pattern: one look at all instead of one an hour."""
_STAMP_LENGTH: Final = len("2026-01-20 19:00:00+00")
_HOUR: Final = re.compile(rb"\n(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)\+00")
_AROUND_HOUR: Final = {
    Form.CSV: (b"\r\n", b""),
    Form.TSV: (b"\n", b""),
    Form.JSON: (b',\n{"hour":"', b'"'),
}
_ESCAPE: Final = re.compile(rb"\\(.)", re.DOTALL)
_LETTERS: Final = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
_BYTES: Final = tuple(bytes((code,)) for code in range(256))
_UNDONE: Final = {byte: byte for byte in _BYTES} | _LETTERS
_UNDONE_IN_TSV: Final = {byte: b"\\" + byte for byte in _BYTES} | {byte: _LETTERS[byte] for byte in (b"b", b"f", b"v")}
"""TSV keeps COPY's escapes of tab, line feed, carriage return and backslash."""
