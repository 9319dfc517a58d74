"""Back-off: full jitter, a cap, reset by data only, floors of the venues."""

from __future__ import annotations

import random

import pytest

from trinity_feeds.backoff import Backoff, BackoffSettings
from trinity_feeds.terms import ConnectLimit
from trinity_feeds.venues import VENUES

MS = 1_000_000
FREE = ConnectLimit(attempts=1_000_000, window_ms=1)
SETTINGS = BackoffSettings(first_ms=250, cap_ms=30_000)


class Top(random.Random):
    """Always draws the upper bound."""

    def random(self) -> float:
        return 1.0


def backoff(limit: ConnectLimit = FREE, rng: random.Random | None = None) -> Backoff:
    return Backoff(limit=limit, settings=SETTINGS, rng=rng or Top())


def test_the_first_attempt_is_at_once() -> None:
    assert backoff().wait_ns(5) == 0


def test_the_bound_doubles_with_each_attempt_without_data_up_to_the_cap() -> None:
    waits, tries = backoff(), []
    for _ in range(12):
        waits.attempted(0)
        tries.append(waits.wait_ns(0) // MS)
    assert tries == [500, 1_000, 2_000, 4_000, 8_000, 16_000, *[30_000] * 6]


def test_thousands_of_failures_are_no_trouble() -> None:
    waits = backoff()
    for _ in range(5_000):
        waits.attempted(0)
    assert waits.failures == 5_000
    assert waits.wait_ns(0) == 30_000 * MS


def test_only_data_resets_it() -> None:
    waits = backoff()
    for _ in range(5):
        waits.attempted(0)
    waits.got_data()
    assert waits.failures == 0
    assert waits.wait_ns(0) == 250 * MS


def test_the_wait_is_drawn_evenly_from_zero_and_repeats_with_the_seed() -> None:
    def draw(seed: int) -> list[int]:
        waits = backoff(rng=random.Random(seed))
        for _ in range(8):
            waits.attempted(0)
        return [waits.wait_ns(0) for _ in range(400)]

    first = draw(1)
    assert first == draw(1)
    assert first != draw(2)
    assert min(first) < 3_000 * MS
    assert max(first) > 27_000 * MS
    assert 12_000 * MS < sum(first) / len(first) < 18_000 * MS


def test_no_more_attempts_in_a_window_than_the_venue_allows() -> None:
    limit = ConnectLimit(attempts=3, window_ms=60_000)
    waits = Backoff(limit=limit, settings=BackoffSettings(first_ms=1, cap_ms=1), rng=random.Random(4))
    now, attempts = 0, []
    for _ in range(50):
        now += waits.wait_ns(now)
        waits.attempted(now)
        attempts.append(now)
    for index, at in enumerate(attempts):
        assert sum(at - 60_000 * MS < other <= at for other in attempts[: index + 1]) <= 3


def test_maintenance_has_a_floor() -> None:
    waits = backoff(ConnectLimit(attempts=150, window_ms=600_000, maintenance_floor_ms=5_000), random.Random(1))
    waits.attempted(1_000 * MS)
    waits.got_data()
    assert waits.wait_ns(1_000 * MS, maintenance=True) >= 5_000 * MS
    assert waits.wait_ns(1_000 * MS) <= 250 * MS
    assert waits.wait_ns(7_000 * MS, maintenance=True) <= 250 * MS


@pytest.mark.parametrize("kind", VENUES.values(), ids=lambda kind: kind.venue.value)
def test_every_venue_has_a_limit_that_can_be_kept(kind: type) -> None:
    limit = kind.connect_limit  # type: ignore[attr-defined]
    assert limit.attempts >= 1
    assert limit.window_ms >= 1_000
