"""Every market's newest quote, in US dollars where its currency has a fresh price. Reads only; the book writes."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType

from trinity_core import exact
from trinity_core.assets import Asset, AssetTable
from trinity_core.book_page import Page
from trinity_core.book_settings import BookSettings
from trinity_core.consolidate import MAD_SCALE, Entry, Limits
from trinity_core.exact import multiply
from trinity_core.freshness import MS, Life, Market
from trinity_core.prices import State
from trinity_core.venues import Venue

CONVERTED: Mapping[str, tuple[str, ...]] = MappingProxyType({"USDT": (), "USDC": ("USDT",)})
"""Quote currencies that are converted, each with those that its own price may be made from: never in a circle."""


class QuoteBoard:
    """The pages of the book, the venues' connections, and the rates between them."""

    def __init__(self, *, assets: AssetTable, settings: BookSettings) -> None:
        self.assets = assets
        self.settings = settings
        self.limits = Limits(
            multiply(settings.mad_k, MAD_SCALE), exact.part(settings.floor_bps), settings.divergence_bps
        )
        self._soon_ns = settings.fresh_ms * MS // 2
        self.lives = {venue: Life(settings=settings) for venue in Venue}
        # Quote currencies come first, for pages that are due together are turned by rank.
        currencies = [assets.by_id[currency] for currency in CONVERTED if currency in assets.by_id]
        others = [asset for asset in assets.assets if asset.asset not in CONVERTED]
        self.pages = tuple(self._new_page(asset, rank) for rank, asset in enumerate([*currencies, *others]))
        self.by_id = {page.asset.asset: page for page in self.pages}
        self.currencies = {asset.asset: self.by_id[asset.asset] for asset in currencies}

    def _new_page(self, asset: Asset, rank: int) -> Page:
        markets = [
            Market(listing=listing, rank=place, life=self.lives[listing.venue], settings=self.settings)
            for place, listing in enumerate(asset.listings)
        ]
        return Page(asset=asset, rank=rank, markets=markets, converts=CONVERTED.get(asset.asset, tuple(CONVERTED)))

    def page(self, asset: str) -> Page:
        """The asset's page, by id in either case; raises TrinityError UNKNOWN_ASSET."""
        return self.by_id.get(asset) or self.by_id[self.assets.get(asset).asset]

    def rate(self, currency: str, now: int) -> tuple[Decimal, int] | None:
        """USD for one unit of a quote currency and until when that is fresh; None where it is not FRESH now."""
        page = self.currencies.get(currency)
        if page is None or page.made is None or page.state is not State.FRESH:
            return None
        until = page.until
        if until - now < self._soon_ns:
            # Signs of life since the page was turned last may stand by its quotes for longer.
            until = self._reach(page, now)
        return None if until < now else (page.made.price, until)

    def _reach(self, page: Page, now: int) -> int:
        assert page.made is not None
        reach = page.until
        for entry in page.made.kept:
            until = self.until(page, page.markets[entry.rank], now)
            if until is not None:
                reach = max(reach, until)
        return reach

    def until(self, page: Page, market: Market, now: int) -> int | None:
        """Until when the market's quote is fresh in USD; None where its currency has no fresh price."""
        currency = market.listing.quote
        if currency == "USD":
            return market.until()
        rate = self.rate(currency, now) if currency in page.converts else None
        return None if rate is None else min(rate[1], market.until())

    def in_usd(self, page: Page, market: Market, value: Decimal, now: int) -> Decimal | None:
        """A value of the market in USD, exact; None where its currency has no fresh price."""
        currency = market.listing.quote
        if currency == "USD":
            return value
        rate = self.rate(currency, now) if currency in page.converts else None
        return None if rate is None else multiply(value, rate[0])

    def entries(self, page: Page, now: int, grace_ns: int = 0) -> list[Entry]:
        """The page's quotes that are fresh in USD now, or stopped being fresh less than `grace_ns` ago; by priority."""
        found = []
        oldest = now - grace_ns
        rates: dict[str, tuple[Decimal, int] | None] = {}
        for market in page.markets:
            value = market.value
            if value is None:
                continue
            until = market.until()
            if until < oldest:
                continue
            currency = market.listing.quote
            if currency != "USD":
                if currency not in rates:
                    rates[currency] = self.rate(currency, now) if currency in page.converts else None
                rate = rates[currency]
                if rate is None:
                    continue
                value = multiply(value, rate[0])
                until = min(until, rate[1])
            assert market.tick is not None
            found.append(Entry(value, market.rank, market.tick, market.volume, market.receive, market.suspect, until))
        return found
