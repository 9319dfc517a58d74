"""The statements of reports: which rows, in which order, and rows as cells that COPY writes fast.

All of them read the view `trinity.usage_log`; only the cells of a key are taken from
`trinity.api_keys` directly, so that PostgreSQL makes them once a key and not once a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from trinity_core.tables import Form
from trinity_core.usage_log import HOURS_END, Position, UsageFilter
from trinity_core.usage_sums import GroupBy
from trinity_core.usage_table import JSON_OUTCOMES, JSON_TRANSPORTS, OUTCOMES, TRANSPORTS

ORDER: Final = " ORDER BY u.hour DESC, u.key_id DESC, u.transport DESC, u.method DESC, u.asset DESC, u.outcome DESC"
"""Newest first; the six columns are the log's key, read backwards."""

ROW_COLUMNS: Final = (
    "extract(epoch FROM u.hour)::bigint, coalesce(u.associate, ''), u.key_id, coalesce(u.key_name, ''), "
    "u.transport, u.method, u.asset, u.outcome, u.n"
)
"""Columns of a UsageRow, in its order."""

CHANGED_SINCE: Final = """
SELECT extract(epoch FROM min(hour))::bigint, count(*)
  FROM (SELECT u.hour FROM usage_log u WHERE u.seq > $1 ORDER BY u.seq LIMIT $2) changed
"""
ASSOCIATE_EXISTS: Final = "SELECT EXISTS (SELECT FROM associates WHERE associate = $1)"
KEYS_OF: Final = "SELECT coalesce(array_agg(key_id), '{}') FROM api_keys WHERE associate = $1"
OWNERS: Final = """
SELECT w.key_id, k.associate
  FROM unnest($1::text[]) AS w (key_id)
  LEFT JOIN api_keys k ON k.key_id = w.key_id
 WHERE k.key_id IS NOT NULL OR EXISTS (SELECT FROM usage_log u WHERE u.key_id = w.key_id)
"""


@dataclass(frozen=True, slots=True)
class Statement:
    """A text and what stands in its places."""

    sql: str
    args: tuple[object, ...]


def page(wanted: UsageFilter, *, after: Position | None, limit: int) -> Statement:
    """Some rows, as ROW_COLUMNS."""
    where, args = _where(wanted, after)
    return Statement(f"SELECT {ROW_COLUMNS} FROM usage_log u{where}{ORDER} LIMIT {limit:d}", args)  # noqa: S608 - constants


def rows(wanted: UsageFilter) -> Statement:
    """All rows, as ROW_COLUMNS."""
    where, args = _where(wanted, None)
    return Statement(f"SELECT {ROW_COLUMNS} FROM usage_log u{where}{ORDER}", args)  # noqa: S608 - constants


def sums(wanted: UsageFilter, group_by: Sequence[GroupBy], *, limit: int) -> Statement:
    """The greatest sums: columns of the group, billed, unbilled, then both of all groups, and how many there are."""
    where, args = _where(wanted, None)
    groups = [(by, f"g{place}") for place, by in enumerate(group_by)]
    columns = "".join(f"{_GROUPS[by]} AS {name}, " for by, name in groups)
    listed = "".join(f"extract(epoch FROM {name})::bigint, " if by in _TIMES else f"{name}, " for by, name in groups)
    grouped = f" GROUP BY {', '.join(name for _, name in groups)}" if groups else ""
    order = "".join(f", {name}" for _, name in groups)
    return Statement(
        f"WITH g AS (SELECT {columns}"  # noqa: S608 - constants
        "coalesce(sum(u.n) FILTER (WHERE u.billed), 0) AS billed, "
        "coalesce(sum(u.n) FILTER (WHERE NOT u.billed), 0) AS unbilled "
        f"FROM usage_log u{where}{grouped}) "
        f"SELECT {listed}billed, unbilled, sum(billed) OVER (), sum(unbilled) OVER (), count(*) OVER () FROM g "
        f"ORDER BY billed + unbilled DESC{order} LIMIT {limit:d}",
        args,
    )


def copied(wanted: UsageFilter, form: Form, *, defuse: bool) -> Statement:
    """All rows with the cells that the form's writer would write, for `Session.copy_text` and copied.py.

    The hour is a plain timestamp. For CSV and JSON the delimiter must be a comma, for TSV a tab.
    """
    where, args = _where(wanted, None)
    cells = _JsonCells() if form is Form.JSON else _Cells(quote=form is Form.CSV, defuse=defuse)
    transports, outcomes = (JSON_TRANSPORTS, JSON_OUTCOMES) if form is Form.JSON else (TRANSPORTS, OUTCOMES)
    return Statement(
        f"SELECT u.hour, {cells.known('associate')}, "  # noqa: S608 - constants
        f"coalesce(k.key_id, {cells.guarded('key_id')}), {cells.known('key_name')}, "
        f"{cells.label('transport', transports)}, {cells.guarded('method')}, {cells.guarded('asset')}, "
        f"{cells.label('outcome', outcomes)}, {cells.count}, {cells.billed} "
        "FROM usage_log u "
        # OFFSET 0 keeps it a step of its own, whose result PostgreSQL remembers by key.
        f"LEFT JOIN LATERAL (SELECT {cells.cell('key_id', 'a.key_id')} AS key_id, "
        f"{cells.cell('associate', 'a.associate')} AS associate, {cells.cell('key_name', 'a.name')} AS key_name "
        "FROM api_keys a WHERE a.key_id = u.key_id OFFSET 0) k ON true"
        f"{where}{ORDER}",
        args,
    )


