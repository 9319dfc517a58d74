"""Many readers of one writer: newest wins, memory bounded, nothing newer lost."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trinity_core.errors import Reason, TrinityError
from trinity_mesh.fanout import Fanout


@given(st.lists(st.tuples(st.integers(0, 5), st.integers()), max_size=60), st.sets(st.integers(0, 60)))
def test_a_reader_always_ends_with_the_newest_value_of_every_key(
    values: list[tuple[int, int]], takes: set[int]
) -> None:
    fanout: Fanout[int, tuple[int, int]] = Fanout(subscriptions_max=1)
    reader = fanout.subscribe()
    seen: dict[int, int] = {}
    skipped_in_all = taken = 0
    for index, (key, value) in enumerate(values):
        fanout.publish([(key, (key, value))])
        if index in takes:
            batch, skipped = reader.take()
            seen.update(batch)
            taken, skipped_in_all = taken + len(batch), skipped_in_all + skipped
    batch, skipped = reader.take()
    seen.update(batch)
    assert seen == dict(values)
    assert taken + len(batch) + skipped_in_all + skipped == len(values), "every value is delivered or counted"


def test_values_come_in_the_order_of_their_last_change() -> None:
    fanout: Fanout[str, str] = Fanout(subscriptions_max=1)
    reader = fanout.subscribe()
    fanout.publish([("a", "a1"), ("b", "b1"), ("a", "a2")])
    assert reader.take() == (["b1", "a2"], 1)


def test_a_reader_of_some_keys_is_not_shown_others() -> None:
    fanout: Fanout[str, int] = Fanout(subscriptions_max=1)
    reader = fanout.subscribe(keys=frozenset({"a"}), initial=[("b", 0)])
    fanout.publish([("b", 1), ("a", 2)])
    assert reader.take() == ([2], 0)


async def test_a_reader_waits_until_something_comes_or_the_writer_ends() -> None:
    fanout: Fanout[str, int] = Fanout(subscriptions_max=1)
    reader = fanout.subscribe()
    assert not await reader.wait(0)
    waiting = asyncio.create_task(reader.wait(60))
    await asyncio.sleep(0)
    fanout.publish([("a", 1)])
    assert await waiting
    reader.take()
    fanout.close()
    assert await reader.wait(60)
    assert reader.closed


def test_one_reader_too_many_is_refused_and_a_left_place_is_free_again() -> None:
    fanout: Fanout[str, int] = Fanout(subscriptions_max=1)
    first = fanout.subscribe()
    with pytest.raises(TrinityError) as caught:
        fanout.subscribe()
    assert caught.value.reason is Reason.TOO_MANY_STREAMS
    fanout.unsubscribe(first)
    fanout.subscribe()
