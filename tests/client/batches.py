"""Batches of WatchPrices as a service would send them, for tests."""

from __future__ import annotations

from collections.abc import Iterable

from trinity.price.v1 import price_pb2
from trinity_mesh.wire import stamp

MS = 1_000_000
WALL_OFFSET_NS = 1_790_000_000 * 10**9 - 5_000 * 10**9
EPOCH = 1_790_000_000_000
CLOCK = "the-clock"


def price(
    asset: str,
    sequence: int,
    *,
    at_ns: int,
    value: str = "100",
    fresh_ms: int = 10_000,
    stale_ms: int = 60_000,
    state: int = price_pb2.STATE_FRESH,
    epoch: int = EPOCH,
) -> price_pb2.Price:
    """A price received at `at_ns` on the service's monotonic clock."""
    return price_pb2.Price(
        asset=asset,
        quote="USD",
        price=value,
        state=state,
        confidence="0.5",
        spread_bps="1.25",
        source_count=2,
        sources=["coinbase", "kraken"],
        method=price_pb2.METHOD_MEDIAN,
        tier=price_pb2.TIER_LOCAL,
        receive_time=stamp(at_ns + WALL_OFFSET_NS),
        fresh_until=stamp(at_ns + fresh_ms * MS + WALL_OFFSET_NS),
        stale_at=stamp(at_ns + stale_ms * MS + WALL_OFFSET_NS),
        sequence=sequence,
        epoch=epoch,
    )


def batch(
    prices: Iterable[price_pb2.Price] = (),
    *,
    sequence: int,
    at_ns: int,
    snapshot: bool = False,
    complete: bool = False,
    epoch: int = EPOCH,
    clock_id: str = CLOCK,
    skipped: int = 0,
) -> price_pb2.WatchPricesResponse:
    """A batch that left at `at_ns` on the service's monotonic clock."""
    return price_pb2.WatchPricesResponse(
        prices=prices,
        snapshot=snapshot,
        snapshot_complete=complete,
        sequence=sequence,
        epoch=epoch,
        sent_time=stamp(at_ns + WALL_OFFSET_NS),
        sent_monotonic_ns=at_ns,
        clock_id=clock_id,
        skipped=skipped,
    )


def snapshot(
    prices: Iterable[price_pb2.Price], *, sequence: int, at_ns: int, epoch: int = EPOCH, **more: object
) -> price_pb2.WatchPricesResponse:
    """A whole snapshot in one batch."""
    return batch(prices, sequence=sequence, at_ns=at_ns, snapshot=True, complete=True, epoch=epoch, **more)  # type: ignore[arg-type]
