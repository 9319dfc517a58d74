"""Pages and sums as whole tables, written as exports are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from google.api import httpbody_pb2

from trinity_core.aligned import writer_of
from trinity_core.tables import MEDIA_TYPES, Column, Form, Kind, Row
from trinity_core.usage_log import UsageRow
from trinity_core.usage_sums import GroupBy, Sum, group_texts
from trinity_core.usage_table import COLUMNS, cells


def rows_table(rows: Sequence[UsageRow], form: Form, *, defuse: bool) -> httpbody_pb2.HttpBody:
    """Rows of the log, with the columns of an export."""
    return _table(COLUMNS, (cells(row, form) for row in rows), form, defuse=defuse)


def sums_table(sums: Sequence[Sum], group_by: Sequence[GroupBy], form: Form, *, defuse: bool) -> httpbody_pb2.HttpBody:
    """Sums, with a column for each part of a group."""
    rows = ((*group_texts(each.group, group_by), str(each.billed), str(each.unbilled)) for each in sums)
    return _table(sum_columns(group_by), rows, form, defuse=defuse)


def sum_columns(group_by: Sequence[GroupBy]) -> tuple[Column, ...]:
    """The columns of a table of sums."""
    groups = [Column(each.name.lower(), each.name.lower()) for each in group_by]
    return (*groups, *(Column(name, name, Kind.COUNT) for name in ("billed", "unbilled")))


def _table(columns: Sequence[Column], rows: Iterable[Row], form: Form, *, defuse: bool) -> httpbody_pb2.HttpBody:
    writer = writer_of(form, columns, defuse=defuse)
    data = b"".join((writer.head(), writer.rows(rows), writer.flush(), writer.tail()))
    return httpbody_pb2.HttpBody(content_type=MEDIA_TYPES[form], data=data)
