"""The window of sequence numbers: each number once, in any order, as far back as 64."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trinity_admission.replay import ReplayWindow


def test_each_number_is_taken_once() -> None:
    window = ReplayWindow()
    assert [window.take(number) for number in (0, 1, 2, 1, 0, 3, 3)] == [True, True, True, False, False, True, False]


def test_numbers_may_come_late_but_not_older_than_the_window() -> None:
    window = ReplayWindow()
    assert window.take(100)
    assert window.take(37)
    assert not window.take(36)
    assert not window.take(37)
    assert window.take(99)


def test_a_leap_forgets_what_is_behind_it() -> None:
    window = ReplayWindow()
    assert window.take(5)
    assert window.take(4_294_967_295)
    assert not window.take(5)
    assert not window.take(4_294_967_295)
    assert window.take(4_294_967_294)


def test_the_first_number_may_be_any() -> None:
    for first in (0, 1, 63, 64, 4_294_967_295):
        window = ReplayWindow()
        assert window.take(first)
        assert not window.take(first)


def test_two_views_of_the_same_cells_are_one_window() -> None:
    cells = [0] * 6
    one, two = ReplayWindow(cells, 2), ReplayWindow(cells, 2)
    assert one.take(9)
    assert not two.take(9)
    assert two.take(8)
    assert not one.take(8)
    assert (cells[:2], cells[4:]) == ([0, 0], [0, 0])


@given(st.lists(st.integers(0, 200), max_size=200))
def test_it_does_what_a_set_with_a_horizon_would_do(numbers: list[int]) -> None:
    window, seen, top = ReplayWindow(), set[int](), -1
    for number in numbers:
        fresh = number not in seen and number > top - 64
        assert window.take(number) == fresh
        if fresh:
            seen.add(number)
            top = max(top, number)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_its_cells_have_64_bits(one: int, other: int) -> None:
    cells = [0, 0]
    window = ReplayWindow(cells)
    window.take(one)
    window.take(other)
    assert all(0 <= cell < 2**64 for cell in cells)
