"""Waits grow, are capped, are spread evenly and start anew after a success."""

from __future__ import annotations

import random

import pytest

from trinity_core.backoff import Backoff


def test_waits_stay_between_zero_and_a_doubling_capped_bound() -> None:
    backoff = Backoff(first_ms=50, cap_ms=2_000, rng=random.Random(7))
    for round_ in range(200):
        bound_s = min(2_000, 50 * 2**round_) / 1_000
        assert 0 <= backoff.failed_s() <= bound_s
    assert backoff.failures == 200


def test_waits_of_many_clients_are_spread() -> None:
    waits = sorted(Backoff(first_ms=1_000, rng=random.Random(seed)).failed_s() for seed in range(400))
    assert waits[100] < 0.4
    assert waits[300] > 0.6


def test_a_success_makes_the_next_wait_small() -> None:
    backoff = Backoff(first_ms=50, cap_ms=2_000, rng=random.Random(7))
    for _ in range(10):
        backoff.failed_s()
    backoff.succeeded()
    assert backoff.failed_s() <= 0.05


@pytest.mark.parametrize(("first", "cap"), [(0, 10), (-1, 10), (20, 10)])
def test_bounds_that_make_no_sense_are_refused(first: int, cap: int) -> None:
    with pytest.raises(ValueError, match="first_ms"):
        Backoff(first_ms=first, cap_ms=cap)
