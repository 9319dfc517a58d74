"""Rows of the usage log as cells of a table: which columns there are, and what stands in them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from trinity_core.tables import Column, Form, Kind
from trinity_core.usage import Outcome, Transport
from trinity_core.usage_log import UsageRow

COLUMNS: Final = (
    Column("hour", "hour"),
    Column("associate", "associate"),
    Column("key_id", "keyId"),
    Column("key_name", "keyName"),
    Column("transport", "transport"),
    Column("method", "method"),
    Column("asset", "asset"),
    Column("outcome", "outcome"),
    Column("count", "count", Kind.COUNT),
    Column("billed", "billed", Kind.FLAG),
)
"""The columns of every export; in JSON a row is a trinity.report.v1.UsageRow as ProtoJSON has it."""

TRANSPORTS: Final = {int(each): each.name.lower() for each in Transport}
"""What stands for a transport in tables: the alias that the contract gives it."""
OUTCOMES: Final = {int(each): each.name.lower() for each in Outcome}
"""What stands for an outcome in tables, likewise."""
JSON_TRANSPORTS: Final = {int(each): f"TRANSPORT_{each.name}" for each in Transport}
JSON_OUTCOMES: Final = {int(each): f"OUTCOME_{each.name}" for each in Outcome}


def cells(row: UsageRow, form: Form) -> tuple[str, ...]:
    """The cells of a row, in the order of COLUMNS."""
    transports, outcomes = (JSON_TRANSPORTS, JSON_OUTCOMES) if form is Form.JSON else (TRANSPORTS, OUTCOMES)
    return (
        hour_text(row.hour),
        row.associate,
        row.key_id,
        row.key_name,
        transports[row.transport],
        row.method,
        row.asset,
        outcomes[row.outcome],
        str(row.count),
        "true" if row.billed else "false",
    )


def hour_text(hour: int) -> str:
    """A time in unix seconds as RFC 3339 has it: "2026-01-20T19:00:00Z"."""
    return datetime.fromtimestamp(hour, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
