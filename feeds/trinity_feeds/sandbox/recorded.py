"""Reads the tickers out of recorded frames, of today's protocols and of some older generations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from trinity_core.venues import Venue


@dataclass(frozen=True, slots=True)
class Shown:
    """What one ticker said of one market; None for what it left out."""

    symbol: str
    bid: Decimal | None
    ask: Decimal | None
    last: Decimal | None
    volume: Decimal | None = None
    high: Decimal | None = None
    low: Decimal | None = None

    @classmethod
    def of(cls, symbol: str, row: Mapping[str, Any], *names: str) -> Shown:
        """From a mapping, with its names of bid, ask, last and, where it has them, volume, high and low.

        Raises decimal.InvalidOperation for a value that is no number.
        """
        return cls(symbol, *(_decimal(row.get(name)) for name in names))


def _decimal(value: Any) -> Decimal | None:
    """The number. A missing one may be an empty string; Kraken's v1 puts it first in a list."""
    if isinstance(value, list):
        value = value[0] if value else None
    return None if value is None or value == "" or isinstance(value, bool) else Decimal(str(value))


def tickers(venue: Venue, raw: Any) -> list[Shown]:
    """The tickers of one frame, in order; empty for frames of every other kind.

    Raises LookupError, TypeError, ValueError, AttributeError or decimal.InvalidOperation for a frame that is none
    of the venue's.
    """
    match venue:
        case Venue.COINBASE:
            return _coinbase(raw)
        case Venue.GEMINI:
            return [Shown.of(raw["s"], raw, "b", "a", "c")] if isinstance(raw, dict) and "u" in raw else []
        case Venue.KRAKEN:
            return _kraken(raw)
        case Venue.GATEIO:
            return _gateio(raw)
        case Venue.CRYPTOCOM:
            return _cryptocom(raw)
        case Venue.OKX:
            return _okx(raw)


def _coinbase(raw: Any) -> list[Shown]:
    if raw.get("type") == "ticker":
        names = ("best_bid", "best_ask", "price", "volume_24h", "high_24h", "low_24h")
        return [Shown.of(raw["product_id"], raw, *names)]
    if raw.get("channel") != "ticker":
        return []
    names = ("best_bid", "best_ask", "price", "volume_24_h", "high_24_h", "low_24_h")
    return [Shown.of(row["product_id"], row, *names) for event in raw["events"] for row in event["tickers"]]


def _kraken(raw: Any) -> list[Shown]:
    if isinstance(raw, list):
        if raw[-2] != "ticker":
            return []
        symbol = str(raw[-1]).replace("XBT/", "BTC/").replace("XDG/", "DOGE/")
        return [Shown.of(symbol, raw[1], "b", "a", "c", "v", "h", "l")]
    if raw.get("channel") != "ticker":
        return []
    return [Shown.of(row["symbol"], row, "bid", "ask", "last", "volume", "high", "low") for row in raw["data"]]


def _gateio(raw: Any) -> list[Shown]:
    if raw.get("event") != "update":
        return []
    row = raw["result"]
    if raw["channel"] == "spot.book_ticker":
        return [Shown.of(row["s"], row, "b", "a", "last")]
    if raw["channel"] != "spot.tickers":
        return []
    names = ("highest_bid", "lowest_ask", "last", "base_volume", "high_24h", "low_24h")
    return [Shown.of(row["currency_pair"], row, *names)]


def _cryptocom(raw: Any) -> list[Shown]:
    result = raw.get("result")
    if not isinstance(result, dict) or result.get("channel") != "ticker":
        return []
    return [Shown.of(row["i"], row, "b", "k", "a", "v", "h", "l") for row in result.get("data", ())]


def _okx(raw: Any) -> list[Shown]:
    if not isinstance(raw, dict) or raw.get("arg", {}).get("channel") != "tickers":
        return []
    names = ("bidPx", "askPx", "last", "vol24h", "high24h", "low24h")
    return [Shown.of(row["instId"], row, *names) for row in raw.get("data", ())]
