"""Closes hours: counters that will hardly change any more are packed, and one day forgotten."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from trinity_core.errors import TrinityError
from trinity_core.usage import HOUR_S, hour_of, month_of, previous_month
from trinity_mesh.clock import Clock
from trinity_storage.quota_leases import QuotaLeases
from trinity_storage.usage import UsageStore

log = logging.getLogger(__name__)


class Closing:
    """One service's; several at once do no harm, since each step is a transaction that finds what is left to do."""

    def __init__(
        self,
        *,
        store: UsageStore,
        leases: QuotaLeases,
        close_after_h: int,
        final_after_days: int,
        tidy_s: int,
        clock: Clock,
    ) -> None:
        """See UsageConfig."""
        self._store = store
        self._leases = leases
        self._close_after_s = close_after_h * HOUR_S
        self._final_after = timedelta(days=final_after_days)
        self._tidy_s = tidy_s
        self._clock = clock
        self._final_hour = 0

    async def run(self) -> None:
        """Look for something to do, now and then, until cancelled. A database that is away is waited for."""
        failing = False
        while True:
            try:
                await self.once()
            except TrinityError as error:
                if not failing:
                    log.warning("hours cannot be closed now, and are closed later: %s", error)
                failing = True
            else:
                failing = False
            await self._clock.sleep(self._tidy_s)

    async def once(self) -> None:
        """Close hours that are old enough; once an hour, make those final that are very old. Raises TrinityError."""
        now_ns = self._clock.unix_ns()
        hour = hour_of(now_ns)
        while await self._store.close_hours(before=_moment(hour - self._close_after_s)):
            pass
        if hour != self._final_hour:
            await self._store.make_final(before=_moment(hour) - self._final_after)
            await self._leases.forget(before=previous_month(month_of(now_ns)))
            self._final_hour = hour


def _moment(unix_s: int) -> datetime:
    return datetime.fromtimestamp(unix_s, UTC)
