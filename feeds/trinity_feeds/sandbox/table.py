"""What is simulated of each asset: a rough base price and how it behaves.

The figures are ours and plausible in size only; nothing here is a statement about a real market.
"""

from __future__ import annotations

import csv
import importlib.resources
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass

from trinity_core.assets import AssetTable, Listing
from trinity_core.venues import Venue

_COARSE = (Venue.KRAKEN, Venue.GATEIO, Venue.OKX)
"""Venues that quote expensive assets with one decimal less."""
_SHARES = {
    Venue.COINBASE: 0.26,
    Venue.GEMINI: 0.04,
    Venue.KRAKEN: 0.12,
    Venue.GATEIO: 0.16,
    Venue.CRYPTOCOM: 0.12,
    Venue.OKX: 0.30,
}
"""Rough shares of the six venues in the volume of an asset."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One asset of the simulation."""

    asset: str
    price: float
    """Base price in USD, to which the walk is drawn back."""
    decimals: int
    """Places of a price in USD."""
    spread_bps: float
    volatility_pct: float
    """Standard deviation of a day's move, per cent."""
    volume_musd: float
    """Traded in 24 hours at the six venues together, million USD."""
    follows: str
    """Asset whose walk this one copies; empty for its own."""

    @property
    def size_decimals(self) -> int:
        """Places of an amount of the asset: more where a unit is worth more."""
        return 8 if self.price >= 100 else 6 if self.price >= 1 else 2 if self.price >= 0.001 else 0

    @property
    def activity(self) -> float:
        """Relative frequency of changes; big markets move more often, less than in proportion."""
        return math.pow(self.volume_musd, 0.55)


@dataclass(frozen=True, slots=True)
class Market:
    """One venue's market of one asset."""

    listing: Listing
    figures: Figures

    @property
    def decimals(self) -> int:
        """Places of this venue's prices."""
        coarse = self.figures.price >= 10_000 and self.listing.venue in _COARSE
        return self.figures.decimals - coarse

    @property
    def volume(self) -> float:
        """Units of the asset traded here in 24 hours."""
        return self.figures.volume_musd * 1e6 * _SHARES[self.listing.venue] / self.figures.price


def load_figures() -> Mapping[str, Figures]:
    """The figures of every asset, from this package's data file, in the order of the asset table."""
    text = importlib.resources.files("trinity_feeds.sandbox").joinpath("data/markets.csv").read_text("utf-8")
    return {
        row["asset"]: Figures(
            asset=row["asset"],
            price=float(row["price"]),
            decimals=int(row["decimals"]),
            spread_bps=float(row["spread_bps"]),
            volatility_pct=float(row["volatility_pct"]),
            volume_musd=float(row["volume_musd"]),
            follows=row["follows"],
        )
        for row in csv.DictReader(io.StringIO(text))
    }


def markets(table: AssetTable, assets: tuple[str, ...] = ()) -> tuple[Market, ...]:
    """Every market of the chosen assets (empty: all), asset by asset in the table's order.

    Raises TrinityError UNKNOWN_ASSET for an asset that the table does not have, and
    ValueError for one that has no figures.
    """
    figures = load_figures()
    chosen = [table.get(asset) for asset in assets] or list(table.assets)
    unknown = [entry.asset for entry in chosen if entry.asset not in figures]
    if unknown:
        raise ValueError(f"sandbox: no figures for {', '.join(unknown)}; add them to data/markets.csv")
    return tuple(Market(listing, figures[entry.asset]) for entry in chosen for listing in entry.listings)
