"""The asset table: which assets have prices, and under which symbol each venue lists them.

The table is a data file of this package, `data/assets.csv`: one row an asset, in rough
order of market size, with a column a venue. A cell holds the venue's own spelling.
"""

from __future__ import annotations

import csv
import difflib
import importlib.resources
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

from trinity_core.errors import Reason, TrinityError
from trinity_core.venues import Venue

PRIORITY: tuple[Venue, ...] = (
    Venue.COINBASE,
    Venue.KRAKEN,
    Venue.CRYPTOCOM,
    Venue.GEMINI,
    Venue.OKX,
    Venue.GATEIO,
)
"""Order in which venues are asked: US dollar markets by depth first, then markets that need a conversion."""

QUOTES: tuple[str, ...] = ("USDT", "USDC", "USD")
"""Quote currencies that a price can be made from; longer spellings first, so that a suffix is matched whole."""


@dataclass(frozen=True, slots=True)
class Listing:
    """One venue's market of an asset."""

    venue: Venue
    symbol: str
    """The venue's own spelling."""
    quote: str
    """The market's quote currency."""


@dataclass(frozen=True, slots=True)
class Asset:
    """One asset and its markets."""

    asset: str
    """Id, upper case."""
    name: str
    listings: tuple[Listing, ...]
    """Markets in the order of PRIORITY, USD markets before others."""

    def listing(self, venue: Venue) -> Listing | None:
        """The venue's market of this asset; None where it has none."""
        return next((listing for listing in self.listings if listing.venue is venue), None)


class AssetTable:
    """All assets, looked up by id or by a venue's symbol. Immutable."""

    def __init__(self, assets: Iterable[Asset]) -> None:
        self.assets: tuple[Asset, ...] = tuple(assets)
        self.by_id: Mapping[str, Asset] = MappingProxyType({asset.asset: asset for asset in self.assets})
        if len(self.by_id) != len(self.assets):
            raise ValueError("asset table: an asset stands in it twice")
        self._symbols: dict[Venue, dict[str, tuple[str, str]]] = {venue: {} for venue in Venue}
        for asset in self.assets:
            for listing in asset.listings:
                known = self._symbols[listing.venue].setdefault(listing.symbol, (asset.asset, listing.quote))
                if known[0] != asset.asset:
                    raise ValueError(
                        f"asset table: {listing.venue} {listing.symbol} is both {known[0]} and {asset.asset}"
                    )

    def __len__(self) -> int:
        return len(self.assets)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Every asset id, in the table's order."""
        return tuple(asset.asset for asset in self.assets)

    def get(self, asset: str) -> Asset:
        """The asset of that id, in either case.

        Raises TrinityError UNKNOWN_ASSET with the nearest ids in its metadata.
        """
        found = self.by_id.get(asset) or self.by_id.get(asset.upper())
        if found is None:
            raise self.unknown(asset)
        return found

    def unknown(self, asset: str) -> TrinityError:
        """The error for an id that is not in the table, naming the nearest that are."""
        nearest = self.nearest(asset)
        hint = f"; did you mean {', '.join(nearest)}?" if nearest else "; GET /v1/assets lists all"
        return TrinityError(
            Reason.UNKNOWN_ASSET,
            f"no asset {asset[:32]!r}{hint}",
            metadata={"asset": asset[:32], "nearest": ",".join(nearest)},
        )

    def nearest(self, asset: str, count: int = 3) -> tuple[str, ...]:
        """Up to `count` ids that resemble a misspelt one, by id or by full name."""
        wanted = asset.upper()[:32]
        by_name = {entry.name.upper(): entry.asset for entry in self.assets}
        if wanted in by_name:
            return (by_name[wanted],)
        close = difflib.get_close_matches(wanted, self.ids, n=count, cutoff=0.5)
        if not close:
            close = [by_name[name] for name in difflib.get_close_matches(wanted, list(by_name), n=count, cutoff=0.6)]
        return tuple(close)

    def symbols(self, venue: Venue) -> Mapping[str, tuple[str, str]]:
        """The venue's symbols, each with its (asset id, quote currency)."""
        return MappingProxyType(self._symbols[venue])


def load_assets(text: str | None = None) -> AssetTable:
    """Read the table from CSV text, or from this package's own data file.

    Raises ValueError, naming the row, when the text is not such a table.
    """
    if text is None:
        text = importlib.resources.files("trinity_core").joinpath("data/assets.csv").read_text("utf-8")
    return AssetTable(_asset(number, row) for number, row in enumerate(csv.DictReader(io.StringIO(text)), start=2))


def _asset(number: int, row: Mapping[str, str]) -> Asset:
    try:
        listings = [Listing(venue, row[venue], _quote(row["asset"], row[venue])) for venue in PRIORITY if row[venue]]
    except (KeyError, ValueError) as error:
        raise ValueError(f"asset table, line {number}: {error}") from error
    if not listings:
        raise ValueError(f"asset table, line {number}: {row['asset']} has no market")
    listings.sort(key=lambda listing: listing.quote != "USD")
    return Asset(row["asset"], row["name"], tuple(listings))


def _quote(asset: str, symbol: str) -> str:
    """Quote currency of a symbol in our own table, where every spelling ends in it."""
    spelling = symbol.upper()
    for quote in QUOTES:
        if spelling.endswith(quote) and len(spelling) > len(quote):
            return quote
    raise ValueError(f"{asset}: cannot tell the quote currency of {symbol!r}")
