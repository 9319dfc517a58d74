"""One asset's page of the book: its markets, their jumps, and its price as last made and last published."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal

from trinity_core.assets import Asset
from trinity_core.consolidate import Consolidated, Entry
from trinity_core.exact import multiply, subtract
from trinity_core.freshness import NEVER, Market
from trinity_core.prices import Method, Price, State, Tier
from trinity_core.venues import Venue

ToUsd = Callable[[Market, Decimal], Decimal | None]
"""A market's value in USD; None where its quote currency has no fresh price."""


class Page:
    """What the book knows of one asset. The book alone alters it."""

    __slots__ = (
        "asset",
        "by_venue",
        "converts",
        "current",
        "made",
        "markets",
        "pendings",
        "quotes",
        "rank",
        "sources",
        "stale_at",
        "state",
        "until",
    )

    def __init__(self, *, asset: Asset, rank: int, markets: Sequence[Market], converts: tuple[str, ...]) -> None:
        """`converts` are the quote currencies other than USD that may make this asset's price."""
        self.asset = asset
        self.rank = rank
        """Place among the pages, and order in which those that are due together are turned."""
        self.markets = tuple(markets)
        """In the asset's priority."""
        self.by_venue: dict[Venue, Market] = {market.listing.venue: market for market in markets}
        self.converts = converts
        self.quotes = frozenset(market.listing.quote for market in markets).intersection(converts)
        """Quote currencies whose rate makes this asset's price."""
        self.current: Price | None = None
        """The median price as last published."""
        self.made: Consolidated | None = None
        """The price as last made of fresh quotes."""
        self.state = State.HALTED
        self.until = NEVER
        """The newest price is fresh up to and including this time."""
        self.stale_at = NEVER
        self.pendings = 0
        """Markets whose newest quote waits for confirmation."""
        self.sources: dict[int, tuple[Venue, ...]] = {}
        """Venues in alphabetical order by the set of their markets' ranks, as bits."""

    def name_sources(self, kept: Sequence[Entry]) -> tuple[Venue, ...]:
        """The quotes' venues in alphabetical order."""
        mask = 0
        for entry in kept:
            mask |= 1 << entry.rank
        known = self.sources.get(mask)
        if known is None:
            known = self.sources[mask] = tuple(sorted(self.markets[entry.rank].listing.venue for entry in kept))
        return known

    def describe(
        self,
        value: Decimal,
        used: Sequence[Entry],
        *,
        confidence: Decimal,
        spread_bps: Decimal,
        state: State,
        until: int,
        stale_at: int,
        sequence: int,
        method: Method = Method.MEDIAN,
        failover: bool = False,
    ) -> Price:
        """A price made of some quotes; its times are the newest of theirs."""
        newest = used[0]
        venue_time: int | None = None
        for entry in used:
            if entry.receive > newest.receive:
                newest = entry
            told = entry.tick.venue_time_ns
            if told is not None and not entry.suspect and (venue_time is None or told > venue_time):
                venue_time = told
        return Price(
            self.asset.asset,
            value,
            state,
            confidence,
            spread_bps,
            self.name_sources(used),
            method,
            Tier.LOCAL,
            venue_time,
            newest.tick.receive_time_ns,
            newest.receive,
            until,
            stale_at,
            sequence,
            failover,
        )

    @property
    def rate(self) -> Decimal | None:
        """The price that converts, if this is a quote currency; None unless FRESH."""
        return self.made.price if self.made is not None and self.state is State.FRESH else None

    def jumps(self, market: Market, value: Decimal, now: int, jump: Decimal) -> bool:
        """The value lies further than `jump`, a factor, from the market's own, which is still fresh."""
        known = market.value
        if known is None or market.until() < now:
            return False
        return subtract(value, known).copy_abs() > multiply(known, jump)

    def waiting_since(self) -> int:
        """Since when the quote waits that waits longest; at least one does."""
        return min(market.pending_since for market in self.markets if market.pending is not None)

    def waited(self, since: int, now: int) -> list[Market]:
        """Markets whose newest quote has waited since then or before, or has nothing fresh to stand in for it."""
        return [
            market
            for market in self.markets
            if market.pending is not None and (market.pending_since <= since or market.until() < now)
        ]

    def confirmed(self, now: int, reach: Decimal, to_usd: ToUsd) -> list[Market]:
        """Markets whose waiting quote another venue's quote supports, waiting or not.

        Two quotes support each other when they lie within `reach`, a factor, of the one that waits.
        """
        found = []
        for market in self.markets:
            if market.pending_value is None:
                continue
            target = to_usd(market, market.pending_value)
            if target is None:
                continue
            width = multiply(target, reach)
            for other in self.markets:
                if other is not market and _supports(other, target, width, now, to_usd):
                    found.append(market)
                    break
        return found


def _supports(other: Market, target: Decimal, width: Decimal, now: int, to_usd: ToUsd) -> bool:
    for value in (other.pending_value, other.value if other.until() >= now else None):
        if value is None:
            continue
        usd = to_usd(other, value)
        if usd is not None and subtract(usd, target).copy_abs() <= width:
            return True
    return False


def judge(price: Price, now: int) -> State:
    """The state of a price by now if nothing more arrived since it was made."""
    if price.state is State.STALE or price.state is State.HALTED:
        return price.state
    if now <= price.fresh_until_mono_ns:
        return price.state
    return State.STALE if now >= price.stale_at_mono_ns else State.DELAYED
