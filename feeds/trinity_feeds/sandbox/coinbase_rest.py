"""Coinbase's REST answers: the Exchange's paths and the Advanced Trade paths, on one port here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trinity_feeds.sandbox.digits import share, trimmed
from trinity_feeds.sandbox.quotes import Quote
from trinity_feeds.sandbox.rest import Answer, Request, json_answer
from trinity_feeds.sandbox.stamps import Moment, rfc3339_us

if TYPE_CHECKING:
    from trinity_feeds.sandbox.coinbase import CoinbaseVenue


def answer(venue: CoinbaseVenue, request: Request, now: Moment) -> Answer:
    """The answer to any path."""
    match request.parts:
        case ("products",):
            return json_answer([_product(quote, gone=False) for quote in venue.shown_all(now)])
        case ("products", "stats"):
            return json_answer({quote.symbol: {"stats_24hour": _stats(quote)} for quote in venue.shown_all(now)})
        case ("products", product, "ticker"):
            return _ticker(venue, product, now)
        case ("products", product, "stats"):
            quote = venue.shown(venue.canonical(product), now)
            return _not_found() if quote is None else json_answer(_stats(quote))
        case ("api", "v3", "brokerage", "market", "products", *rest):
            return _advanced(venue, rest, request, now)
        case ("time",):
            return json_answer({"iso": rfc3339_us(now.unix_ns), "epoch": now.unix_ms / 1000})
        case _:
            return _not_found()


def _not_found() -> Answer:
    return json_answer({"message": "NotFound"}, 404)


def _price(units: int | None, decimals: int) -> str | None:
    return None if units is None else trimmed(units, decimals)


def _ticker(venue: CoinbaseVenue, product: str, now: Moment) -> Answer:
    symbol = venue.canonical(product)
    if symbol in venue.delisted:
        return json_answer({"message": "Product is delisted"}, 400)
    quote = venue.shown(symbol, now)
    if quote is None:
        return _not_found()
    return json_answer(
        {
            "ask": _price(quote.ask, quote.decimals),
            "bid": _price(quote.bid, quote.decimals),
            "volume": trimmed(quote.volume, quote.size_decimals),
            "trade_id": 700_000_000 + quote.sequence,
            "price": _price(quote.last, quote.decimals),
            "size": trimmed(quote.last_size, quote.size_decimals),
            "time": rfc3339_us(now.unix_ns),
            "rfq_volume": "0",
        }
    )


def _stats(quote: Quote) -> dict[str, Any]:
    return {
        "open": trimmed(quote.open, quote.decimals),
        "high": trimmed(quote.high, quote.decimals),
        "low": trimmed(quote.low, quote.decimals),
        "last": _price(quote.last, quote.decimals),
        "volume": trimmed(quote.volume, quote.size_decimals),
    }


def _product(quote: Quote, *, gone: bool) -> dict[str, Any]:
    base, _, currency = quote.symbol.rpartition("-")
    return {
        "id": quote.symbol,
        "base_currency": base,
        "quote_currency": currency,
        "quote_increment": trimmed(1, quote.decimals),
        "base_increment": trimmed(1, quote.size_decimals),
        "display_name": f"{base}-{currency}",
        "status": "delisted" if gone else "online",
        "trading_disabled": gone,
        "cancel_only": False,
        "limit_only": False,
        "post_only": False,
    }


def _advanced(venue: CoinbaseVenue, rest: list[str], request: Request, now: Moment) -> Answer:
    if not rest:
        rows = [row for quote in venue.shown_all(now) for row in _advanced_rows(quote)]
        return json_answer({"products": rows, "num_products": len(rows)})
    product = rest[0]
    quote = venue.shown(venue.canonical(product), now)
    if quote is None or rest[1:] not in ([], ["ticker"]):
        text = "valid product_id is required"
        return json_answer({"error": "NOT_FOUND", "error_details": text, "message": text}, 404)
    if not rest[1:]:
        return json_answer(next(row for row in _advanced_rows(quote) if row["product_id"] == product))
    trade = {
        "trade_id": str(700_000_000 + quote.sequence),
        "product_id": quote.symbol,
        "price": _price(quote.last, quote.decimals) or "",
        "size": trimmed(quote.last_size, quote.size_decimals),
        "time": rfc3339_us(now.unix_ns),
        "side": "SELL" if quote.last == quote.bid else "BUY",
        "bid": "",
        "ask": "",
        "exchange": "coinbase",
    }
    wanted = request.query.get("limit", "1")
    return json_answer(
        {
            "trades": [trade] if wanted != "0" else [],
            "best_bid": _price(quote.bid, quote.decimals) or "",
            "best_ask": _price(quote.ask, quote.decimals) or "",
        }
    )


def _advanced_rows(quote: Quote) -> list[dict[str, Any]]:
    """The product and, for a USD market, its USDC alias."""
    base, _, currency = quote.symbol.rpartition("-")
    change = share(100 * (0 if quote.last is None else quote.last - quote.open), quote.open, 14)
    rows = []
    for alias in ("", "USDC") if currency == "USD" else ("",):
        product = f"{base}-{alias or currency}"
        rows.append(
            {
                "product_id": product,
                "price": _price(quote.last, quote.decimals) or "",
                "price_percentage_change_24h": change,
                "volume_24h": trimmed(quote.volume, quote.size_decimals),
                "base_increment": trimmed(1, quote.size_decimals),
                "quote_increment": trimmed(1, quote.decimals),
                "price_increment": trimmed(1, quote.decimals),
                "is_disabled": False,
                "status": "online",
                "cancel_only": False,
                "limit_only": False,
                "post_only": False,
                "trading_disabled": False,
                "view_only": False,
                "product_type": "SPOT",
                "quote_currency_id": alias or currency,
                "base_currency_id": base,
                "alias": quote.symbol if alias else "",
                "alias_to": [] if alias or currency != "USD" else [f"{base}-USDC"],
                "display_name": product,
                "product_venue": "CBE",
            }
        )
    return rows
