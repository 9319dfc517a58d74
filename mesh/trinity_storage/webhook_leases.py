"""Which engine sees to which endpoints: shares of 64 parts, held by lease, taken with SKIP LOCKED."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from trinity_core.webhook_store import Lease, share_of
from trinity_storage.moments import to_moment
from trinity_storage.postgres import Postgres

_HERE: Final = """
INSERT INTO trinity.webhook_workers (holder, expire_time) VALUES ($1, $2)
ON CONFLICT (holder) DO UPDATE SET expire_time = EXCLUDED.expire_time
"""
_GONE: Final = """
DELETE FROM trinity.webhook_workers
 WHERE holder IN (SELECT holder FROM trinity.webhook_workers WHERE expire_time <= $1 FOR UPDATE SKIP LOCKED)
"""
_RENEW: Final = """
WITH mine AS (
    SELECT shard, row_number() OVER (ORDER BY shard) <= $3 AS kept
      FROM trinity.webhook_leases WHERE holder = $1
)
UPDATE trinity.webhook_leases l
   SET expire_time = CASE WHEN mine.kept THEN $2::timestamptz ELSE '-infinity' END,
       holder = CASE WHEN mine.kept THEN l.holder ELSE '' END
  FROM mine
 WHERE l.shard = mine.shard AND l.holder = $1
RETURNING l.shard, l.token, mine.kept
"""
_TAKE: Final = """
WITH free AS (
    SELECT shard FROM trinity.webhook_leases
     WHERE expire_time <= $2
     ORDER BY random() LIMIT $4
       FOR UPDATE SKIP LOCKED
)
UPDATE trinity.webhook_leases l
   SET holder = $1, expire_time = $3, token = nextval('trinity.webhook_tokens')
  FROM free
 WHERE l.shard = free.shard
RETURNING l.shard, l.token
"""


class WebhookLeases:
    """The leases of Outbox."""

    def __init__(self, postgres: Postgres) -> None:
        self._leases = postgres

    async def lease(self, holder: str, *, now_ns: int, until_ns: int, take: bool = True) -> Sequence[Lease]:
        """See Outbox."""
        now, until = to_moment(now_ns), to_moment(until_ns)
        # By itself: what is waited for, if anything, is another call of the same worker.
        await self._leases.execute(_HERE, holder, until)
        await self._leases.execute(_GONE, now)
        async with self._leases.transaction() as session:
            rows = await session.fetch("SELECT holder FROM trinity.webhook_workers WHERE expire_time > $1", now)
            share = share_of(holder, [row["holder"] for row in rows])
            kept = [row for row in await session.fetch(_RENEW, holder, until, share) if row["kept"]]
            if take and len(kept) < share:
                kept += await session.fetch(_TAKE, holder, now, until, share - len(kept))
        return sorted((Lease(row["shard"], row["token"]) for row in kept), key=lambda lease: lease.shard)

    async def end_lease(self, holder: str) -> None:
        """See Outbox."""
        async with self._leases.transaction() as session:
            await session.execute("DELETE FROM trinity.webhook_workers WHERE holder = $1", holder)
            await session.execute(
                "UPDATE trinity.webhook_leases SET holder = '', expire_time = '-infinity' WHERE holder = $1", holder
            )
