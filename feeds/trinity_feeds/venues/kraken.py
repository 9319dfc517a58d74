"""Kraken, WebSocket v2: numbers instead of strings, one acknowledgement a symbol, its state told on connecting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw

from trinity_core.assets import Listing
from trinity_core.ticks import Tick
from trinity_core.venues import Venue
from trinity_feeds.answers import Quote, not_listed, rate_limited, read_body, unavailable
from trinity_feeds.listener import Listener
from trinity_feeds.literals import price_of, volume_of
from trinity_feeds.shapes import NULL, Shape
from trinity_feeds.subscriptions import Ask, Pace
from trinity_feeds.symbols import split, unglue
from trinity_feeds.terms import ConnectLimit, Keepalive, QuoteRequest, RateLimit

_VENUE: Final = Venue.KRAKEN
_OWN_NAMES: Final[Mapping[str, str]] = {"XBT": "BTC", "XDG": "DOGE"}
"""Base names of v1 and REST that differ from everybody's; v2 has none."""
_QUOTES: Final = ("USDT", "USDC", "USD", "EUR", "GBP", "JPY", "CAD", "AUD", "CHF", "XBT", "ETH")
_OTHER_CHANNELS: Final = frozenset({"heartbeat", "book", "trade", "ohlc", "instrument", "level3"})

_OLD_EVENTS: Final = frozenset({"heartbeat", "systemStatus"})


class _Entry(msgspec.Struct, gc=False):
    """Of `ticker`, or `system` of `status`."""

    symbol: str | None = None
    bid: Raw = NULL
    ask: Raw = NULL
    last: Raw = NULL
    volume: Raw = NULL
    timestamp: str | None = None
    system: str | None = None
    upcoming_maintenance: Raw = NULL


class _Result(msgspec.Struct, gc=False):
    channel: str | None = None
    symbol: str | None = None


class _Frame(msgspec.Struct, gc=False):
    """Of v2; `event` alone is of v1."""

    channel: str | None = None
    data: list[_Entry] | None = None
    method: str | None = None
    success: bool | None = None
    error: str | None = None
    result: _Result | None = None
    symbol: str | None = None
    event: str | None = None


class _OldTicker(msgspec.Struct, gc=False):
    """Of v1 and of REST: lists whose first entry is the price, and of `v` the second is the last 24 hours'."""

    a: list[Raw] | None = None
    b: list[Raw] | None = None
    c: list[Raw] | None = None
    v: list[Raw] | None = None


class _Answer(msgspec.Struct, gc=False):
    error: list[str] | None = None
    result: dict[str, _OldTicker] | None = None


_FRAME: Final[Shape[_Frame | list[Raw]]] = Shape(_Frame | list[Raw])
_OLD_TICKER: Final[Shape[_OldTicker]] = Shape(_OldTicker)
_TEXT: Final[Shape[str]] = Shape(str)
_ANSWER: Final[Shape[_Answer]] = Shape(_Answer)


