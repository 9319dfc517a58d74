"""The night's sync comes once a day at one o'clock in New York, whatever its clocks do."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from trinity_sync.schedule import next_night

NEW_YORK = ZoneInfo("America/New_York")


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


@pytest.mark.parametrize(
    ("now", "due"),
    [
        ("2026-01-15T05:59:59", "2026-01-15T06:00:00"),
        ("2026-01-15T06:00:00", "2026-01-16T06:00:00"),
        ("2026-07-15T04:59:59", "2026-07-15T05:00:00"),
        ("2026-07-15T05:00:01", "2026-07-16T05:00:00"),
        # Set forward on 8 March at two o'clock: one o'clock is still winter time, the next is not.
        ("2026-03-08T05:00:00", "2026-03-08T06:00:00"),
        ("2026-03-08T06:00:00", "2026-03-09T05:00:00"),
        # Set back on 1 November at two o'clock: one o'clock comes twice, and counts once.
        ("2026-11-01T04:30:00", "2026-11-01T05:00:00"),
        ("2026-11-01T05:00:00", "2026-11-02T06:00:00"),
        ("2026-11-01T06:00:00", "2026-11-02T06:00:00"),
    ],
)
def test_one_in_the_morning_in_new_york(now: str, due: str) -> None:
    assert next_night(ns(now), at=time(1), zone=NEW_YORK) == ns(due)


def test_a_time_that_is_skipped_comes_when_the_clock_was_set() -> None:
    assert next_night(ns("2026-03-08T05:00:00"), at=time(2, 30), zone=NEW_YORK) == ns("2026-03-08T07:30:00")


@pytest.mark.parametrize("zone", ["America/New_York", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Australia/Lord_Howe"])
def test_a_year_has_as_many_nights_as_days(zone: str) -> None:
    moment, days = ns("2026-01-01T12:00:00"), []
    for _ in range(365):
        moment = next_night(moment, at=time(1), zone=ZoneInfo(zone))
        days.append(datetime.fromtimestamp(moment // 10**9, ZoneInfo(zone)).date())
    assert days == [days[0] + timedelta(days=number) for number in range(365)]
