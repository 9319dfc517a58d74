"""Token buckets: never more than the rate and the burst, whatever the clock and the callers do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trinity_admission.buckets import Bucket

S = 1_000_000_000


def taken(bucket: Bucket, now_ns: int, tries: int) -> int:
    return sum(bucket.take(now_ns) == 0 for _ in range(tries))


def test_a_rested_bucket_gives_a_burst_and_then_the_rate() -> None:
    bucket = Bucket(rate_per_s=10, burst=20)
    assert taken(bucket, 1_000 * S, 50) == 20
    assert taken(bucket, 1_000 * S + S // 10 - 1, 5) == 0
    assert taken(bucket, 1_000 * S + S // 10, 5) == 1
    assert taken(bucket, 1_001 * S, 50) == 9
    assert taken(bucket, 2_000 * S, 50) == 20


def test_a_refusal_says_how_long_to_wait_and_takes_nothing() -> None:
    bucket = Bucket(rate_per_s=4, burst=1)
    assert bucket.take(100 * S) == 0
    assert bucket.take(100 * S) == S // 4
    assert bucket.take(100 * S + S // 5) == S // 4 - S // 5
    assert bucket.take(100 * S + S // 4) == 0


def test_what_is_left_and_when_it_is_full_is_told() -> None:
    bucket = Bucket(rate_per_s=10, burst=20)
    assert bucket.standing(0) == (20, 0)
    taken(bucket, 0, 5)
    assert bucket.standing(0) == (15, 1)
    taken(bucket, 0, 15)
    assert bucket.standing(0) == (0, 2)
    assert bucket.standing(S) == (10, 1)


def test_a_smaller_plan_empties_no_more_than_it_holds() -> None:
    bucket = Bucket(rate_per_s=10, burst=100)
    taken(bucket, 0, 100)
    bucket.change(rate_per_s=10, burst=5)
    assert bucket.take(0) == S // 10, "the debt of the greater bucket is not kept"
    assert taken(bucket, S // 2, 10) == 5
    bucket.change(rate_per_s=10, burst=100)
    assert bucket.standing(S // 2)[0] == 95


def test_a_cell_from_another_life_of_the_machine_holds_nobody_up_for_long() -> None:
    cells = [10**18]
    bucket = Bucket(rate_per_s=10, burst=20, cells=cells)
    assert bucket.take(0) == S // 10
    assert bucket.standing(0) == (0, 2)
    assert bucket.take(S // 10) == 0
    cells[0] = 0
    assert bucket.take(0) == 0


def test_two_buckets_on_one_cell_give_one_burst() -> None:
    cells = [0, 0]
    buckets = [Bucket(rate_per_s=1, burst=10, cells=cells, at=1) for _ in range(2)]
    assert sum(bucket.take(S) == 0 for _ in range(10) for bucket in buckets) == 10
    assert cells[0] == 0


def test_a_bucket_that_could_give_nothing_is_refused() -> None:
    for rate, burst in ((0, 1), (-1, 1), (1, 0)):
        with pytest.raises(ValueError, match="cannot have"):
            Bucket(rate_per_s=rate, burst=burst)


@given(
    rate=st.integers(1, 10_000_000),
    burst=st.integers(1, 1_000),
    steps=st.lists(st.integers(0, 3 * S), max_size=300),
)
def test_no_window_of_time_gives_more_than_burst_and_rate(rate: int, burst: int, steps: list[int]) -> None:
    bucket = Bucket(rate_per_s=rate, burst=burst)
    now, granted = 10**12, list[int]()
    for step in steps:
        now += step // 50 if step % 3 else 0
        left, _ = bucket.standing(now)
        assert 0 <= left <= burst
        wait = bucket.take(now)
        assert (wait == 0) == (left > 0)
        if wait == 0:
            granted.append(now)
    for first, start in enumerate(granted):
        for last in range(first, len(granted)):
            assert last - first + 1 <= burst + (granted[last] - start) * rate / S + 1e-9


def test_the_greatest_rate_of_a_plan_is_kept() -> None:
    bucket = Bucket(rate_per_s=10_000_000, burst=1)
    granted = sum(bucket.take(now_ns) == 0 for now_ns in range(0, 1_000_000, 10))
    assert granted == 10_000


@given(
    st.integers(1, 10**6),
    st.integers(1, 10**6),
    st.lists(st.integers(0, 3 * 10**9), min_size=1, max_size=30),
    st.integers(0, 10**19 // 2),
)
def test_taking_and_being_told_is_one_step_of_both(rate: int, burst: int, waits: list[int], before: int) -> None:
    one, other = (
        Bucket(rate_per_s=rate, burst=burst, cells=[before]),
        Bucket(rate_per_s=rate, burst=burst, cells=[before]),
    )
    now_ns = 10**12
    for wait_ns in waits:
        now_ns += wait_ns
        told = one.take_told(now_ns)
        refused = other.take(now_ns) > 0
        assert (told is None) is refused
        if told is not None:
            assert told == other.standing(now_ns) == one.standing(now_ns)
