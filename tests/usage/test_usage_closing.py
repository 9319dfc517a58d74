"""Closing hours: in time, all that are due, and again after a database that was away."""

from __future__ import annotations

import asyncio
from datetime import date, datetime, timedelta

from price.virtual_clock import VirtualClock, until_moving
from trinity_core.errors import Reason, TrinityError
from trinity_core.usage import HOUR_S
from trinity_usage.closing import Closing
from usage.usage_stage import HOUR, moment


class Stores:
    """Both stores: remembers what was asked, has some files to close, may be away."""

    def __init__(self) -> None:
        self.files = 0
        self.away = False
        self.closed: list[datetime] = []
        self.final: list[datetime] = []
        self.forgotten: list[date] = []

    async def close_hours(self, *, before: datetime) -> int:
        if self.away:
            raise TrinityError(Reason.STORE_UNAVAILABLE, "away")
        self.closed.append(before)
        now = min(self.files, 8)
        self.files -= now
        return now

    async def make_final(self, *, before: datetime) -> None:
        self.final.append(before)

    async def forget(self, *, before: date) -> None:
        self.forgotten.append(before)


def made(stores: Stores, clock: VirtualClock) -> Closing:
    return Closing(
        store=stores,  # type: ignore[arg-type]
        leases=stores,  # type: ignore[arg-type]
        close_after_h=3,
        final_after_days=62,
        tidy_s=60,
        clock=clock,
    )


async def test_every_hour_that_ended_long_enough_ago_is_closed() -> None:
    stores = Stores()
    stores.files = 20
    await made(stores, VirtualClock()).once()
    assert stores.files == 0
    assert set(stores.closed) == {moment(HOUR - 3 * HOUR_S)}, "hours that begin before it ended three hours ago"


async def test_hours_are_made_final_once_an_hour() -> None:
    stores, clock = Stores(), VirtualClock()
    closing = made(stores, clock)
    for _ in range(3):
        await closing.once()
    assert stores.final == [moment(HOUR) - timedelta(days=62)]
    assert stores.forgotten == [date(2026, 8, 1)], "those of last month tell late words from new ones"
    clock.jump_wall(HOUR_S)
    await closing.once()
    assert stores.final[1:] == [moment(HOUR + HOUR_S) - timedelta(days=62)]


async def test_a_database_that_is_away_is_waited_for() -> None:
    stores, clock = Stores(), VirtualClock()
    stores.away, stores.files = True, 1
    task = asyncio.create_task(made(stores, clock).run())
    await clock.advance(200)
    assert not task.done()
    stores.away = False
    await until_moving(clock, lambda: stores.files == 0, step_s=30)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
