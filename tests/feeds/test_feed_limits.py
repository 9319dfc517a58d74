"""The token bucket and the circuit breaker, by their clock."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trinity_feeds.limits import Circuit, CircuitBreaker, TokenBucket

MS = 1_000_000
S = 1_000 * MS


def breaker(seed: int = 1) -> CircuitBreaker:
    return CircuitBreaker(failures_max=3, open_ms=1_000, open_ms_max=4_000, random_source=random.Random(seed))


def test_a_bucket_gives_its_burst_at_once_and_then_its_rate() -> None:
    bucket = TokenBucket(rate_per_s=10, burst=3)
    assert [bucket.take(0) for _ in range(4)] == [0, 0, 0, 100 * MS]
    assert bucket.take(99 * MS) == 1 * MS
    assert bucket.take(100 * MS) == 0
    assert bucket.take(100 * MS) == 100 * MS


def test_a_bucket_left_alone_saves_up_no_more_than_its_burst() -> None:
    bucket = TokenBucket(rate_per_s=10, burst=3)
    bucket.take(0)
    assert [bucket.take(3_600 * S) for _ in range(4)] == [0, 0, 0, 100 * MS]


def test_asking_for_the_wait_takes_nothing() -> None:
    bucket = TokenBucket(rate_per_s=1, burst=1)
    assert [bucket.wait_ns(0) for _ in range(3)] == [0, 0, 0]
    assert bucket.take(0) == 0


def test_a_paused_bucket_gives_nothing_until_the_pause_ends_and_no_pause_shortens_another() -> None:
    bucket = TokenBucket(rate_per_s=1_000, burst=10)
    bucket.pause(5 * S)
    bucket.pause(2 * S)
    assert bucket.take(3 * S) == 2 * S
    assert bucket.take(5 * S) == 0


@given(
    calls=st.integers(1, 50),
    window_ms=st.integers(1, 60_000),
    steps=st.lists(st.integers(0, 3_000_000_000), min_size=1, max_size=150),
)
def test_no_window_ever_holds_more_calls_than_the_venue_allows(calls: int, window_ms: int, steps: list[int]) -> None:
    bucket = TokenBucket.within(calls=calls, window_ms=window_ms)
    now, taken = 0, list[int]()
    for step in steps:
        now += step
        while bucket.take(now) == 0:
            taken.append(now)
        now += bucket.wait_ns(now)
        assert bucket.take(now) == 0, "the wait that was named is enough"
        taken.append(now)
    for index, first in enumerate(taken):
        assert sum(1 for moment in taken[index:] if moment < first + window_ms * MS) <= calls


@pytest.mark.parametrize(("rate", "burst"), [(0.0, 1), (-1.0, 1), (1.0, 0)])
def test_a_bucket_that_could_never_give_is_refused(rate: float, burst: int) -> None:
    with pytest.raises(ValueError, match="rate above 0"):
        TokenBucket(rate_per_s=rate, burst=burst)


def test_a_circuit_opens_after_failures_in_a_row_and_not_before() -> None:
    circuit = breaker()
    for _ in range(2):
        assert circuit.allow(0) == 0
        circuit.failed(0)
    circuit.succeeded()
    for _ in range(2):
        circuit.failed(0)
    assert circuit.state(0) is Circuit.CLOSED
    circuit.failed(0)
    assert circuit.state(0) is Circuit.OPEN
    assert 1 * S <= circuit.allow(0) <= 1.2 * S


def test_an_open_circuit_lets_one_call_probe_and_closes_when_it_succeeds() -> None:
    circuit = breaker()
    for _ in range(3):
        circuit.failed(0)
    later = circuit.allow(0)
    assert circuit.allow(later - 1) == 1
    assert circuit.state(later) is Circuit.HALF_OPEN
    assert circuit.allow(later) == 0
    assert circuit.allow(later) > 0, "only one call probes"
    circuit.succeeded()
    assert circuit.state(later) is Circuit.CLOSED
    assert circuit.allow(later) == 0


def test_each_failed_probe_doubles_the_wait_up_to_its_bound() -> None:
    circuit, now, waits = breaker(), 0, list[float]()
    for _ in range(3):
        circuit.failed(now)
    for _ in range(5):
        wait = circuit.allow(now)
        waits.append(wait / S)
        now += wait
        assert circuit.allow(now) == 0
        circuit.failed(now)
    for wait, least in zip(waits, (1, 2, 4, 4, 4), strict=True):
        assert least <= wait <= least * 1.2


def test_a_probe_that_told_nothing_leaves_room_for_the_next() -> None:
    circuit = breaker()
    for _ in range(3):
        circuit.failed(0)
    later = circuit.allow(0)
    assert circuit.allow(later) == 0
    circuit.abandoned()
    assert circuit.allow(later) == 0


def test_a_failure_reported_late_does_not_lengthen_an_open_circuit() -> None:
    circuit = breaker()
    for _ in range(3):
        circuit.failed(0)
    wait = circuit.allow(0)
    for _ in range(10):
        circuit.failed(500 * MS)
    assert circuit.allow(0) == wait


def test_two_workers_with_other_seeds_do_not_probe_in_step() -> None:
    waits = set()
    for seed in range(5):
        circuit = breaker(seed)
        for _ in range(3):
            circuit.failed(0)
        waits.add(circuit.allow(0))
    assert len(waits) == 5


@pytest.mark.parametrize(("failures", "first", "most"), [(0, 1, 1), (1, 0, 1), (1, 2, 1)])
def test_a_circuit_with_senseless_bounds_is_refused(failures: int, first: int, most: int) -> None:
    with pytest.raises(ValueError, match="failures_max >= 1"):
        CircuitBreaker(failures_max=failures, open_ms=first, open_ms_max=most, random_source=random.Random(1))
