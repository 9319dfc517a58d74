"""A replica takes what a stream may say, refuses what it may not, and lets prices age."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.batches import CLOCK, EPOCH, MS, batch, price, snapshot
from price.virtual_clock import VirtualClock
from trinity.price.v1 import price_pb2
from trinity_client.replica import Replica, StreamBrokenError
from trinity_core.prices import State

S = 1_000 * MS


def opened(clock: VirtualClock, clock_id: str = CLOCK) -> Replica:
    replica = Replica(clock=clock, clock_id=clock_id)
    assert replica.opened() == (0, 0)
    return replica


def test_a_snapshot_counts_only_when_it_is_complete() -> None:
    clock = VirtualClock()
    now = clock.monotonic_ns()
    replica = opened(clock)
    assert replica.receive(batch([price("BTC", 1, at_ns=now)], sequence=2, at_ns=now, snapshot=True), now) == []
    assert not replica.complete
    assert replica.views == {}
    last = batch([price("ETH", 2, at_ns=now)], sequence=2, at_ns=now, snapshot=True, complete=True)
    assert [view.asset for view in replica.receive(last, now)] == ["BTC", "ETH"]
    assert replica.complete
    assert (replica.epoch, replica.sequence) == (EPOCH, 2)


def test_an_empty_snapshot_is_a_snapshot() -> None:
    clock = VirtualClock()
    replica = opened(clock)
    replica.receive(snapshot([], sequence=0, at_ns=clock.monotonic_ns()), clock.monotonic_ns())
    assert replica.complete


def test_changes_replace_and_heartbeats_move_the_sequence() -> None:
    clock = VirtualClock()
    now = clock.monotonic_ns()
    replica = opened(clock)
    replica.receive(snapshot([price("BTC", 4, at_ns=now)], sequence=9, at_ns=now), now)
    replica.receive(batch([price("BTC", 11, at_ns=now, value="101")], sequence=12, at_ns=now, skipped=3), now)
    replica.receive(batch(sequence=15, at_ns=now), now)
    assert str(replica.views["BTC"].price) == "101"
    assert replica.sequence == 15
    assert replica.skipped == 3
    assert replica.opened() == (EPOCH, 15)


def test_a_price_turns_delayed_and_stale_without_news() -> None:
    clock = VirtualClock()
    now = clock.monotonic_ns()
    replica = opened(clock)
    replica.receive(snapshot([price("BTC", 1, at_ns=now)], sequence=1, at_ns=now), now)
    view = replica.views["BTC"]
    assert view.state is State.FRESH
    assert view.turns_at_ns(now) == now + 10 * S
    clock.move(9.999999)
    assert view.state is State.FRESH
    assert replica.aged(clock.monotonic_ns()) == []
    clock.move(0.000001)
    assert view.state is State.DELAYED
    (aged,) = replica.aged(clock.monotonic_ns())
    assert aged.message.state == price_pb2.STATE_DELAYED
    assert view.message.state == price_pb2.STATE_FRESH, "what was handed out is never altered"
    assert replica.views["BTC"] is aged
    clock.move(50)
    assert aged.state is State.STALE
    assert aged.turns_at_ns(clock.monotonic_ns()) is None
    assert aged.age_ms == 60_000


def test_a_divergent_price_ages_and_a_stale_or_halted_one_never_recovers_by_itself() -> None:
    clock = VirtualClock()
    now = clock.monotonic_ns()
    replica = opened(clock)
    prices = [
        price("A", 1, at_ns=now, state=price_pb2.STATE_DIVERGENT),
        price("B", 2, at_ns=now, state=price_pb2.STATE_STALE),
        price("C", 3, at_ns=now, state=price_pb2.STATE_HALTED),
        price("D", 4, at_ns=now, state=77),
    ]
    replica.receive(snapshot(prices, sequence=4, at_ns=now), now)
    assert [replica.views[asset].state for asset in "ABCD"] == [State.DIVERGENT, State.STALE, State.HALTED, State.STALE]
    clock.move(10)
    assert replica.views["A"].state is State.DELAYED


def test_the_message_is_the_same_object_until_its_state_turns() -> None:
    clock = VirtualClock()
    now = clock.monotonic_ns()
    replica = opened(clock)
    replica.receive(snapshot([price("BTC", 1, at_ns=now)], sequence=1, at_ns=now), now)
    view = replica.views["BTC"]
    for at_s, state in ((0, 1), (9.999, 1), (10, 2), (59.999, 2), (60, 3), (9_999, 3)):
        message = view.message_at(now + round(at_s * S))
        assert message.state == state == view.state_at(now + round(at_s * S)).value
        assert (message is view.message) is (state == 1)


@pytest.mark.parametrize("state", [1, 2, 3, 4, 5, 77])
@pytest.mark.parametrize("at_s", [0, 10, 60])
def test_the_message_always_has_the_state_that_holds(state: int, at_s: int) -> None:
    clock = VirtualClock()
    now = clock.monotonic_ns()
    replica = opened(clock)
    replica.receive(snapshot([price("BTC", 1, at_ns=now, state=state)], sequence=1, at_ns=now), now)
    view = replica.views["BTC"]
    assert view.message_at(now + at_s * S).state == view.state_at(now + at_s * S).value
    assert view.message.state == state


def test_a_wall_clock_that_jumps_changes_no_state() -> None:
    clock = VirtualClock()
    now = clock.monotonic_ns()
    replica = opened(clock)
    replica.receive(snapshot([price("BTC", 1, at_ns=now)], sequence=1, at_ns=now), now)
    clock.jump_wall(86_400)
    assert replica.views["BTC"].state is State.FRESH
    clock.jump_wall(-200_000)
    assert replica.views["BTC"].age_ms == 0


def test_a_backlog_shows_its_true_age_on_the_same_host() -> None:
    clock = VirtualClock()
    sent = clock.monotonic_ns()
    replica = opened(clock)
    clock.move(12)
    replica.receive(snapshot([price("BTC", 1, at_ns=sent)], sequence=1, at_ns=sent), clock.monotonic_ns())
    assert replica.views["BTC"].state is State.DELAYED
    assert replica.transit_ns == 12 * S


def test_a_backlog_shows_its_true_age_between_hosts_too() -> None:
    clock = VirtualClock()
    there = 77 * S  # the service's monotonic clock, which has nothing to do with ours
    replica = opened(clock)
    replica.receive(
        snapshot([price("BTC", 1, at_ns=there)], sequence=1, at_ns=there, clock_id="x"), clock.monotonic_ns()
    )
    assert replica.views["BTC"].state is State.FRESH
    clock.move(15)  # the stream stalls for 15 s, then delivers what was sent after 1 s
    late = batch([price("BTC", 2, at_ns=there + S)], sequence=2, at_ns=there + S, clock_id="x")
    replica.receive(late, clock.monotonic_ns())
    assert replica.views["BTC"].state is State.DELAYED
    assert replica.transit_ns == 14 * S


def test_a_slow_first_message_is_found_out_by_a_faster_second() -> None:
    clock = VirtualClock()
    there = 77 * S
    replica = opened(clock)
    clock.move(11)  # nobody can know that the snapshot took 11 s
    replica.receive(
        snapshot([price("BTC", 1, at_ns=there)], sequence=1, at_ns=there, clock_id="x"), clock.monotonic_ns()
    )
    view = replica.views["BTC"]
    assert view.state is State.FRESH
    replica.receive(batch(sequence=1, at_ns=there + 11 * S, clock_id="x"), clock.monotonic_ns())
    assert view.state is State.DELAYED


def test_another_epoch_replaces_everything_even_with_smaller_sequences() -> None:
    clock = VirtualClock()
    now = clock.monotonic_ns()
    replica = opened(clock)
    first = [price("BTC", 900, at_ns=now), price("DOGE", 901, at_ns=now)]
    replica.receive(snapshot(first, sequence=1_000, at_ns=now), now)
    assert replica.opened() == (EPOCH, 1_000)
    later = EPOCH + 5
    part = batch([price("BTC", 1, at_ns=now, value="7")], sequence=2, at_ns=now, snapshot=True, epoch=later)
    assert replica.receive(part, now) == []
    assert str(replica.views["BTC"].price) == "100", "half a snapshot replaces nothing"
    changed = replica.receive(snapshot([price("ETH", 2, at_ns=now)], sequence=2, at_ns=now, epoch=later), now)
    assert {view.asset: view.message.state for view in changed} == {
        "DOGE": price_pb2.STATE_HALTED,
        "BTC": price_pb2.STATE_FRESH,
        "ETH": price_pb2.STATE_FRESH,
    }
    assert sorted(replica.views) == ["BTC", "ETH"]
    assert str(replica.views["BTC"].price) == "7"
    assert (replica.epoch, replica.sequence, replica.replacements) == (later, 2, 2)


def test_a_snapshot_cut_in_the_middle_is_forgotten() -> None:
    clock = VirtualClock()
    now = clock.monotonic_ns()
    replica = opened(clock)
    replica.receive(batch([price("OLD", 1, at_ns=now)], sequence=2, at_ns=now, snapshot=True), now)
    assert replica.opened() == (0, 0)
    replica.receive(snapshot([price("BTC", 1, at_ns=now)], sequence=2, at_ns=now), now)
    assert list(replica.views) == ["BTC"]


def test_a_resumed_snapshot_adds_what_was_missed_and_takes_nothing_back() -> None:
    clock = VirtualClock()
    now = clock.monotonic_ns()
    replica = opened(clock)
    replica.receive(snapshot([price("BTC", 1, at_ns=now), price("ETH", 2, at_ns=now)], sequence=2, at_ns=now), now)
    assert replica.opened() == (EPOCH, 2)
    resumed = batch([price("ETH", 5, at_ns=now, value="6")], sequence=7, at_ns=now, snapshot=True)
    assert [view.asset for view in replica.receive(resumed, now)] == ["ETH"]
    assert replica.opened() == (EPOCH, 2), "cut before it was complete: resume where the last whole one ended"
    again = snapshot([price("ETH", 5, at_ns=now, value="6"), price("BTC", 6, at_ns=now)], sequence=7, at_ns=now)
    assert [view.asset for view in replica.receive(again, now)] == ["BTC"]
    assert replica.opened() == (EPOCH, 7)


def broken(name: str, now: int) -> list[price_pb2.WatchPricesResponse]:
    start = snapshot([price("BTC", 5, at_ns=now)], sequence=5, at_ns=now)
    no_time = batch(sequence=6, at_ns=now)
    no_time.ClearField("sent_time")
    return {
        "change before snapshot": [batch(sequence=1, at_ns=now)],
        "second snapshot": [start, snapshot([], sequence=6, at_ns=now)],
        "old sequence": [start, batch([price("BTC", 5, at_ns=now)], sequence=6, at_ns=now)],
        "disorder": [start, batch([price("A", 8, at_ns=now), price("B", 7, at_ns=now)], sequence=9, at_ns=now)],
        "beyond the batch": [start, batch([price("A", 8, at_ns=now)], sequence=7, at_ns=now)],
        "sequence back": [start, batch(sequence=4, at_ns=now)],
        "epoch changes": [start, batch(sequence=6, at_ns=now, epoch=EPOCH + 1)],
        "no epoch": [snapshot([], sequence=6, at_ns=now, epoch=0)],
        "no time": [start, no_time],
        "too many": [
            batch([price(f"A{n}", n + 1, at_ns=now) for n in range(10_001)], sequence=10_001, at_ns=now, snapshot=True)
        ],
    }[name]


@pytest.mark.parametrize(
    "name",
    [
        "change before snapshot",
        "second snapshot",
        "old sequence",
        "disorder",
        "beyond the batch",
        "sequence back",
        "epoch changes",
        "no epoch",
        "no time",
        "too many",
    ],
)
def test_a_stream_that_breaks_its_rules_is_refused_and_then_replaced(name: str) -> None:
    clock = VirtualClock()
    now = clock.monotonic_ns()
    replica = opened(clock)
    *fine, wrong = broken(name, now)
    for item in fine:
        replica.receive(item, now)
    with pytest.raises(StreamBrokenError):
        replica.receive(wrong, now)
    replica.distrust()
    epoch, _ = replica.opened()
    assert epoch == 0, "the next stream must send everything"
    replica.receive(snapshot([price("ETH", 1, at_ns=now)], sequence=1, at_ns=now), now)
    assert list(replica.views) == ["ETH"]


def test_a_resumed_snapshot_that_ends_before_what_we_have_is_refused() -> None:
    clock = VirtualClock()
    now = clock.monotonic_ns()
    replica = opened(clock)
    replica.receive(snapshot([], sequence=5, at_ns=now), now)
    replica.opened()
    with pytest.raises(StreamBrokenError, match="behind 5"):
        replica.receive(snapshot([], sequence=4, at_ns=now), now)


@given(
    st.lists(
        st.tuples(st.lists(st.sampled_from("ABCDE"), max_size=6), st.booleans(), st.booleans()),
        max_size=30,
    )
)
def test_whatever_is_cut_and_resumed_the_replica_ends_like_the_book(
    rounds: list[tuple[list[str], bool, bool]],
) -> None:
    """A book changes, streams are cut anywhere and resumed, the service restarts now and then."""
    clock = VirtualClock()
    now = clock.monotonic_ns()
    replica = Replica(clock=clock, clock_id=CLOCK)
    book: dict[str, int] = {}
    epoch, sequence, cursor, open_ = EPOCH, 0, 0, False
    for assets, cut, restart in rounds:
        if restart:
            epoch, sequence, book, open_ = epoch + 1, 0, {}, False
        for asset in assets:
            sequence += 1
            book[asset] = sequence
        if cut or not open_:
            resume_epoch, resume = replica.opened()
            after = resume if resume_epoch == epoch else 0
            news = [
                price(a, s, at_ns=now, epoch=epoch) for a, s in sorted(book.items(), key=lambda i: i[1]) if s > after
            ]
            half = len(news) // 2
            replica.receive(batch(news[:half], sequence=sequence, at_ns=now, snapshot=True, epoch=epoch), now)
            if cut:
                open_ = False
                continue
            replica.receive(snapshot(news[half:], sequence=sequence, at_ns=now, epoch=epoch), now)
            open_ = True
        else:
            news = [
                price(a, s, at_ns=now, epoch=epoch) for a, s in sorted(book.items(), key=lambda i: i[1]) if s > cursor
            ]
            replica.receive(batch(news, sequence=sequence, at_ns=now, epoch=epoch), now)
        cursor = sequence
        assert {asset: view.sequence for asset, view in replica.views.items()} == book
        assert (replica.epoch, replica.sequence) == (epoch, sequence)
