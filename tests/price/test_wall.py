"""Shown times differ by true durations, whatever the machine's wall clock does."""

from __future__ import annotations

from price.virtual_clock import VirtualClock
from trinity_price.wall import AnchoredWall


def test_a_small_adjustment_moves_nothing() -> None:
    clock = VirtualClock()
    wall = AnchoredWall(clock=clock)
    shown = wall.unix_ns(clock.monotonic_ns())
    assert shown == clock.unix_ns()
    clock.jump_wall(0.5)
    clock.move(7)
    assert not wall.check()
    assert wall.unix_ns(clock.monotonic_ns()) - shown == 7 * 10**9


def test_a_step_either_way_moves_the_anchor_once_and_is_counted() -> None:
    clock = VirtualClock()
    wall = AnchoredWall(clock=clock, step_ms=500)
    for seconds in (0.501, -3_600):
        clock.jump_wall(seconds)
        assert wall.check()
        assert not wall.check()
        assert wall.unix_ns(clock.monotonic_ns()) == clock.unix_ns()
    assert wall.moves == 2
