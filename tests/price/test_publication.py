"""What is newer than a cursor, once an asset, in the order of change; each frame made once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from price.made import made_price
from price.virtual_clock import VirtualClock
from trinity.price.v1 import price_pb2
from trinity_mesh.wire import unstamp
from trinity_price.publication import Publication
from trinity_price.wall import AnchoredWall


def publication(clock: VirtualClock) -> Publication:
    return Publication(clock=clock, clock_id="c", wall=AnchoredWall(clock=clock), epoch=9)


def read(data: bytes) -> price_pb2.WatchPricesResponse:
    return price_pb2.WatchPricesResponse.FromString(data)


@given(st.lists(st.lists(st.sampled_from("ABCD"), max_size=5), max_size=20), st.integers(0, 100))
def test_a_cursor_finds_the_newest_of_all_that_changed_since(rounds: list[list[str]], cursor: int) -> None:
    clock = VirtualClock()
    published = publication(clock)
    newest: dict[str, int] = {}
    changes: dict[str, int] = {}
    sequence = 0
    for assets in rounds:
        prices = []
        for asset in assets:
            sequence += 1
            newest[asset] = sequence
            changes[asset] = changes.get(asset, 0) + 1
            prices.append(made_price(asset, sequence, at_ns=clock.monotonic_ns()))
        published.put(prices)
    wanted = sorted((seq, asset) for asset, seq in newest.items() if seq > cursor)
    found = published.since(cursor)
    assert [(entry.price.sequence, entry.price.asset) for entry in found] == wanted
    assert {entry.price.asset: entry.changes for entry in published.since(0)} == changes
    only = published.since(cursor, frozenset("AC"))
    assert [entry.price.asset for entry in only] == [asset for _, asset in wanted if asset in "AC"]
    assert published.sequence == sequence
    assert published.changes == sum(changes.values())


def test_a_frame_is_made_once_for_all_who_take_it() -> None:
    clock = VirtualClock()
    published = publication(clock)
    published.put([made_price("BTC", 1, at_ns=1), made_price("ETH", 2, at_ns=1)])
    first, second = published.since(0)
    published.join([first, second])
    frames = (first.frame, second.frame)
    published.put([made_price("ETH", 3, at_ns=1)])
    join, count = published.join_since(0)
    assert count == 2
    assert published.since(0)[0].frame is frames[0]
    assert published.since(0)[1].frame is not frames[1]
    assert published.join_since(0)[0] is join, "watchers in step share the join too"


def test_a_join_and_its_tail_read_as_one_batch() -> None:
    clock = VirtualClock()
    published = publication(clock)
    published.put([made_price("BTC", 1, at_ns=clock.monotonic_ns()), made_price("ETH", 2, at_ns=clock.monotonic_ns())])
    join, _ = published.join_since(0)
    batch = read(join + published.tail(sequence=2, snapshot=True, complete=True, skipped=4))
    assert [(price.asset, price.sequence, price.epoch) for price in batch.prices] == [("BTC", 1, 9), ("ETH", 2, 9)]
    assert (batch.snapshot, batch.snapshot_complete, batch.sequence, batch.epoch, batch.skipped) == (
        True,
        True,
        2,
        9,
        4,
    )
    assert batch.sent_monotonic_ns == clock.monotonic_ns()
    assert unstamp(batch.sent_time) == clock.unix_ns()
    assert batch.clock_id == "c"


def test_what_is_left_of_freshness_is_true_after_a_step_of_the_wall_clock() -> None:
    clock = VirtualClock()
    wall = AnchoredWall(clock=clock)
    published = Publication(clock=clock, clock_id="c", wall=wall, epoch=9)
    published.put([made_price("BTC", 1, at_ns=clock.monotonic_ns(), fresh_ms=10_000)])
    for step in (0.0, 86_400.0, -7_200.0):
        clock.jump_wall(step)
        if wall.check():
            published.forget_frames()
        clock.move(2)
        batch = read(published.join_since(0)[0] + published.tail(sequence=1))
        left_ns = unstamp(batch.prices[0].fresh_until) - unstamp(batch.sent_time)
        assert left_ns == 10 * 10**9 - (clock.monotonic_ns() - 5_000 * 10**9)
    assert wall.moves == 2


def test_every_price_says_that_it_is_simulated_from_then_on() -> None:
    clock = VirtualClock()
    published = publication(clock)
    published.put([made_price("BTC", 1, at_ns=1)])
    assert not read(published.join_since(0)[0]).prices[0].sandbox
    published.mark_sandbox()
    assert read(published.join_since(0)[0]).prices[0].sandbox
    published.put([made_price("ETH", 2, at_ns=1)])
    assert [price.sandbox for price in read(published.join_since(0)[0]).prices] == [True, True]


def test_the_frame_of_one_asset_is_its_newest() -> None:
    published = publication(VirtualClock())
    assert published.frame_of("BTC") is None
    published.put([made_price("BTC", 1, at_ns=1), made_price("BTC", 2, at_ns=1)])
    found = published.frame_of("BTC")
    assert found is not None
    assert found[1].sequence == 2
    assert read(found[0]).prices[0].sequence == 2
