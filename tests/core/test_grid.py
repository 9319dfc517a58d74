"""Deadlines on a grid."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trinity_core.grid import Grid


def drained(grid: Grid, now: int) -> list[tuple[int, list[int]]]:
    found = []
    while (due := grid.pop(now)) is not None:
        found.append(due)
    return found


def test_a_deadline_comes_up_at_the_first_grid_point_that_is_not_before_it() -> None:
    grid = Grid(step_ns=10, keys=3)
    grid.set(0, 11)
    grid.set(1, 20)
    grid.set(2, 21)
    assert grid.next() == 20
    assert drained(grid, 19) == []
    assert drained(grid, 30) == [(20, [0, 1]), (30, [2])]
    assert grid.next() is None


def test_an_earlier_deadline_replaces_a_later_one_and_a_later_one_is_ignored() -> None:
    grid = Grid(step_ns=10, keys=1)
    grid.set(0, 50)
    grid.set(0, 15)
    grid.set(0, 90)
    assert drained(grid, 1_000) == [(20, [0])]


def test_a_key_can_be_set_again_once_it_came_up() -> None:
    grid = Grid(step_ns=10, keys=1)
    grid.set(0, 5)
    assert drained(grid, 10) == [(10, [0])]
    grid.set(0, 11)
    assert drained(grid, 20) == [(20, [0])]


@given(
    moves=st.lists(st.tuples(st.integers(0, 4), st.integers(-50, 5_000)), max_size=300),
    stops=st.lists(st.integers(0, 5_000), max_size=5),
)
def test_nothing_is_lost_and_memory_stays_bounded(moves: list[tuple[int, int]], stops: list[int]) -> None:
    grid = Grid(step_ns=100, keys=5)
    due: dict[int, int] = {}
    for key, when in moves:
        grid.set(key, when)
        point = -(-when // 100) * 100
        due[key] = min(due.get(key, point), point)
        assert len(grid._heap) <= 4 * 5 + 16
    for stop in [*sorted(stops), 10_000]:
        for point, keys in drained(grid, stop):
            for key in keys:
                assert due.pop(key) == point <= stop
    assert not due
