"""How soon a child is started again."""

from __future__ import annotations

import random

from trinity_mesh.restart import Backoff, Restart


def test_waits_grow_to_the_cap_and_begin_anew_after_a_healthy_run() -> None:
    backoff = Backoff(Restart(first_ms=100, cap_ms=1_000, healthy_ms=5_000), random.Random(7))
    waits = [backoff.next_ms(served_ms=4_999) for _ in range(40)]
    bounds = [100, 200, 400, 800, *[1_000] * 36]
    assert all(bound / 2 <= wait <= bound for wait, bound in zip(waits, bounds, strict=True))
    assert len(set(waits[4:])) > 10
    assert backoff.next_ms(served_ms=5_000) <= 100


def test_a_child_is_back_within_two_seconds_for_its_first_four_ends() -> None:
    backoff = Backoff(Restart(), random.Random(1))
    assert max(backoff.next_ms(0) for _ in range(4)) <= 800
