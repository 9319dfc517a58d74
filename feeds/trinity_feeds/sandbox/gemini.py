"""Gemini's current socket: streams named symbol@bookTicker and symbol@trade, told apart by their fields.

Depth and the other streams are refused as invalid names. As seen on the real socket, the first book ticker of
a stream comes before the acknowledgement.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from trinity_core.venues import Venue
from trinity_feeds.sandbox.digits import fixed, trimmed
from trinity_feeds.sandbox.quotes import Quote
from trinity_feeds.sandbox.rest import Answer, Bucket, Request, json_answer
from trinity_feeds.sandbox.stamps import SECOND, Moment
from trinity_feeds.sandbox.venue import Frame, SandboxVenue, Session, message, parse

_FIRST_ID = 1_764_560_000_000_000
"""Where the venue-wide update ids start; they stay below 2^53."""
_STREAMS = ("bookTicker", "trade")
_MALFORMED = (-1102, "Mandatory parameter was not sent, was empty/null, or malformed.")


class GeminiVenue(SandboxVenue):
    """Gemini: lower-case glued symbols."""

    venue = Venue.GEMINI
    ws_path = "/"
    rest_limit = (2, 6)
    connect_limit = (1, 300)
    weight_limit: ClassVar[tuple[float, float]] = (700, 7000)
    """Request weight a second, and at once."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.weight = Bucket(*self.weight_limit)

    def session(self, now: Moment) -> GeminiSession:
        """A new connection."""
        return GeminiSession(venue=self, now=now)

    def too_many(self) -> Answer:
        """HTTP 429."""
        return _failure("RateLimitExceeded", "Rate limit exceeded, please slow down", 429)

    def render(self, channel: str, quote: Quote, now: Moment) -> bytes:
        """A frame that names no channel. A missing side has no field."""
        places, sizes = quote.decimals + 2, quote.size_decimals
        update = _FIRST_ID + quote.sequence
        if channel == "trade":
            maker = "true" if quote.last == quote.bid else "false"
            return (
                f'{{"E":{now.unix_ns},"s":"{quote.symbol}","t":{update},"p":"{fixed((quote.last or 0) * 100, places)}"'
                f',"q":"{fixed(quote.last_size, sizes)}","m":{maker}}}'
            ).encode()
        text = f'{{"u":{update},"E":{now.unix_ns},"s":"{quote.symbol}"'
        for name, value, size in (("b", quote.bid, quote.bid_size), ("a", quote.ask, quote.ask_size)):
            if value is not None:
                text += f',"{name}":"{fixed(value * 100, places)}","{name.upper()}":"{fixed(size, sizes)}"'
        if quote.last is not None:
            text += f',"c":"{fixed(quote.last * 100, places)}","C":"{fixed(quote.last_size, sizes)}"'
        return f"{text}}}".encode()

    def answer(self, request: Request, now: Moment) -> Answer:
        """Tickers, the price feed, symbols and their details."""
        match request.parts:
            case ("v1", "symbols"):
                return json_answer(sorted(self.markets))
            case ("v1", "symbols", "details", symbol):
                return self._details(symbol, now)
            case ("v1", "pricefeed"):
                return json_answer([_feed(quote) for quote in self.shown_all(now)])
            case ("v1", "pubticker", symbol):
                quote = self.shown(symbol.lower(), now)
                return self._unknown(symbol) if quote is None else json_answer(_pubticker(quote, now))
            case ("v2", "ticker", symbol):
                quote = self.shown(symbol.lower(), now)
                return self._unknown(symbol) if quote is None else json_answer(_ticker(quote))
            case _:
                return _failure("EndpointNotFound", "API entry point not found", 404)

    def _unknown(self, symbol: str) -> Answer:
        listed = ", ".join(sorted(self.markets))
        text = f"Supplied value '{symbol}' is not a valid symbol. Supported symbols: [{listed}]"
        return _failure("Bad Request", text, 400)

    def _details(self, symbol: str, now: Moment) -> Answer:
        name = symbol.lower()
        asset = self.markets.get(name) or self.delisted.get(name)
        if asset is None:
            return self._unknown(symbol)
        quote = self.shown(name, now)
        base = name.removesuffix("usd").upper()
        return json_answer(
            {
                "symbol": name.upper(),
                "base_currency": base,
                "quote_currency": "USD",
                "tick_size": 10.0 ** -(quote.size_decimals if quote else 8),
                "quote_increment": 10.0 ** -(quote.decimals if quote else 2),
                "min_order_size": "0.00001",
                "status": "closed" if quote is None else "open",
                "wrap_enabled": False,
                "product_type": "spot",
                "contract_type": "vanilla",
                "contract_price_currency": "USD",
            }
        )


def _failure(reason: str, text: str, status: int) -> Answer:
    return json_answer({"result": "error", "reason": reason, "message": text}, status)


def _price(units: int | None, quote: Quote) -> str | None:
    return None if units is None else fixed(units, quote.decimals)


def _feed(quote: Quote) -> dict[str, Any]:
    change = 0.0 if quote.last is None else round((quote.last - quote.open) / quote.open, 4)
    return {
        "pair": quote.symbol.upper(),
        "price": _price(quote.last, quote),
        "percentChange24h": f"{change:.4f}",
    }


