"""When the nightly sync is due: a time of day in a zone whose clocks are set forward and back."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo


def next_night(now_ns: int, *, at: time, zone: ZoneInfo) -> int:
    """The first moment after `now_ns` at which a day's `at` comes, unix nanoseconds: once on every day of the zone.

    A time that comes twice when clocks are set back counts the first time; one that is
    skipped when they are set forward comes as much later as they are set.
    """
    today = datetime.fromtimestamp(now_ns // 1_000_000_000, UTC).astimezone(zone).date()
    for days in (-1, 0, 1, 2):
        moment_ns = _moment_ns(today + timedelta(days=days), at, zone)
        if moment_ns > now_ns:
            return moment_ns
    raise AssertionError("no zone is days ahead of itself")


def _moment_ns(day: date, at: time, zone: ZoneInfo) -> int:
    # fold=0: the first of two; for a time that does not exist, the offset from before the gap.
    return int(datetime.combine(day, at, tzinfo=zone).timestamp()) * 1_000_000_000
