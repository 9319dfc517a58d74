"""Prices made up for tests of what stands behind the book."""

from __future__ import annotations

from decimal import Decimal

from trinity_core.prices import Method, Price, State, Tier
from trinity_core.venues import Venue

MS = 1_000_000


def made_price(
    asset: str,
    sequence: int,
    *,
    at_ns: int,
    value: str = "100",
    state: State = State.FRESH,
    fresh_ms: int = 10_000,
    stale_ms: int = 60_000,
    sources: tuple[Venue, ...] = (Venue.COINBASE, Venue.KRAKEN),
    venue_time_ns: int | None = None,
    method: Method = Method.MEDIAN,
    tier: Tier = Tier.LOCAL,
    failover: bool = False,
) -> Price:
    """A price whose newest quote was received at `at_ns`, monotonic."""
    return Price(
        asset=asset,
        price=Decimal(value),
        state=state,
        confidence=Decimal("0.50"),
        spread_bps=Decimal("1.25"),
        sources=sources,
        method=method,
        tier=tier,
        venue_time_ns=venue_time_ns,
        receive_time_ns=1,
        receive_mono_ns=at_ns,
        fresh_until_mono_ns=at_ns + fresh_ms * MS,
        stale_at_mono_ns=at_ns + stale_ms * MS,
        sequence=sequence,
        failover=failover,
    )