def _pubticker(quote: Quote, now: Moment) -> dict[str, Any]:
    base = quote.symbol.removesuffix("usd").upper()
    dollars = quote.volume * (quote.last or quote.open)
    return {
        "bid": _price(quote.bid, quote),
        "ask": _price(quote.ask, quote),
        "last": _price(quote.last, quote),
        "volume": {
            base: trimmed(quote.volume, quote.size_decimals),
            "USD": trimmed(dollars, quote.size_decimals + quote.decimals),
            "timestamp": now.unix_ms,
        },
    }


def _ticker(quote: Quote) -> dict[str, Any]:
    hours = [fixed(quote.open + (quote.open // 4000) * (hour % 5 - 2), quote.decimals) for hour in range(24)]
    return {
        "symbol": quote.symbol.upper(),
        "open": fixed(quote.open, quote.decimals),
        "high": fixed(quote.high, quote.decimals),
        "low": fixed(quote.low, quote.decimals),
        "close": _price(quote.last, quote),
        "changes": hours,
        "bid": _price(quote.bid, quote),
        "ask": _price(quote.ask, quote),
    }


class GeminiSession(Session):
    """One connection. Nothing has to be said to keep it open."""

    def __init__(self, *, venue: GeminiVenue, now: Moment) -> None:
        super().__init__(now=now)
        self._venue = venue
        self._wanted: dict[str, set[str]] = {stream: set() for stream in _STREAMS}
        """Symbols of each stream."""
        self._ping_ns = now.mono_ns + int(venue.timers.gemini_ping_s * SECOND)

    def subscriptions(self) -> int:
        """Streams."""
        return sum(len(symbols) for symbols in self._wanted.values())

    def received(self, text: str | bytes, now: Moment) -> None:
        """Requests with an id, which the reply repeats."""
        asked = parse(text)
        if not isinstance(asked, dict):
            self._refuse(None, *_MALFORMED)
            return
        number, method, params = asked.get("id"), asked.get("method"), asked.get("params")
        if self._venue.settings.rate_limits and not self._venue.weight.take(now.mono_ns):
            self._refuse(number, -1003, "Too many requests.", status=429)
            return
        match str(method).lower():
            case "subscribe":
                self._change(number, params, now, wanted=True)
            case "unsubscribe":
                self._change(number, params, now, wanted=False)
            case "ping":
                self.out.append(message({"id": number, "status": 200}))
            case "time":
                self._result(number, {"serverTime": now.unix_ms})
            case "list_subscriptions":
                names = [f"{symbol}@{stream}" for stream, symbols in self._wanted.items() for symbol in sorted(symbols)]
                self._result(number, names)
            case "conninfo":
                self._result(number, {"rateLimits": _RATE_LIMITS})
            case _:
                self._refuse(number, -1020, f"This operation is not supported: {method}")

    def offer(self, quotes: Sequence[Quote], now: Moment) -> None:
        """A book ticker for every change, a trade for every trade."""
        for quote in quotes:
            if quote.symbol in self._wanted["bookTicker"]:
                self.out.append(self._venue.frame("bookTicker", quote, now))
            if quote.traded and quote.symbol in self._wanted["trade"]:
                self.out.append(self._venue.frame("trade", quote, now))

    def poll(self, now: Moment) -> None:
        """Protocol pings."""
        if now.mono_ns >= self._ping_ns:
            self._ping_ns = now.mono_ns + int(self._venue.timers.gemini_ping_s * SECOND)
            self.ping_due = True

    def _change(self, number: Any, params: Any, now: Moment, *, wanted: bool) -> None:
        if not isinstance(params, list) or not params:
            self._refuse(number, *_MALFORMED)
            return
        named = []
        for name in params:
            symbol, _, stream = name.partition("@") if isinstance(name, str) else ("", "", "")
            if symbol.lower() not in self._venue.markets or stream not in _STREAMS:
                self._refuse(number, -1013, f"Invalid stream name: {name}")
                return  # one bad name, and nothing of the frame is done
            named.append((symbol.lower(), stream))
        for symbol, stream in named:
            known = symbol in self._wanted[stream]
            if not wanted:
                self._wanted[stream].discard(symbol)
                continue
            self._wanted[stream].add(symbol)
            quote = None if known or stream == "trade" else self._venue.snapshot(symbol, now)
            if quote is not None:
                self.out.append(Frame(self._venue.render(stream, quote, now), quote.asset))
        self.out.append(message({"id": number, "status": 200}))

    def _result(self, number: Any, result: Any) -> None:
        self.out.append(message({"id": number, "status": 200, "result": result}))

    def _refuse(self, number: Any, code: int, text: str, *, status: int = 400) -> None:
        self.out.append(message({"id": number, "status": status, "error": {"code": code, "msg": text}}))


_RATE_LIMITS = [
    {"rateLimitType": "CONNECTION_ATTEMPTS", "interval": "MINUTE", "intervalNum": 5, "limit": 300},
    {"rateLimitType": "REQUEST_WEIGHT", "interval": "SECOND", "intervalNum": 10, "limit": 7000},
]
