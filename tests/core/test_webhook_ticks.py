"""Ticks of one endpoint: the newest wins, and every change is delivered, counted or still there."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trinity_core.prices import State
from trinity_core.webhook_rules import MS, Change, EveryChange, Interval, Moved, TickRule
from trinity_core.webhook_ticks import TickBoard, TickSettings

EVERY = EveryChange()


def change(asset: str, sequence: int, *, price: int | str = 100, state: State = State.FRESH) -> Change:
    return Change(asset, Decimal(price), state, Decimal(0), Decimal(0), (), sequence, 1, None, 0)


def taken(board: TickBoard, ms: int, *, delivered: bool = True) -> list[tuple[str, int, int]]:
    batch = board.take(ms * MS)
    if batch:
        board.settle(ms * MS, delivered=delivered)
    return [(item.change.asset, item.change.sequence, item.skipped) for item in batch]


def test_the_newest_of_each_asset_wins_and_tells_how_many_it_stands_for() -> None:
    board = TickBoard(TickSettings())
    for sequence in range(5):
        board.offer(change("BTC", sequence), EVERY, 0)
    board.offer(change("ETH", 9), EVERY, 0)
    assert taken(board, 0) == [("BTC", 4, 4), ("ETH", 9, 0)]
    assert taken(board, 1) == []


def test_one_batch_is_in_flight_and_what_comes_meanwhile_is_folded() -> None:
    board = TickBoard(TickSettings())
    board.offer(change("BTC", 1), EVERY, 0)
    assert len(board.take(0)) == 1
    for sequence in (2, 3, 4):
        board.offer(change("BTC", sequence), EVERY, MS)
    assert board.take(MS) == []
    assert board.due_ns() is None
    board.settle(2 * MS, delivered=True)
    assert taken(board, 2) == [("BTC", 4, 2)]


def test_what_failed_is_folded_into_what_is_newer_or_waits_again() -> None:
    board = TickBoard(TickSettings())
    board.offer(change("BTC", 1), EVERY, 0)
    board.offer(change("ETH", 2), EVERY, 0)
    board.take(0)
    board.offer(change("BTC", 3), EVERY, MS)
    board.settle(2 * MS, delivered=False)
    assert taken(board, 2) == [("ETH", 2, 0), ("BTC", 3, 1)]


def test_a_change_is_dropped_after_its_time_and_counted_in_the_next() -> None:
    board = TickBoard(TickSettings(ttl_ms=1_000))
    board.offer(change("BTC", 1), EVERY, 0)
    assert taken(board, 0, delivered=False) == [("BTC", 1, 0)]
    assert taken(board, 1_001) == []
    assert (board.expired, board.outstanding, board.due_ns()) == (1, 1, None)
    board.offer(change("BTC", 2), EVERY, 2_000 * MS)
    assert taken(board, 2_000) == [("BTC", 2, 1)]


def test_an_interval_gives_the_newest_at_its_end_however_long_it_is() -> None:
    board = TickBoard(TickSettings(ttl_ms=100))
    rule = Interval(1_000)
    board.offer(change("BTC", 1), rule, 0)
    assert taken(board, 0) == [("BTC", 1, 0)]
    board.offer(change("BTC", 2), rule, 100 * MS)
    board.offer(change("BTC", 3), rule, 200 * MS)
    assert board.due_ns() == 1_000 * MS
    assert taken(board, 999) == []
    assert taken(board, 1_000) == [("BTC", 3, 1)]


def test_a_small_move_waits_until_the_price_is_far_enough_from_the_one_delivered() -> None:
    board = TickBoard(TickSettings())
    rule = Moved(Decimal(100))
    prices = [100, "100.5", "100.99", 101, "100.1", "99.99"]
    found = []
    for sequence, price in enumerate(prices):
        board.offer(change("BTC", sequence, price=price), rule, sequence * MS)
        found += taken(board, sequence)
    assert found == [("BTC", 0, 0), ("BTC", 3, 2), ("BTC", 5, 1)]
    board.offer(change("BTC", 6, price="99.99", state=State.STALE), rule, 10 * MS)
    assert taken(board, 10) == [("BTC", 6, 0)]


def test_a_price_that_comes_back_before_it_was_sent_is_no_move_any_more() -> None:
    board = TickBoard(TickSettings())
    rule = Moved(Decimal(100))
    board.offer(change("BTC", 1), rule, 0)
    board.take(0)
    board.offer(change("BTC", 2, price=150), rule, 0)
    board.offer(change("BTC", 3, price=100), rule, 0)
    board.settle(0, delivered=True)
    assert board.due_ns() is None
    assert board.outstanding == 2


def test_a_batch_goes_when_it_is_full_or_its_oldest_has_waited_enough() -> None:
    board = TickBoard(TickSettings(batch_max=3, batch_ms=100))
    board.offer(change("A", 1), EVERY, 0)
    board.offer(change("B", 2), EVERY, 50 * MS)
    assert board.due_ns() == 100 * MS
    assert taken(board, 99) == []
    board.offer(change("C", 3), EVERY, 60 * MS)
    board.offer(change("D", 4), EVERY, 60 * MS)
    assert [asset for asset, *_ in taken(board, 60)] == ["A", "B", "C"]
    assert taken(board, 159) == []
    assert taken(board, 160) == [("D", 4, 0)]


def test_a_waiting_asset_is_not_overtaken_by_one_that_changes_all_the_time() -> None:
    board = TickBoard(TickSettings(batch_max=1))
    board.offer(change("SLOW", 1), EVERY, 0)
    for at in range(1, 4):
        board.offer(change("FAST", at), EVERY, at * MS)
    assert [asset for asset, *_ in taken(board, 4)] == ["SLOW"]
    assert taken(board, 5) == [("FAST", 3, 2)]


def test_an_asset_that_is_forgotten_is_neither_sent_nor_counted() -> None:
    board = TickBoard(TickSettings())
    board.offer(change("BTC", 1), EVERY, 0)
    board.offer(change("BTC", 2), EVERY, 0)
    board.forget("BTC")
    board.forget("ETH")
    assert taken(board, 0) == []
    assert (board.offered, board.outstanding, len(board)) == (0, 0, 0)


RULES = st.sampled_from([EVERY, Interval(100), Interval(700), Moved(Decimal(100)), Moved(Decimal(1))])


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["offer", "take", "deliver", "fail"]),
            st.integers(0, 400),
            st.sampled_from("ABC"),
            st.integers(95, 105),
        ),
        max_size=120,
    ),
    st.fixed_dictionaries(dict.fromkeys("ABC", RULES)),
    st.integers(1, 3),
    st.integers(0, 300),
    st.integers(100, 2_000),
)
def test_skipped_adds_up_exactly_whatever_happens(
    steps: list[tuple[str, int, str, int]],
    rules: dict[str, TickRule],
    batch_max: int,
    batch_ms: int,
    ttl_ms: int,
) -> None:
    board = TickBoard(TickSettings(batch_max, batch_ms, ttl_ms))
    now, offered, delivered, batch = 0, 0, 0, []
    newest: dict[str, int] = {}
    for step, wait, asset, price in steps:
        now += wait * MS
        if step == "offer":
            offered += 1
            board.offer(change(asset, offered, price=price), rules[asset], now)
        elif step == "take" and not board.in_flight:
            batch = board.take(now)
            assert len(batch) <= batch_max
        elif step in ("deliver", "fail") and board.in_flight:
            board.settle(now, delivered=step == "deliver")
            if step == "deliver":
                for item in batch:
                    delivered += 1 + item.skipped
                    assert item.change.sequence > newest.get(item.change.asset, 0)
                    newest[item.change.asset] = item.change.sequence
        assert board.offered == offered
        assert board.delivered + board.folded == delivered
        assert delivered + board.outstanding == offered
        assert len(board) <= 3


@pytest.mark.parametrize("rule", [EVERY, Interval(1_000), Moved(Decimal(5))])
def test_due_and_take_agree(rule: TickRule) -> None:
    board = TickBoard(TickSettings(batch_ms=30))
    for sequence, price in enumerate((100, 101, 102)):
        board.offer(change("BTC", sequence, price=price), rule, sequence * 400 * MS)
        due = board.due_ns()
        if due is None:
            continue
        assert board.take(due - 1) == []
        if board.take(due):
            board.settle(due, delivered=True)
