"""A book on a stage: quotes and signs of life by hand, time in seconds, defaults for all that a test is not about."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from trinity_core.assets import PRIORITY, Asset, AssetTable, Listing, load_assets
from trinity_core.book import Book, BookSettings
from trinity_core.prices import Price
from trinity_core.ticks import Liveness, Tick
from trinity_core.venues import Venue

S = 1_000_000_000
START = 1_000 * S
UNIX = 1_800_000_000 * S
COINBASE, KRAKEN, CRYPTOCOM, GEMINI, OKX, GATEIO = PRIORITY
REAL = load_assets()
SIX = AssetTable([Asset("XYZ", "Xyz", tuple(Listing(venue, f"{venue}-XYZ", "USD") for venue in PRIORITY))])
"""One asset with a USD market at every venue."""


def at(seconds: float) -> int:
    """Monotonic nanoseconds of a time of the play."""
    return START + round(seconds * S)


def make_tick(
    venue: Venue,
    value: str | Decimal | None,
    *,
    asset: str = "BTC",
    table: AssetTable = REAL,
    received: float = 0.0,
    half_spread: str = "0",
    **other: Any,
) -> Tick:
    """A quote whose last, bid and ask are one value, unless `other` names fields of Tick."""
    listing = table.get(asset).listing(venue)
    assert listing is not None
    number = None if value is None else Decimal(value)
    half = Decimal(half_spread)
    fields: dict[str, Any] = {
        "venue": venue,
        "asset": asset,
        "symbol": listing.symbol,
        "quote": listing.quote,
        "price": number,
        "bid": None if number is None else number - half,
        "ask": None if number is None else number + half,
        "volume_24h": Decimal(10),
        "venue_time_ns": None,
        "sequence": None,
        "receive_time_ns": UNIX + round(received * S),
        "receive_mono_ns": at(received),
    }
    return Tick(**{**fields, **other})


class Stage:
    """A book, and the time."""

    def __init__(self, *, table: AssetTable = REAL, asset: str = "BTC", **settings: Any) -> None:
        self.table = table
        self.asset = asset
        self.settings = BookSettings(**settings)
        self.book = Book(assets=table, settings=self.settings)
        self.now = 0.0
        self.published: list[Price] = []

    def until(self, seconds: float) -> list[Price]:
        """Let time alone pass up to then."""
        self.now = seconds
        return self._note(self.book.advance(at(seconds)))

    def quote(
        self, venue: Venue, value: str | Decimal | None, *, asset: str = "", received: float | None = None, **other: Any
    ) -> list[Price]:
        """Apply a quote now, received now unless `received` says when."""
        tick = make_tick(
            venue,
            value,
            asset=asset or self.asset,
            table=self.table,
            received=self.now if received is None else received,
            **other,
        )
        return self._note(self.book.apply(tick, at(self.now)))

    def quotes(self, values: dict[Venue, str], **other: Any) -> list[Price]:
        """Apply a quote of each venue now, in the order given."""
        return [price for venue, value in values.items() for price in self.quote(venue, value, **other)]

    def alive(
        self, *venues: Venue, worker: str = "w1", connected: bool = True, heard: float | None = None
    ) -> list[Price]:
        """Let venues' connections show life now, or end."""
        heard_ns = at(self.now if heard is None else heard)
        found = []
        for venue in venues:
            found += self.book.alive(Liveness(venue, worker, heard_ns, connected), at(self.now))
        return self._note(found)

    def price(self, **question: Any) -> Price:
        """Ask now."""
        return self.book.price(self.asset, at(self.now), **question)

    def value(self, **question: Any) -> Decimal:
        """Ask now; only the price."""
        return self.price(**question).price

    def current(self) -> Price:
        """The price as last published."""
        price = self.book.current(self.asset)
        assert price is not None
        return price

    def _note(self, prices: list[Price]) -> list[Price]:
        self.published += prices
        return prices
