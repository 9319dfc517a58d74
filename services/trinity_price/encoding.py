"""A price as the bytes of a `prices` field of WatchPricesResponse, made once a change.

Serialised protobuf messages that hold different fields may be joined, and the join reads
as one message (protobuf.dev, "encoding", on last-one-wins). So each price is serialised
alone, with its tag and length, and a batch is a join of such frames and a tail.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from trinity.price.v1 import price_pb2
from trinity_core.prices import Price

_NS: Final = 1_000_000_000
_TAG: Final = b"\x0a"
"""Field 1, length-delimited: `prices`."""


class PriceEncoder:
    """Makes frames of prices. Keeps one message an asset and sets only what differs from the price before."""

    def __init__(self, *, epoch: int) -> None:
        """`epoch` names the run of the book."""
        self._epoch = epoch
        self._molds: dict[str, _Mold] = {}

    def frame(self, price: Price, *, wall_offset_ns: int, sandbox: bool) -> bytes:
        """The price's field, ready to be joined; `wall_offset_ns` turns monotonic into unix times."""
        mold = self._molds.get(price.asset)
        if mold is None:
            mold = self._molds[price.asset] = _Mold(price.asset, self._epoch)
        payload = mold.fill(price, wall_offset_ns, sandbox)
        size = len(payload)
        if size < 0x80:
            return b"%b%c%b" % (_TAG, size, payload)
        assert size < 0x4000, "a price takes less than 16 KiB"
        return b"%b%c%c%b" % (_TAG, size & 0x7F | 0x80, size >> 7, payload)


class _Mold:
    """One asset's message, filled again for each of its prices."""

    __slots__ = ("_fresh", "_last", "_message", "_received", "_sandbox", "_serialize", "_stale", "_venue")

    def __init__(self, asset: str, epoch: int) -> None:
        self._message = price_pb2.Price(asset=asset, quote="USD", epoch=epoch)
        self._received = self._message.receive_time
        self._fresh = self._message.fresh_until
        self._stale = self._message.stale_at
        self._venue: Timestamp | None = None
        self._last: Price | None = None
        self._sandbox = False
        self._serialize: Callable[[], bytes] = self._message.SerializeToString

    def fill(self, price: Price, wall_offset_ns: int, sandbox: bool) -> bytes:
        """Set what differs and serialise."""
        message = self._message
        message.price = _plain(price.price)
        message.confidence = _plain(price.confidence)
        message.spread_bps = _plain(price.spread_bps)
        message.sequence = price.sequence
        last = self._last
        if (
            last is None
            or price.state is not last.state
            or price.sources != last.sources
            or price.method is not last.method
            or price.tier is not last.tier
            or price.failover is not last.failover
            or sandbox is not self._sandbox
        ):
            self._fill_rarer(price, sandbox)
        self._last = price
        stamp = self._received
        stamp.seconds, stamp.nanos = divmod(price.receive_mono_ns + wall_offset_ns, _NS)
        stamp = self._fresh
        stamp.seconds, stamp.nanos = divmod(price.fresh_until_mono_ns + wall_offset_ns, _NS)
        stamp = self._stale
        stamp.seconds, stamp.nanos = divmod(price.stale_at_mono_ns + wall_offset_ns, _NS)
        if price.venue_time_ns is not None:
            if self._venue is None:
                self._venue = message.venue_time
            self._venue.seconds, self._venue.nanos = divmod(price.venue_time_ns, _NS)
        elif self._venue is not None:
            message.ClearField("venue_time")
            self._venue = None
        return self._serialize()

    def _fill_rarer(self, price: Price, sandbox: bool) -> None:
        message = self._message
        message.state = price.state.value  # type: ignore[assignment]
        message.sources[:] = price.sources
        message.source_count = len(price.sources)
        message.method = price.method.value  # type: ignore[assignment]
        message.tier = price.tier.value  # type: ignore[assignment]
        message.failover = price.failover
        self._sandbox = message.sandbox = sandbox


def _plain(value: Decimal) -> str:
    """The decimal without an exponent; `str` is twice as fast as `format` and nearly always enough."""
    text = str(value)
    return format(value, "f") if "E" in text else text
