"""What is left of a price that another run of the service stored: judged by its age, never by its word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError

from trinity.price.v1 import price_pb2
from trinity_core.price_mirror import MirroredPrice
from trinity_core.prices import State, Tier
from trinity_mesh.wire import stamp, unstamp

_MS: Final = 1_000_000
_USABLE: Final = frozenset({State.FRESH.value, State.DIVERGENT.value, State.DELAYED.value})


@dataclass(frozen=True, slots=True)
class CachedPrice:
    """A stored price as it counts now."""

    message: price_pb2.Price
    """Tier CACHE, state and times by our clock and now; sequence and epoch are those of the run that made it."""
    age_ms: float
    """Time since its newest kept quote was received."""


def judge_cached(
    asset: str, stored: MirroredPrice, *, now_mono_ns: int, now_unix_ns: int, wall_offset_ns: int, clock_id: str
) -> CachedPrice | None:
    """The price in a stored value as it counts now; None where the value is none of ours or holds no usable price.

    A value is a WatchPricesResponse with one price: what its maker knew, and when by which
    clocks. Three clocks tell how long ago that was: the store's, the maker's monotonic one
    where it is ours too, and the wall's. The longest time told is believed, so that a clock
    that is wrong can make a price older, never younger.

    Args:
        asset: the asset it must be of.
        stored: as the store gave it.
        now_mono_ns: our monotonic clock.
        now_unix_ns: the machine's wall clock.
        wall_offset_ns: what turns our monotonic times into the unix times we show.
        clock_id: names our monotonic clock.
    """
    try:
        batch = price_pb2.WatchPricesResponse.FromString(stored.value)
    except DecodeError:
        return None
    if len(batch.prices) != 1 or not batch.HasField("sent_time"):
        return None
    price = batch.prices[0]
    if price.asset != asset or price.state not in _USABLE:
        return None
    sent_ns = unstamp(batch.sent_time)
    elapsed_ns = max(stored.stored_ms_ago * _MS, now_unix_ns - sent_ns)
    if clock_id and batch.clock_id == clock_id:
        elapsed_ns = max(elapsed_ns, now_mono_ns - batch.sent_monotonic_ns)
    then_ns = sent_ns + elapsed_ns
    age_ns = then_ns - unstamp(price.receive_time)
    if then_ns >= unstamp(price.stale_at):
        return None
    if then_ns >= unstamp(price.fresh_until):
        price.state = State.DELAYED.value  # type: ignore[assignment]
    price.tier = Tier.CACHE.value  # type: ignore[assignment]
    shift_ns = now_mono_ns + wall_offset_ns - then_ns
    for shown in (price.receive_time, price.fresh_until, price.stale_at):
        shown.CopyFrom(stamp(unstamp(shown) + shift_ns))
    return CachedPrice(price, age_ns / _MS)
