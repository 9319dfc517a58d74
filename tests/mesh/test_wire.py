"""Ticks and prices cross the wire unchanged, digit for digit."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trinity.feed.v1 import feed_pb2
from trinity.price.v1 import price_pb2
from trinity_core.prices import Method, Price, State, Tier
from trinity_core.ticks import Liveness, Tick
from trinity_core.venues import Venue
from trinity_mesh import wire

DECIMALS = st.decimals(min_value=0, max_value=10**12, allow_nan=False, allow_infinity=False)
TIMES = st.integers(0, 4 * 10**18)


@given(
    st.sampled_from(Venue),
    st.lists(st.none() | DECIMALS, min_size=4, max_size=4),
    st.none() | TIMES,
    st.none() | st.integers(0, 2**64 - 1),
    TIMES,
    st.booleans(),
)
def test_a_tick_comes_back_as_it_was(
    venue: Venue,
    figures: list[Decimal | None],
    venue_time: int | None,
    sequence: int | None,
    receive_time: int,
    live: bool,
) -> None:
    tick = Tick(venue, "BTC", "BTC-USD", "USD", *figures, venue_time, sequence, receive_time, 5, live)
    sent = wire.tick_to_message(tick).SerializeToString()
    assert wire.tick_from_message(feed_pb2.Tick.FromString(sent), receive_mono_ns=5) == tick


@given(DECIMALS, DECIMALS, st.sampled_from(State), st.sampled_from(Method), st.sampled_from(Tier), st.none() | TIMES)
def test_a_price_comes_back_as_it_was(
    price: Decimal, width: Decimal, state: State, method: Method, tier: Tier, venue_time: int | None
) -> None:
    value = Price(
        "BTC",
        price,
        state,
        width,
        Decimal("1.25"),
        (Venue.COINBASE, Venue.KRAKEN),
        method,
        tier,
        venue_time,
        10**18,
        7,
        8,
        9,
        10,
        True,
    )
    offset = 10**18
    sent = wire.price_to_message(value, epoch=3, wall_offset_ns=offset, sandbox=True).SerializeToString()
    message = price_pb2.Price.FromString(sent)
    assert (message.epoch, message.sandbox, message.source_count) == (3, True, 2)
    assert wire.price_from_message(message, receive_mono_ns=7, wall_offset_ns=offset) == value


def test_trailing_zeros_are_kept_and_exponents_never_sent() -> None:
    tick = Tick(Venue.OKX, "A", "A-USDT", "USDT", Decimal("1.50"), Decimal("1E+3"), None, None, None, None, 1, 1)
    message = wire.tick_to_message(tick)
    assert (message.price, message.bid, message.ask) == ("1.50", "1000", "")


@pytest.mark.parametrize(
    "message",
    [feed_pb2.Tick(venue="mtgox", price="1"), feed_pb2.Tick(venue="okx", price="1,5"), feed_pb2.Tick(venue="")],
)
def test_a_tick_that_makes_no_sense_is_refused(message: feed_pb2.Tick) -> None:
    with pytest.raises(ValueError, match="unknown venue|not a decimal"):
        wire.tick_from_message(message, receive_mono_ns=0)


def test_a_sign_of_life_comes_back_as_it_was() -> None:
    liveness = Liveness(Venue.GEMINI, "w1", 99, True)
    assert wire.liveness_from_message(wire.liveness_to_message(liveness), worker="w1", alive_mono_ns=99) == liveness