class KrakenSession(Listener):
    """Kraken. With `event_trigger` "bbo" a ticker is pushed on every change of the best prices, not only on trades."""

    venue = _VENUE
    connect_url_default = "wss://ws.kraken.com/v2"
    connect_limit = ConnectLimit(attempts=150, window_ms=600_000, maintenance_floor_ms=5_000)
    rest_url_default = "https://api.kraken.com"
    rest_limit = RateLimit(calls=1, window_ms=1_000)
    shape = _FRAME
    pace = Pace(batch_max=50, interval_ms=250)
    keepalive = Keepalive(silent_ms=15_000, ping_ms=30_000, pong_ms=8_000)

    def _read(self, message: _Frame | list[Raw], mono_ns: int, unix_ns: int) -> list[Tick]:
        if isinstance(message, list):
            return self._old(message, mono_ns, unix_ns)
        if message.channel == "ticker" and message.data is not None:
            return self._tickers(message.data, mono_ns, unix_ns) or self._ignored()
        return self._other(message, mono_ns)

    def _tickers(self, rows: list[_Entry], mono_ns: int, unix_ns: int) -> list[Tick]:
        markets, prices = self._markets, self._prices
        ticks = []
        for row in rows:
            market = markets[row.symbol]
            if market is None:
                continue
            market.data_ns = mono_ns
            if market.early:
                self._note_data(market, mono_ns)
            price, bid, ask = prices[bytes(row.last)], prices[bytes(row.bid)], prices[bytes(row.ask)]
            if price is None and bid is None and ask is None:
                continue
            time_ns = self._times.ns(row.timestamp)
            if time_ns is not None:
                self._lag_ns = unix_ns - time_ns
            tick = Tick(
                _VENUE,
                market.asset,
                market.label,
                market.quote,
                price,
                bid,
                ask,
                self._volumes[bytes(row.volume)],
                time_ns,
                None,
                unix_ns,
                mono_ns,
            )
            ticks.append(tick)
        return ticks

    def _other(self, message: _Frame, mono_ns: int) -> list[Tick]:
        if message.method == "subscribe":
            self._answered(message, mono_ns)
        elif message.method == "pong" or message.event == "pong":
            self._pulse.pong()
        elif message.channel == "status":
            for entry in message.data or ():
                self._status(entry)
        elif message.method is not None and message.success is False:
            self._venue_error(f"{message.method}: {message.error}")
        elif message.event == "subscriptionStatus":
            if message.error is not None:
                self._venue_error(message.error)
        elif not (
            message.channel in _OTHER_CHANNELS or message.method == "unsubscribe" or message.event in _OLD_EVENTS
        ):
            return self._unknown()
        return self._ignored()

    def _answered(self, message: _Frame, mono_ns: int) -> None:
        if message.success:
            market = self._markets.get(message.result.symbol) if message.result is not None else None
            if market is not None:
                self._subscriptions.activate(market, mono_ns)
            return
        words = message.error or "refused without a reason"
        self._venue_error(words)
        named = self._markets.get(message.symbol)
        markets = self._markets.named_in(words) if named is None else [named]
        if "msg rate" in words or "rate limit" in words.lower():
            self._subscriptions.slow_down(mono_ns)
        for market in markets:
            if "not supported" in words or "nvalid" in words or "nknown" in words:
                self._subscriptions.refuse(market, words, mono_ns)
            elif "lready subscribed" in words:
                self._subscriptions.activate(market, mono_ns)
        # Any other error may pass: the symbols stay unanswered and are asked for again.

    def _status(self, entry: _Entry) -> None:
        if entry.system == "online":
            self._maintenance_ended()
        elif entry.system is not None:
            self._maintenance_began(f"the venue is in state {entry.system}")
        if bytes(entry.upcoming_maintenance) not in (b"null", b"[]"):
            self._note(f"maintenance announced: {bytes(entry.upcoming_maintenance)[:200].decode('ascii', 'replace')}")

    def _old(self, message: list[Raw], mono_ns: int, unix_ns: int) -> list[Tick]:
        """A data frame of v1: `[channel id, data…, channel name, pair]`, read from its end."""
        if len(message) < 4:
            return self._unknown()
        if bytes(message[-2]) != b'"ticker"':
            return self._ignored()
        row, symbol = _OLD_TICKER.read(message[1]), _TEXT.read(message[-1])
        return self._old_ticker(symbol, row, mono_ns, unix_ns) or self._ignored()

    def _old_ticker(self, symbol: str, row: _OldTicker, mono_ns: int, unix_ns: int) -> list[Tick]:
        return self._tick(
            self._markets[symbol],
            price=self._prices[_at(row.c, 0)],
            bid=self._prices[_at(row.b, 0)],
            ask=self._prices[_at(row.a, 0)],
            volume=self._volumes[_at(row.v, 1)],
            mono_ns=mono_ns,
            unix_ns=unix_ns,
        )

    def _subscribe(self, ask: Ask) -> list[str]:
        extra = {"event_trigger": "bbo", "snapshot": True}
        return [_request("subscribe", ask, extra)]

    def _unsubscribe(self, ask: Ask) -> list[str]:
        return [_request("unsubscribe", ask, {"event_trigger": "bbo"})]

    def _ping(self, mono_ns: int) -> str:
        return '{"method":"ping"}'

    @classmethod
    def market_of(cls, symbol: str) -> tuple[str, str] | None:
        """`BTC/USD`, of v1 `XBT/USD`, of REST `XBTUSD` or `XXBTZUSD`."""
        pair = split(symbol, "/") if "/" in symbol else _unglue(symbol)
        return pair and (_OWN_NAMES.get(pair[0], pair[0]), _OWN_NAMES.get(pair[1], pair[1]))

    @classmethod
    def quote_request(cls, listing: Listing) -> QuoteRequest:
        """One pair's ticker, keyed by `BTC/USD`; the pair is asked for under the REST interface's own name."""
        base, _, quote = listing.symbol.partition("/")
        own = {ours: theirs for theirs, ours in _OWN_NAMES.items()}
        return QuoteRequest(
            "/0/public/Ticker", {"pair": own.get(base, base) + own.get(quote, quote), "assetVersion": "1"}
        )

    @classmethod
    def _quote(cls, listing: Listing, status: int, headers: Mapping[str, str], body: bytes) -> Quote:
        """Errors come with HTTP status 200 and a list of words. One pair was asked for, so one entry is the answer."""
        answer = read_body(_ANSWER, listing, status, body)
        words = ", ".join(answer.error or ())
        if "Unknown asset pair" in words:
            raise not_listed(listing)
        if "Too many requests" in words or "Rate limit" in words:
            raise rate_limited(_VENUE, headers, wait_ms=cls.rest_limit.window_ms)
        rows = list((answer.result or {}).values())
        if words or status != 200 or len(rows) != 1:
            raise unavailable(_VENUE, words or f"HTTP status {status}, {len(rows)} tickers")
        row = rows[0]
        return Quote(
            price_of(_at(row.c, 0)), price_of(_at(row.b, 0)), price_of(_at(row.a, 0)), volume_of(_at(row.v, 1))
        )

    def _read_answer(self, body: bytes, mono_ns: int, unix_ns: int) -> list[Tick]:
        ticks = []
        for symbol, row in (_ANSWER.read(body).result or {}).items():
            ticks += self._old_ticker(symbol, row, mono_ns, unix_ns)
        return ticks or self._ignored()


def _at(values: list[Raw] | None, index: int) -> bytes | None:
    return bytes(values[index]) if values is not None and len(values) > index else None


def _unglue(symbol: str) -> tuple[str, str] | None:
    """Base and quote of a REST key: `XXBTZUSD` has a letter before each, `XBTUSD` has none."""
    if len(symbol) == 8 and symbol[0] in "XZ" and symbol[4] in "XZ":
        return symbol[1:4], symbol[5:]
    return unglue(symbol, _QUOTES)


def _request(method: str, ask: Ask, extra: Mapping[str, Any]) -> str:
    params = {"channel": "ticker", "symbol": [market.symbol for market in ask.markets], **extra}
    return msgspec.json.encode({"method": method, "params": params, "req_id": ask.number}).decode()