class _Cells:
    """SQL for the cells of CSV and TSV; COPY itself escapes for TSV, and copied.py undoes that for CSV."""

    count = "u.n"
    billed = "CASE WHEN u.billed THEN 'true' ELSE 'false' END"

    def __init__(self, *, quote: bool, defuse: bool) -> None:
        self._quote = quote
        self._defuse = defuse

    def cell(self, _: str, value: str) -> str:
        """Any text."""
        if self._defuse:
            value = rf"CASE WHEN {value} ~ '^''*[=+@\t\r\n-]' THEN '''' || {value} ELSE {value} END"
        if self._quote:
            value = (
                rf"""CASE WHEN {value} ~ '[,"\r\n]' THEN '"' || replace({value}, '"', '""') || '"' ELSE {value} END"""
            )
        return value

    def known(self, column: str) -> str:
        """A cell of the key; nothing for a key that is not known."""
        return f"k.{column}"

    def guarded(self, column: str) -> str:
        """A text that hardly ever is anything but letters and digits."""
        value = f"u.{column}"
        return f"CASE WHEN {value} !~ '[^A-Za-z0-9]' THEN {value} ELSE {self.cell(column, value)} END"

    def label(self, column: str, labels: dict[int, str]) -> str:
        """What stands for a number."""
        whens = " ".join(f"WHEN {number} THEN '{label}'" for number, label in labels.items())
        return f"CASE u.{column} {whens} END"


class _JsonCells(_Cells):
    """SQL for members of the object that a row is in JSON; copied.py puts the braces' other half and the hour."""

    count = """'"count":"' || u.n || '"'"""
    billed = """CASE WHEN u.billed THEN '"billed":true}' ELSE '"billed":false}' END"""

    def __init__(self) -> None:
        super().__init__(quote=False, defuse=False)

    def cell(self, column: str, value: str) -> str:
        """Any text."""
        return f"""'"{_JSON_NAMES[column]}":' || to_json({value})::text"""

    def known(self, column: str) -> str:
        """A member of the key; empty for a key that is not known."""
        return f"""coalesce(k.{column}, '"{_JSON_NAMES[column]}":""')"""

    def guarded(self, column: str) -> str:
        """A text that hardly ever is anything but letters and digits."""
        value = f"u.{column}"
        plain = f"""'"{_JSON_NAMES[column]}":"' || {value} || '"'"""
        return f"CASE WHEN {value} !~ '[^A-Za-z0-9]' THEN {plain} ELSE {self.cell(column, value)} END"

    def label(self, column: str, labels: dict[int, str]) -> str:
        """What stands for a number."""
        return super().label(column, {number: f'"{column}":"{label}"' for number, label in labels.items()})


def _where(wanted: UsageFilter, after: Position | None) -> tuple[str, tuple[object, ...]]:
    parts: list[str] = []
    args: list[object] = []

    def add(text: str, *values: object) -> None:
        places = [f"${len(args) + number}" for number in range(1, len(values) + 1)]
        args.extend(values)
        parts.append(text.format(*places))

    if wanted.start > 0:
        add("u.hour >= {}", _time(wanted.start))
    if wanted.end < HOURS_END:
        add("u.hour < {}", _time(wanted.end))
    if wanted.associate:
        add("u.associate = {}", wanted.associate)
    for name, values in (
        ("key_id", wanted.key_ids),
        ("asset", wanted.assets),
        ("transport", wanted.transports),
        ("method", wanted.methods),
        ("outcome", wanted.outcomes),
    ):
        if len(values) == 1:
            add(f"u.{name} = {{}}", *values)
        elif values:
            add(f"u.{name} = ANY({{}})", sorted(values))
    if after is not None:
        add(
            "(u.hour, u.key_id, u.transport, u.method, u.asset, u.outcome) < ({}, {}, {}, {}, {}, {})",
            _time(after.hour),
            *after[1:],
        )
    return (f" WHERE {' AND '.join(parts)}" if parts else ""), tuple(args)


def _time(unix_s: int) -> datetime:
    return datetime.fromtimestamp(unix_s, UTC)


_JSON_NAMES: Final = {
    "associate": "associate",
    "key_id": "keyId",
    "key_name": "keyName",
    "method": "method",
    "asset": "asset",
}
_GROUPS: Final = {
    GroupBy.ASSET: "u.asset",
    GroupBy.TRANSPORT: "u.transport",
    GroupBy.METHOD: "u.method",
    GroupBy.OUTCOME: "u.outcome",
    GroupBy.KEY: "u.key_id",
    GroupBy.HOUR: "u.hour",
    GroupBy.DAY: "date_trunc('day', u.hour, 'UTC')",
}
_TIMES: Final = frozenset({GroupBy.HOUR, GroupBy.DAY})
