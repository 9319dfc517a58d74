"""Leases of monthly quotas in PostgreSQL: one associate's are given one after the other."""

from __future__ import annotations

from datetime import date, datetime
from typing import Final, NamedTuple

from trinity_core.errors import Reason, TrinityError
from trinity_core.leases import Lease, Standing, renewed
from trinity_core.usage import next_month, previous_month
from trinity_storage.postgres import Postgres

_LOCK_CLASS: Final = 0x6C65_6173  # "leas"


class Leased(NamedTuple):
    """What a holder may do."""

    allowed: int
    """Answers of the month in all."""
    unlimited: bool


class QuotaLeases:
    """The table quota_leases."""

    def __init__(self, postgres: Postgres) -> None:
        """`postgres` is open, or will be."""
        self._postgres = postgres

    async def lease(
        self,
        *,
        holder: str,
        key_id: str,
        wanted: int,
        used: int,
        now: datetime,
        month: date,
        expire_time: datetime,
        share: int,
        least: int,
    ) -> Leased:
        """Make or renew a lease, committed; see `trinity_core.leases.renewed`.

        Raises UNKNOWN_KEY and STORE_UNAVAILABLE.
        """
        async with self._postgres.transaction() as session:
            owner = await session.fetch_row(_OWNER, key_id)
            if owner is None:
                raise TrinityError(Reason.UNKNOWN_KEY, "there is no such key")
            associate, quota = owner
            if quota == 0:
                return Leased(used + wanted, unlimited=True)
            # By itself: the statement after it must see what the holder before was given.
            await session.execute("SELECT pg_advisory_xact_lock($1, hashtext($2))", _LOCK_CLASS, associate)
            row = await session.fetch_row(
                _STANDING, associate, month, next_month(month), holder, key_id, now, previous_month(month)
            )
            assert row is not None
            standing = Standing(quota, row["billed"], row["used_by_others"], row["held_by_others"])
            old = None if row["allowed"] is None else Lease(row["allowed"], row["used"], row["live"])
            allowed, used = renewed(
                standing, old, used=used, wanted=wanted, share=share, least=least, used_before=row["used_before"]
            )
            await session.execute(_RENEW, associate, month, holder, key_id, allowed, used, expire_time)
            return Leased(allowed, unlimited=False)

    async def forget(self, *, before: date) -> None:
        """Remove the leases of months before the one that begins with `before`."""
        await self._postgres.execute("DELETE FROM quota_leases WHERE month < $1", before)


_OWNER: Final = """
SELECT k.associate, p.monthly_quota
  FROM api_keys k JOIN associates a USING (associate) JOIN plans p USING (plan)
 WHERE k.key_id = $1
"""

_STANDING: Final = """
WITH leases AS (
    SELECT *, holder = $4 AND key_id = $5 AS mine, expire_time > $6 AS live
      FROM quota_leases WHERE associate = $1 AND month = $2
)
SELECT (SELECT coalesce(sum(d.n), 0)::bigint
          FROM api_keys k JOIN usage_days d USING (key_id)
         WHERE k.associate = $1 AND d.day >= $2 AND d.day < $3) AS billed,
       (SELECT used FROM quota_leases
         WHERE associate = $1 AND month = $7 AND holder = $4 AND key_id = $5) AS used_before,
       coalesce(sum(used) FILTER (WHERE NOT mine), 0)::bigint AS used_by_others,
       coalesce(sum(greatest(allowed - used, 0)) FILTER (WHERE live AND NOT mine), 0)::bigint AS held_by_others,
       max(allowed) FILTER (WHERE mine) AS allowed,
       max(used) FILTER (WHERE mine) AS used,
       bool_or(live) FILTER (WHERE mine) AS live
  FROM leases
"""

_RENEW: Final = """
INSERT INTO quota_leases (associate, month, holder, key_id, allowed, used, expire_time)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (associate, month, holder, key_id)
DO UPDATE SET allowed = EXCLUDED.allowed, used = EXCLUDED.used,
              expire_time = greatest(quota_leases.expire_time, EXCLUDED.expire_time)
"""
