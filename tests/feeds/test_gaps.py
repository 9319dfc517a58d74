"""Holes in a sequence: grace for late frames, renewals with a pause between, an end to it."""

from __future__ import annotations

from trinity_feeds.gaps import Gaps, Mend, Numbers, Turn

S = 1_000_000_000


def test_a_hole_is_looked_at_after_a_moment() -> None:
    gaps = Gaps()
    assert gaps.due_ns is None
    gaps.seen(5 * S)
    gaps.seen(5 * S + 1)
    assert gaps.due_ns == 5 * S + S // 2


def test_frames_that_came_late_leave_nothing_to_do() -> None:
    gaps = Gaps()
    gaps.seen(0)
    assert gaps.mend(S, remains=False) is Mend.NOTHING
    assert gaps.due_ns is None


def test_renewals_keep_ten_seconds_apart() -> None:
    gaps = Gaps()
    gaps.seen(0)
    assert gaps.mend(S, remains=True) is Mend.RENEW
    gaps.seen(2 * S)
    assert gaps.due_ns == 11 * S


def test_the_third_hole_in_a_row_ends_the_connection() -> None:
    gaps, now, verdicts = Gaps(), 0, []
    for _ in range(3):
        gaps.seen(now)
        assert gaps.due_ns is not None
        now = gaps.due_ns
        verdicts.append(gaps.mend(now, remains=True))
    assert verdicts == [Mend.RENEW, Mend.RENEW, Mend.GIVE_UP]


def test_holes_far_apart_never_do() -> None:
    gaps = Gaps()
    for count in range(20):
        gaps.seen(count * 30 * S)
        assert gaps.mend(count * 30 * S + S, remains=True) is Mend.RENEW


def test_a_new_connection_forgets_them() -> None:
    gaps = Gaps()
    for count in range(2):
        gaps.seen(count * 11 * S)
        gaps.mend(count * 11 * S + S, remains=True)
    gaps.seen(23 * S)
    gaps.start()
    assert gaps.due_ns is None
    gaps.seen(24 * S)
    assert gaps.mend(25 * S, remains=True) is Mend.RENEW


def test_numbers_are_next_beyond_late_or_seen_before() -> None:
    numbers = Numbers()
    turns = [numbers.turn(number) for number in (7, 8, 10, 9, 9, 8, 11, 3)]
    assert turns == [Turn.NEXT, Turn.NEXT, Turn.BEYOND, Turn.LATE, Turn.AGAIN, Turn.AGAIN, Turn.NEXT, Turn.AGAIN]
    assert not numbers.give_up()


def test_what_was_given_up_is_not_waited_for() -> None:
    numbers = Numbers()
    numbers.turn(0)
    numbers.turn(5)
    assert numbers.give_up()
    assert not numbers.give_up()
    assert numbers.turn(3) is Turn.AGAIN


def test_a_hole_of_any_size_is_remembered_in_bounds() -> None:
    numbers = Numbers()
    for number in (0, 5_000, 9_000_000_000_000_000_000):
        numbers.turn(number)
    assert len(numbers._missing) <= 1_000
    assert numbers.turn(9_000_000_000_000_000_001) is Turn.NEXT
