"""Usage in PostgreSQL: absolute counters, their exact sums, hours that are closed.

Every writer takes one advisory lock and keeps it until it has committed, so that sums follow
counters one after the other and each `seq` is given in the order of commits. See migration 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Final, NamedTuple

from trinity_core.errors import TrinityError, invalid_field
from trinity_core.usage import next_month
from trinity_storage.postgres import Postgres, Session

WRITERS_LOCK: Final = 0x7573_6167_65  # "usage"


class Count(NamedTuple):
    """One counter of a ledger file; see usage.proto."""

    slot: int
    key_id: str
    hour: int
    """Start of the hour, unix seconds."""
    transport: int
    method: str
    asset: str
    outcome: int
    n: int
    """Absolute, and positive."""


class QuotaUse(NamedTuple):
    """What an associate has used of its quota."""

    quota: int
    """Answers in a month; 0: no bound."""
    month: int
    """Billed answers of the month so far, as committed."""
    today: int


class UsageStore:
    """The tables of migration 3, but for the leases."""

    def __init__(self, postgres: Postgres) -> None:
        """`postgres` is open, or will be."""
        self._postgres = postgres

    async def record(self, incarnation: str, counts: Sequence[Count]) -> int:
        """Take counters of one ledger file, each slot at most once; how many of them, committed.

        Those that change nothing are taken as well; those of hours that are final are not.
        Raises INVALID_FIELD when a slot is said to count something else than it did before,
        and STORE_UNAVAILABLE, after which all or nothing of it may be committed.
        """
        if not counts:
            return 0
        async with self._postgres.transaction() as session:
            await _become_the_only_writer(session)
            slots = [count.slot for count in counts]
            row = await session.fetch_row(_BEFORE, incarnation, min(slots), max(slots))
            assert row is not None
            taken = [count for count in counts if count.hour >= row["final_before"]]
            closed: Mapping[int, int] = {}
            if row["closed"]:
                closed = await _closed(session, incarnation, taken)
            if taken:
                columns = [list(column) for column in zip(*taken, strict=True)]
                base = [closed.get(count.slot, 0) for count in taken]
                conflict = await session.fetch_value(_RECORD, incarnation, *columns, base)
                if conflict is not None:
                    raise _conflict(conflict)
            return len(taken)

    async def close_hours(self, *, before: datetime, files_max: int = 4) -> int:
        """Pack the counters of hours before `before` tightly, of a few ledger files; how many files' hours it were."""
        async with self._postgres.transaction() as session:
            await _become_the_only_writer(session)
            groups = await session.fetch(_TO_CLOSE, before, files_max)
            if groups:
                columns = [list(column) for column in zip(*groups, strict=True)]
                await session.execute(_CLOSE, *columns)
            return len(groups)

    async def make_final(self, *, before: datetime) -> None:
        """Forget the counters of hours before `before`, and take none of them any more. Their sums stay."""
        async with self._postgres.transaction() as session:
            await _become_the_only_writer(session)
            # The database's clock has a word too: one clock that is far ahead must not end an open month.
            await session.execute(
                "UPDATE usage_final SET before = greatest(before, date_trunc('hour', least($1, now()), 'UTC'))", before
            )
            for table in ("usage_closed", "usage_counters"):
                await session.execute(f"DELETE FROM {table} WHERE hour < (SELECT before FROM usage_final)")  # noqa: S608 - constants

    async def quota_use(self, associate: str, *, month: date, today: date) -> QuotaUse | None:
        """What is used of a quota in the month that begins with `month`; None for an unknown associate."""
        row = await self._postgres.fetch_row(_QUOTA_USE, associate, month, next_month(month), today)
        return None if row is None else QuotaUse(*row)


async def _become_the_only_writer(session: Session) -> None:
    # By itself: the statements after it must see what the writer before has committed.
    await session.execute("SELECT pg_advisory_xact_lock($1)", WRITERS_LOCK)


async def _closed(session: Session, incarnation: str, counts: Sequence[Count]) -> Mapping[int, int]:
    """What is counted already of slots whose hours are closed, by slot."""
    columns = [list(column) for column in zip(*counts, strict=True)]
    rows = await session.fetch(_CLOSED, incarnation, *columns[:-1])
    for row in rows:
        if not row["same"]:
            raise _conflict(row["slot"])
    return {row["slot"]: row["n"] for row in rows}


def _conflict(slot: int) -> TrinityError:
    return invalid_field("counters", f"slot {slot} of this ledger file counted something else before")


_BEFORE: Final = """
SELECT (SELECT extract(epoch FROM before)::float8 FROM usage_final) AS final_before,
       EXISTS (SELECT FROM usage_closed WHERE incarnation = $1 AND slot_max >= $2 AND slot_min <= $3) AS closed
"""

_SENT: Final = """
SELECT slot, key_id, to_timestamp(hour) AS hour, transport, method, asset, outcome{more}
  FROM unnest($2::integer[], $3::text[], $4::bigint[], $5::smallint[], $6::text[], $7::text[], $8::smallint[]{types})
    AS sent (slot, key_id, hour, transport, method, asset, outcome{more})
"""

