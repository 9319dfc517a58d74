"""Gemini: `bookTicker` of the current socket. Frames name no channel; one bad stream fails the request it is in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from trinity_core.assets import Listing
from trinity_core.ticks import Tick
from trinity_core.venues import Venue
from trinity_feeds.answers import Quote, not_listed, rate_limited, read_body, unavailable
from trinity_feeds.listener import Listener
from trinity_feeds.literals import Ordinal, UnixMs, UnixNs, price_of, volume_of
from trinity_feeds.shapes import NULL, Shape
from trinity_feeds.subscriptions import Ask, Pace
from trinity_feeds.symbols import unglue
from trinity_feeds.terms import ConnectLimit, Keepalive, QuoteRequest, RateLimit

_VENUE: Final = Venue.GEMINI
_STREAM: Final = "@bookTicker"
_PING: Final = 1_000_000_000
"""Request id of pings, far above those of subscriptions."""
_TOO_MANY: Final = -1003
_OWN_NAMES: Final[Mapping[str, str]] = {"RNDR": "RENDER"}
_QUOTES: Final = ("RLUSD", "GUSD", "USDC", "USDT", "USD", "EUR", "GBP", "SGD", "BTC", "ETH", "SOL", "FIL")
"""Longer spellings first: `btcrlusd` ends in `usd` too."""
_BASES: Final = frozenset({"PAXG", "OMG"})
"""Bases whose last letter could begin a quote: `paxgusd` is PAXG in USD, not PAX in GUSD."""
_OLD_TYPES: Final = frozenset(
    {"heartbeat", "l2_updates", "trade", "subscription_ack", "auction_open", "auction_indicative", "auction_result"}
)
_EVENTS: Final = frozenset({"depthUpdate", "markPrice", "fundingAmount", "contractStatus"})


class _Error(msgspec.Struct, gc=False):
    code: int | None = None
    msg: str | None = None


class _Frame(msgspec.Struct, gc=False):
    """Of `bookTicker` down to `c`; then of answers; `type` and `result` are of the archived v2 socket."""

    u: Ordinal | None = None
    E: UnixNs | None = None
    s: str | None = None
    b: str | None = None
    a: str | None = None
    c: str | None = None
    e: str | None = None
    p: str | None = None
    id: int | None = None
    status: int | None = None
    error: _Error | None = None
    type: str | None = None
    result: str | None = None
    reason: str | None = None


_FRAME: Final[Shape[_Frame]] = Shape(_Frame)


class _Row(msgspec.Struct, gc=False):
    """Of `/v1/pubticker/{symbol}`, or an error; `symbol` and `close` are of `/v2/ticker/{symbol}`."""

    bid: str | None = None
    ask: str | None = None
    last: str | None = None
    volume: dict[str, msgspec.Raw] | None = None
    result: str | None = None
    reason: str | None = None
    message: str | None = None
    symbol: str | None = None
    close: str | None = None


class _Stamp(msgspec.Struct, gc=False):
    ms: UnixMs | None = None


_QUOTE: Final[Shape[_Row]] = Shape(_Row)
_STAMP: Final[Shape[_Stamp]] = Shape(_Stamp)


class GeminiSession(Listener):
    """Gemini. A ticker is pushed on each change of the best prices; it holds the last trade, but no volume."""

    venue = _VENUE
    connect_url_default = "wss://ws.gemini.com"
    connect_limit = ConnectLimit(attempts=300, window_ms=300_000)
    rest_url_default = "https://api.gemini.com"
    rest_limit = RateLimit(calls=5, window_ms=5_000)
    shape = _FRAME
    pace = Pace(batch_max=16, interval_ms=250)
    keepalive = Keepalive(silent_ms=40_000, ping_ms=20_000, pong_ms=8_000)

    def _read(self, message: _Frame, mono_ns: int, unix_ns: int) -> list[Tick]:
        if message.s is None or message.u is None or message.e is not None:
            return self._other(message, mono_ns)
        return self._ticker(message, mono_ns, unix_ns) or self._ignored()

    def _ticker(self, message: _Frame, mono_ns: int, unix_ns: int) -> list[Tick]:
        market = self._markets[message.s]
        if market is None or self._is_late(market, message.u):
            return []
        market.data_ns = mono_ns
        if market.early:
            self._note_data(market, mono_ns)
        prices = self._prices
        price, bid, ask = prices[message.c], prices[message.b], prices[message.a]
        if price is None and bid is None and ask is None:
            return []
        time_ns = message.E
        if time_ns is not None:
            self._lag_ns = unix_ns - time_ns
        return [
            Tick(
                _VENUE,
                market.asset,
                market.label,
                market.quote,
                price,
                bid,
                ask,
                None,
                time_ns,
                message.u,
                unix_ns,
                mono_ns,
            )
        ]

    def _other(self, message: _Frame, mono_ns: int) -> list[Tick]:
        if message.id is not None and message.status is not None:
            self._answered(message, message.id, mono_ns)
        elif message.result == "error":
            self._venue_error(f"{message.reason}")
        elif message.error is not None:
            self._venue_error(f"{message.error.code}: {message.error.msg}")
        elif (
            (message.e is None and message.type is None and not (message.s is not None and message.p is not None))
            or (message.e is not None and message.e not in _EVENTS)
            or (message.type is not None and message.type not in _OLD_TYPES)
        ):
            return self._unknown()
        return self._ignored()

    def _answered(self, message: _Frame, number: int, mono_ns: int) -> None:
        if number == _PING:
            self._pulse.pong()
        elif message.error is None and message.status == 200:
            self._subscriptions.answered(number, mono_ns)
        else:
            error = message.error or _Error()
            words = f"{error.code}: {error.msg}"
            self._venue_error(words)
            if error.code == _TOO_MANY or message.status == 429:
                self._subscriptions.slow_down(mono_ns)
            else:
                self._subscriptions.failed(number, words, mono_ns, self._markets.named_in(error.msg or ""))

    def _subscribe(self, ask: Ask) -> list[str]:
        return [_request("subscribe", ask, ask.number)]

    def _unsubscribe(self, ask: Ask) -> list[str]:
        return [_request("unsubscribe", ask, _PING + ask.number)]

    def _ping(self, mono_ns: int) -> str:
        return f'{{"id":{_PING},"method":"ping"}}'

    @classmethod
    def market_of(cls, symbol: str) -> tuple[str, str] | None:
        """`btcusd`; perpetuals end in `perp`, predictions have dashes."""
        spelling = symbol.upper()
        pair = None if spelling.endswith("PERP") else unglue(spelling, _QUOTES, _BASES)
        return pair and (_OWN_NAMES.get(pair[0], pair[0]), pair[1])

    @classmethod
    def quote_request(cls, listing: Listing) -> QuoteRequest:
        """One symbol's ticker, of v1: it has a last trade, both sides, the volume and a time."""
        return QuoteRequest(f"/v1/pubticker/{listing.symbol}", {})

    @classmethod
    def _quote(cls, listing: Listing, status: int, headers: Mapping[str, str], body: bytes) -> Quote:
        """Errors have `result` "error" and a `reason`."""
        row = read_body(_QUOTE, listing, status, body)
        words = f"{row.reason}: {row.message}"
        if "RateLimit" in words:
            raise rate_limited(_VENUE, headers, wait_ms=cls.rest_limit.window_ms)
        if status == 404 or (status == 400 and "ymbol" in words):
            raise not_listed(listing)
        if status != 200 or row.result == "error":
            raise unavailable(_VENUE, f"HTTP status {status}, {words}")
        volume = (row.volume or {}).get(listing.symbol.upper().removesuffix(listing.quote), NULL)
        numbers = (price_of(row.last), price_of(row.bid), price_of(row.ask), volume_of(bytes(volume)))
        return Quote(*numbers, time_ns=_time_of(row))

    def _read_answer(self, body: bytes, mono_ns: int, unix_ns: int) -> list[Tick]:
        """`/v2/ticker` names its symbol; `/v1/pubticker` only its currencies, base first."""
        row = _QUOTE.read(body)
        currencies = [key for key in row.volume or () if key != "timestamp"]
        symbol = row.symbol or "".join(currencies)
        if (row.symbol is None and len(currencies) != 2) or (row.bid is None and row.ask is None):
            return self._ignored()
        ticks = self._tick(
            self._markets[symbol],
            price=price_of(row.last or row.close),
            bid=price_of(row.bid),
            ask=price_of(row.ask),
            volume=volume_of(bytes(row.volume[currencies[0]])) if row.volume else None,
            time_ns=_time_of(row),
            mono_ns=mono_ns,
            unix_ns=unix_ns,
        )
        return ticks or self._ignored()


def _time_of(row: _Row) -> int | None:
    stamp = bytes((row.volume or {}).get("timestamp", NULL))
    milliseconds = _STAMP.read(b'{"ms":' + stamp + b"}").ms
    return None if milliseconds is None else milliseconds * 1_000_000


def _request(method: str, ask: Ask, number: int) -> str:
    streams = [market.symbol + _STREAM for market in ask.markets]
    return msgspec.json.encode({"id": number, "method": method, "params": streams}).decode()
