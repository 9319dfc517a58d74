"""Kraken's public REST answers: errors at HTTP 200, keys in the venue's own old names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trinity_feeds.sandbox.digits import fixed, trimmed
from trinity_feeds.sandbox.quotes import Quote
from trinity_feeds.sandbox.rest import Answer, Request, html_answer, json_answer
from trinity_feeds.sandbox.stamps import SECOND, Moment, rfc3339_us

if TYPE_CHECKING:
    from trinity_feeds.sandbox.kraken import KrakenVenue

_OLD = {"BTC": "XBT", "DOGE": "XDG"}
"""Assets with another name in the REST API."""
_PREFIXED = frozenset({"XBT", "ETH", "XRP", "XLM", "LTC", "ETC", "ZEC"})
"""Bases that carry an X, and then a Z before the quote currency, in the pair's own name."""


def alternative(symbol: str) -> str:
    """The short name of a pair: "BTC/USD" is XBTUSD."""
    base, _, quote = symbol.partition("/")
    return _OLD.get(base, base) + quote


def own_name(symbol: str) -> str:
    """The key of a pair in answers: "BTC/USD" is XXBTZUSD, "USDT/USD" is USDTZUSD, "NEAR/USD" is NEARUSD."""
    base, _, quote = symbol.partition("/")
    base = _OLD.get(base, base)
    if base in _PREFIXED:
        return f"X{base}Z{quote}"
    return f"{base}Z{quote}" if base == "USDT" else base + quote


def answer(venue: KrakenVenue, request: Request, now: Moment) -> Answer:
    """The answer to any path."""
    match request.parts:
        case ("0", "public", "Ticker"):
            if venue.system(now) == "maintenance":
                return _errors("EService:Unavailable")
            return _tickers(venue, request, now)
        case ("0", "public", "AssetPairs"):
            return _pairs(venue, request, now)
        case ("0", "public", "SystemStatus"):
            return _result({"status": venue.system(now), "timestamp": rfc3339_us(now.unix_ns)[:19] + "Z"})
        case ("0", "public", "Time"):
            return _result({"unixtime": now.unix_ns // SECOND, "rfc1123": rfc3339_us(now.unix_ns)})
        case ("0", "public", _):
            return _errors("EGeneral:Unknown method")
        case _:
            return html_answer(404)


def _result(value: Any) -> Answer:
    return json_answer({"error": [], "result": value})


def _errors(text: str) -> Answer:
    return json_answer({"error": [text]})


def _chosen(venue: KrakenVenue, request: Request) -> list[str] | None:
    """Symbols of the parameter `pair`, all without it; None when one is unknown."""
    asked = request.query.get("pair")
    if not asked:
        return list(venue.markets)
    names: dict[str, str] = {}
    for symbol in venue.markets:
        for name in (own_name(symbol), alternative(symbol), symbol, symbol.replace("/", "")):
            names[name] = symbol
    symbols = [names.get(name.strip().upper(), "") for name in asked.split(",")]
    return symbols if all(symbols) else None


def _tickers(venue: KrakenVenue, request: Request, now: Moment) -> Answer:
    symbols = _chosen(venue, request)
    if symbols is None:
        return _errors("EQuery:Unknown asset pair")
    new = request.query.get("assetVersion") == "1"
    quotes = [(symbol, venue.shown(symbol, now)) for symbol in symbols]
    return _result({symbol if new else own_name(symbol): _ticker(quote) for symbol, quote in quotes if quote})


def _ticker(quote: Quote) -> dict[str, Any]:
    places = max(quote.decimals, 5)
    widen = 10 ** (places - quote.decimals)

    def price(units: int | None) -> str:
        return fixed((units or 0) * widen, places)

    def lots(size: int) -> list[str]:
        whole = max(1, size // 10**quote.size_decimals)
        return [str(whole), f"{whole}.000"]

    volume = fixed(quote.volume, quote.size_decimals)
    average = price((quote.high + quote.low + 2 * (quote.last or 0)) // 4)
    return {
        "a": [price(quote.ask), *lots(quote.ask_size)],
        "b": [price(quote.bid), *lots(quote.bid_size)],
        "c": [price(quote.last), fixed(quote.last_size, quote.size_decimals)],
        "v": [fixed(quote.volume // 3, quote.size_decimals), volume],
        "p": [average, average],
        "t": [quote.sequence // 3, quote.sequence],
        "l": [price(quote.low), price(quote.low)],
        "h": [price(quote.high), price(quote.high)],
        "o": price(quote.open),
    }


def _pairs(venue: KrakenVenue, request: Request, now: Moment) -> Answer:
    symbols = _chosen(venue, request)
    if symbols is None:
        return _errors("EQuery:Unknown asset pair")
    found = {}
    for symbol in symbols:
        quote = venue.shown(symbol, now)
        base, _, currency = symbol.partition("/")
        old = _OLD.get(base, base)
        found[own_name(symbol)] = {
            "altname": alternative(symbol),
            "wsname": f"{old}/{currency}",
            "aclass_base": "currency",
            "base": f"X{old}" if old in (*_PREFIXED, "XDG") else old,
            "aclass_quote": "currency",
            "quote": f"Z{currency}",
            "lot": "unit",
            "pair_decimals": quote.decimals if quote else 2,
            "lot_decimals": 8,
            "ordermin": "0.1",
            "tick_size": trimmed(1, quote.decimals if quote else 2),
            "status": "online" if venue.system(now) == "online" else "maintenance",
        }
    return _result(found)