_RECORD: Final = f"""
WITH sent AS ({_SENT.format(more=", n, base", types=", $9::bigint[], $10::bigint[]")}),
known AS (
    SELECT sent.*,
           greatest(c.n, sent.base) AS old,
           c.slot IS NOT NULL AND (c.key_id, c.hour, c.transport, c.method, c.asset, c.outcome)
               IS DISTINCT FROM (sent.key_id, sent.hour, sent.transport, sent.method, sent.asset, sent.outcome) AS other
      FROM sent
      LEFT JOIN usage_counters c ON c.incarnation = $1 AND c.slot = sent.slot
),
news AS (SELECT *, n - old AS more FROM known WHERE n > old AND NOT other),
sums AS (
    INSERT INTO usage_sums AS u (hour, key_id, transport, method, asset, outcome, n)
    SELECT hour, key_id, transport, method, asset, outcome, sum(more)::bigint
      FROM news GROUP BY hour, key_id, transport, method, asset, outcome
    ON CONFLICT (hour, key_id, transport, method, asset, outcome) DO UPDATE SET n = u.n + EXCLUDED.n
    RETURNING id
),
changes AS (
    INSERT INTO usage_changes (id, seq) SELECT id, nextval('usage_seq') FROM sums
    ON CONFLICT (id) DO UPDATE SET seq = EXCLUDED.seq
),
days AS (
    INSERT INTO usage_days AS d (key_id, day, n)
    SELECT key_id, (hour AT TIME ZONE 'UTC')::date, sum(more)::bigint
      FROM news WHERE outcome <= 4 GROUP BY 1, 2
    ON CONFLICT (key_id, day) DO UPDATE SET n = d.n + EXCLUDED.n
),
counters AS (
    INSERT INTO usage_counters AS c (incarnation, slot, key_id, hour, transport, method, asset, outcome, n)
    SELECT $1, slot, key_id, hour, transport, method, asset, outcome, n FROM news
    ON CONFLICT (incarnation, slot) DO UPDATE SET n = greatest(c.n, EXCLUDED.n)
)
SELECT min(slot) FROM known WHERE other
"""  # noqa: S608 - put together of constants

_CLOSED: Final = f"""
WITH sent AS ({_SENT.format(more="", types="")})
SELECT sent.slot, packed.n, u.id IS NOT NULL AS same
  FROM usage_closed c
 CROSS JOIN LATERAL unnest(c.slots, c.sums, c.ns) AS packed (slot, sum, n)
  JOIN sent ON sent.slot = packed.slot
  LEFT JOIN usage_sums u
    ON u.id = packed.sum
   AND (u.hour, u.key_id, u.transport, u.method, u.asset, u.outcome)
     = (sent.hour, sent.key_id, sent.transport, sent.method, sent.asset, sent.outcome)
 WHERE c.incarnation = $1
   AND c.slot_max >= (SELECT min(slot) FROM sent)
   AND c.slot_min <= (SELECT max(slot) FROM sent)
"""  # noqa: S608 - put together of constants

_TO_CLOSE: Final = "SELECT DISTINCT incarnation, hour FROM usage_counters WHERE hour < $1 LIMIT $2"

_CLOSE: Final = """
WITH groups AS (SELECT * FROM unnest($1::text[], $2::timestamptz[]) AS g (incarnation, hour)),
moved AS (
    DELETE FROM usage_counters c USING groups g
     WHERE c.incarnation = g.incarnation AND c.hour = g.hour
    RETURNING c.*
),
every AS (
    SELECT m.incarnation, m.hour, m.slot, u.id AS sum, m.n
      FROM moved m JOIN usage_sums u USING (hour, key_id, transport, method, asset, outcome)
    UNION ALL
    SELECT c.incarnation, c.hour, packed.slot, packed.sum, packed.n
      FROM usage_closed c JOIN groups USING (incarnation, hour)
     CROSS JOIN LATERAL unnest(c.slots, c.sums, c.ns) AS packed (slot, sum, n)
),
greatest_of AS (SELECT incarnation, hour, slot, max(sum) AS sum, max(n) AS n FROM every GROUP BY 1, 2, 3)
INSERT INTO usage_closed AS c (incarnation, hour, slot_min, slot_max, slots, sums, ns)
SELECT incarnation, hour, min(slot), max(slot),
       array_agg(slot ORDER BY slot), array_agg(sum ORDER BY slot), array_agg(n ORDER BY slot)
  FROM greatest_of GROUP BY incarnation, hour
ON CONFLICT (incarnation, hour) DO UPDATE
   SET slot_min = EXCLUDED.slot_min, slot_max = EXCLUDED.slot_max,
       slots = EXCLUDED.slots, sums = EXCLUDED.sums, ns = EXCLUDED.ns
"""

_QUOTA_USE: Final = """
SELECT p.monthly_quota,
       coalesce(sum(d.n), 0)::bigint,
       coalesce(sum(d.n) FILTER (WHERE d.day = $4), 0)::bigint
  FROM associates a
  JOIN plans p USING (plan)
  LEFT JOIN api_keys k USING (associate)
  LEFT JOIN usage_days d ON d.key_id = k.key_id AND d.day >= $2 AND d.day < $3
 WHERE a.associate = $1
 GROUP BY p.monthly_quota
"""
