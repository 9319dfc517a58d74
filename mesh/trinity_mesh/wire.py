"""Ticks and prices to and from their messages. Each way is one named function."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from trinity.feed.v1 import feed_pb2
from trinity.price.v1 import price_pb2
from trinity_core.prices import Method, Price, State, Tier, plain
from trinity_core.ticks import Liveness, Tick
from trinity_core.venues import Venue

_NS: Final = 1_000_000_000
_VENUES: Final = {venue.value: venue for venue in Venue}


def stamp(unix_ns: int) -> Timestamp:
    """A unix time in nanoseconds as a Timestamp."""
    seconds, nanos = divmod(unix_ns, _NS)
    return Timestamp(seconds=seconds, nanos=nanos)


def unstamp(message: Timestamp) -> int:
    """A Timestamp as unix nanoseconds."""
    return message.seconds * _NS + message.nanos


def tick_to_message(tick: Tick) -> feed_pb2.Tick:
    """A tick as its message."""
    message = feed_pb2.Tick(
        venue=tick.venue,
        asset=tick.asset,
        symbol=tick.symbol,
        quote=tick.quote,
        price=_text(tick.price),
        bid=_text(tick.bid),
        ask=_text(tick.ask),
        volume_24h=_text(tick.volume_24h),
        receive_time=stamp(tick.receive_time_ns),
        receive_monotonic_ns=tick.receive_mono_ns,
        sequence=tick.sequence,
        live=tick.live,
    )
    if tick.venue_time_ns is not None:
        message.venue_time.CopyFrom(stamp(tick.venue_time_ns))
    return message


def tick_from_message(message: feed_pb2.Tick, *, receive_mono_ns: int) -> Tick:
    """A tick from its message; `receive_mono_ns` is its time of receipt on our own clock.

    Raises ValueError for an unknown venue or text that is not a decimal.
    """
    venue = _VENUES.get(message.venue)
    if venue is None:
        raise ValueError(f"unknown venue {message.venue!r}")
    return Tick(
        venue,
        message.asset,
        message.symbol,
        message.quote,
        _decimal(message.price),
        _decimal(message.bid),
        _decimal(message.ask),
        _decimal(message.volume_24h),
        unstamp(message.venue_time) if message.HasField("venue_time") else None,
        message.sequence if message.HasField("sequence") else None,
        unstamp(message.receive_time),
        receive_mono_ns,
        message.live,
    )


def liveness_to_message(liveness: Liveness) -> feed_pb2.Liveness:
    """A sign of life as its message; the worker stands in the batch."""
    return feed_pb2.Liveness(
        venue=liveness.venue, alive_monotonic_ns=liveness.alive_mono_ns, connected=liveness.connected
    )


def liveness_from_message(message: feed_pb2.Liveness, *, worker: str, alive_mono_ns: int) -> Liveness:
    """A sign of life from its message; `alive_mono_ns` is on our own clock. Raises ValueError for an unknown venue."""
    venue = _VENUES.get(message.venue)
    if venue is None:
        raise ValueError(f"unknown venue {message.venue!r}")
    return Liveness(venue, worker, alive_mono_ns, message.connected)


def price_to_message(price: Price, *, epoch: int, wall_offset_ns: int, sandbox: bool) -> price_pb2.Price:
    """A price as its message.

    `wall_offset_ns` is what turns the book's monotonic times into unix times.
    """
    message = price_pb2.Price(
        asset=price.asset,
        quote="USD",
        price=plain(price.price),
        state=price.state.value,  # type: ignore[arg-type]
        confidence=plain(price.confidence),
        spread_bps=plain(price.spread_bps),
        source_count=len(price.sources),
        sources=price.sources,
        method=price.method.value,  # type: ignore[arg-type]
        tier=price.tier.value,  # type: ignore[arg-type]
        receive_time=stamp(price.receive_time_ns),
        fresh_until=stamp(price.fresh_until_mono_ns + wall_offset_ns),
        stale_at=stamp(price.stale_at_mono_ns + wall_offset_ns),
        sequence=price.sequence,
        epoch=epoch,
        failover=price.failover,
        sandbox=sandbox,
    )
    if price.venue_time_ns is not None:
        message.venue_time.CopyFrom(stamp(price.venue_time_ns))
    return message


def price_from_message(message: price_pb2.Price, *, receive_mono_ns: int, wall_offset_ns: int) -> Price:
    """A price from its message; `wall_offset_ns` turns our monotonic times into the sender's unix times.

    Raises ValueError for text that is not a decimal, or enum numbers this version does not know.
    """
    return Price(
        message.asset,
        _needed(message.price),
        State(message.state),
        _needed(message.confidence),
        _needed(message.spread_bps),
        tuple(_VENUES[source] for source in message.sources if source in _VENUES),
        Method(message.method),
        Tier(message.tier),
        unstamp(message.venue_time) if message.HasField("venue_time") else None,
        unstamp(message.receive_time),
        receive_mono_ns,
        unstamp(message.fresh_until) - wall_offset_ns,
        unstamp(message.stale_at) - wall_offset_ns,
        message.sequence,
        message.failover,
    )


def _text(value: Decimal | None) -> str:
    return "" if value is None else format(value, "f")


def _decimal(text: str) -> Decimal | None:
    return _needed(text) if text else None


def _needed(text: str) -> Decimal:
    try:
        return Decimal(text)
    except ArithmeticError as error:
        raise ValueError(f"not a decimal: {text[:40]!r}") from error
