"""What workers see of endpoints, and the notices for their owners, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from trinity_core.webhook_activity import COUNTS, Activity, Notice, Seen
from trinity_core.webhook_breaker import Circuit
from trinity_core.webhook_retry import Outcome
from trinity_core.webhook_store import Place
from trinity_core.webhooks import DisableReason
from trinity_storage.moments import from_moment, to_moment
from trinity_storage.postgres import Postgres, Row, Session
from trinity_storage.webhook_rows import arrays, columns_of

# ruff: noqa: S608 - statements are put together of constants

_NOW: Final = ("in_flight", "circuit", "ready_time", "time")
_FAILURE: Final = ("failure_time", "failure_outcome", "failure_status", "failure_error")
_COLUMNS: Final = ("endpoint", "token", *COUNTS, *_NOW, "success_time", *_FAILURE)
_TYPES: Final = (
    "text, bigint, bigint, bigint, bigint, bigint, bigint, bigint, integer, smallint, timestamptz, timestamptz, "
    "timestamptz, timestamptz, smallint, smallint, text"
)
_SEE: Final = f"""
INSERT INTO trinity.webhook_activity AS old ({", ".join(_COLUMNS)})
SELECT n.* FROM unnest({arrays(_TYPES)}) AS n ({", ".join(_COLUMNS)})
  JOIN trinity.webhook_endpoints e USING (endpoint)
 ORDER BY endpoint
   FOR KEY SHARE OF e
ON CONFLICT (endpoint) DO UPDATE
   SET {", ".join(f"{name} = old.{name} + EXCLUDED.{name}" for name in COUNTS)},
       {", ".join(f"{n} = CASE WHEN EXCLUDED.token >= old.token THEN EXCLUDED.{n} ELSE old.{n} END" for n in _NOW)},
       {
    ", ".join(
        f"{n} = CASE WHEN coalesce(EXCLUDED.failure_time > old.failure_time, old.failure_time IS NULL) "
        f"THEN EXCLUDED.{n} ELSE old.{n} END"
        for n in _FAILURE
    )
},
       success_time = greatest(old.success_time, EXCLUDED.success_time),
       token = greatest(old.token, EXCLUDED.token)
"""


async def see(postgres: Postgres, seen: Sequence[Seen]) -> None:
    """See Outbox."""
    if seen:
        await postgres.execute(_SEE, *columns_of(map(_values, seen)))


async def activities(session: Session, endpoints: Sequence[str]) -> Mapping[str, Activity]:
    """What was seen of endpoints, by their ids; those of which nothing was are left out."""
    rows = await session.fetch(
        f"SELECT {', '.join(_COLUMNS)} FROM trinity.webhook_activity WHERE endpoint = ANY($1)", endpoints
    )
    return {row["endpoint"]: _activity_of(row) for row in rows}


async def list_notices(
    postgres: Postgres, *, associate: str | None, after: Place | None, limit: int
) -> Sequence[Notice]:
    """See WebhookRepo."""
    words, values = ["true"], list[object]()
    if associate is not None:
        values.append(associate)
        words.append("associate = $1")
    if after is not None:
        values += [to_moment(after[0]), int(after[1])]
        words.append(f"(create_time, notice) < (${len(values) - 1}, ${len(values)})")
    rows = await postgres.fetch(
        "SELECT notice, endpoint, associate, url, reason, create_time FROM trinity.webhook_notices "
        f"WHERE {' AND '.join(words)} ORDER BY create_time DESC, notice DESC LIMIT {int(limit)}",
        *values,
    )
    return [
        Notice(
            notice=row["notice"],
            endpoint=row["endpoint"],
            associate=row["associate"],
            url=row["url"],
            reason=DisableReason(row["reason"]),
            time_ns=from_moment(row["create_time"]),
        )
        for row in rows
    ]


def _values(seen: Seen) -> tuple[object, ...]:
    """What was seen as parameters, in the order of `_COLUMNS`."""
    activity = seen.activity
    return (
        seen.endpoint,
        seen.token,
        *(getattr(activity, name) for name in COUNTS),
        activity.in_flight,
        activity.circuit.value,
        to_moment(activity.ready_time_ns),
        to_moment(activity.time_ns),
        to_moment(activity.success_time_ns),
        to_moment(activity.failure_time_ns),
        None if activity.failure_outcome is None else activity.failure_outcome.value,
        activity.failure_status,
        activity.failure_error,
    )


def _activity_of(row: Row) -> Activity:
    outcome = row["failure_outcome"]
    return Activity(
        **{name: row[name] for name in COUNTS},
        in_flight=row["in_flight"],
        circuit=Circuit(row["circuit"]),
        ready_time_ns=from_moment(row["ready_time"]),
        success_time_ns=from_moment(row["success_time"]),
        failure_time_ns=from_moment(row["failure_time"]),
        failure_outcome=None if outcome is None else Outcome(outcome),
        failure_status=row["failure_status"],
        failure_error=row["failure_error"],
        time_ns=from_moment(row["time"]),
    )
