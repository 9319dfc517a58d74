"""A frame reads exactly like the message that is built field by field."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from trinity.price.v1 import price_pb2
from trinity_core.prices import Method, Price, State, Tier
from trinity_core.venues import Venue
from trinity_mesh.wire import price_to_message
from trinity_price.encoding import PriceEncoder

EPOCH = 1_790_000_000_000_000_000
OFFSET = 1_789_999_995_000_000_000

decimals = st.decimals(allow_nan=False, allow_infinity=False, min_value=0, max_value=10**12) | st.sampled_from(
    [Decimal("1E-12"), Decimal("1E+7"), Decimal("0E-9"), Decimal("0.00000001234")]
)
mono = st.integers(0, 2**53)


@st.composite
def prices(draw: st.DrawFn) -> Price:
    received = draw(mono)
    return Price(
        asset=draw(st.sampled_from(["BTC", "ETH", "1INCH"])),
        price=draw(decimals),
        state=draw(st.sampled_from(list(State))),
        confidence=draw(decimals),
        spread_bps=draw(decimals),
        sources=tuple(draw(st.lists(st.sampled_from(sorted(Venue)), unique=True, max_size=6))),
        method=draw(st.sampled_from(list(Method))),
        tier=draw(st.sampled_from(list(Tier))),
        venue_time_ns=draw(st.none() | st.integers(0, 2**62)),
        receive_time_ns=received + OFFSET,
        receive_mono_ns=received,
        fresh_until_mono_ns=draw(mono),
        stale_at_mono_ns=draw(mono),
        sequence=draw(st.integers(1, 2**63)),
        failover=draw(st.booleans()),
    )


@given(st.lists(st.tuples(prices(), st.booleans()), max_size=12))
def test_joined_frames_read_like_the_messages_built_field_by_field(items: list[tuple[Price, bool]]) -> None:
    encoder = PriceEncoder(epoch=EPOCH)
    frames = [encoder.frame(price, wall_offset_ns=OFFSET, sandbox=sandbox) for price, sandbox in items]
    tail = price_pb2.WatchPricesResponse(sequence=7, epoch=EPOCH, skipped=3).SerializeToString()
    read = price_pb2.WatchPricesResponse.FromString(b"".join(frames) + tail)
    wanted = price_pb2.WatchPricesResponse(
        prices=[
            price_to_message(price, epoch=EPOCH, wall_offset_ns=OFFSET, sandbox=sandbox) for price, sandbox in items
        ],
        sequence=7,
        epoch=EPOCH,
        skipped=3,
    )
    assert read == wanted
    assert read.SerializeToString(deterministic=True) == wanted.SerializeToString(deterministic=True)
