"""A breaker's silence: it grows with failures in a row, and ends with an answer."""

from __future__ import annotations

import random

from trinity_storage.breaker import Breaker


class SetClock:
    """A clock that stands where it is put."""

    def __init__(self) -> None:
        self.ns = 0

    def monotonic_ns(self) -> int:
        return self.ns

    def unix_ns(self) -> int:
        raise AssertionError("durations are never measured on the wall clock")

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("a breaker never sleeps")


def make() -> tuple[Breaker, SetClock]:
    clock = SetClock()
    return Breaker(clock=clock, rng=random.Random(3), first_ms=100, cap_ms=1_000), clock


def fail_and_wait(breaker: Breaker, clock: SetClock) -> int:
    breaker.failed()
    waited = breaker.wait_ms()
    clock.ns += waited * 1_000_000
    return waited


def test_a_store_that_answers_is_asked_at_once() -> None:
    breaker, _ = make()
    assert breaker.wait_ms() == 0


def test_silence_doubles_up_to_the_cap_and_never_in_step() -> None:
    breaker, clock = make()
    waits = [fail_and_wait(breaker, clock) for _ in range(30)]
    bounds = [100, 200, 400, 800, *[1_000] * 26]
    assert all(bound / 2 <= wait <= bound for wait, bound in zip(waits, bounds, strict=True))
    assert len(set(waits)) > 20


def test_failures_of_calls_that_were_already_under_way_count_once() -> None:
    breaker, clock = make()
    for _ in range(50):
        breaker.failed()
    assert breaker.wait_ms() <= 100
    clock.ns += 100_000_000
    breaker.failed()
    assert breaker.wait_ms() <= 200


def test_an_answer_ends_the_silence_and_the_row() -> None:
    breaker, clock = make()
    for _ in range(5):
        fail_and_wait(breaker, clock)
    breaker.failed()
    breaker.succeeded()
    assert breaker.wait_ms() == 0
    breaker.failed()
    assert breaker.wait_ms() <= 100


def test_a_wait_is_never_rounded_to_nothing() -> None:
    breaker, clock = make()
    breaker.failed()
    clock.ns += breaker.wait_ms() * 1_000_000 - 1_000_001
    assert breaker.wait_ms() >= 1
