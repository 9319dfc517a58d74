"""Crypto.com Exchange, API v1: no acknowledgement but the first data, and heartbeats to be answered by their id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Raw

from trinity_core.assets import Listing
from trinity_core.ticks import Tick
from trinity_core.venues import Venue
from trinity_feeds.answers import Quote, not_listed, rate_limited, read_body, unavailable
from trinity_feeds.listener import Listener
from trinity_feeds.literals import UnixMs, price_of, volume_of
from trinity_feeds.shapes import NULL, Shape
from trinity_feeds.subscriptions import Ask, Pace
from trinity_feeds.symbols import split
from trinity_feeds.terms import ConnectLimit, Keepalive, QuoteRequest, RateLimit

_VENUE: Final = Venue.CRYPTOCOM
_UNKNOWN_SYMBOL: Final = 40003
_FULL: Final = 40107
_TOO_MANY: Final = 42901
_NOT_FOUND: Final = (30002, 40003, 40004)
_RESTARTING: Final = 1013
_PREFIX: Final = "ticker."
_OTHER_METHODS: Final = frozenset({"subscribe", "unsubscribe", "public/get-instruments"})


class _Row(msgspec.Struct, gc=False):
    """Values are strings; the older API sent numbers."""

    i: str | None = None
    a: Raw = NULL
    b: Raw = NULL
    k: Raw = NULL
    v: Raw = NULL
    t: UnixMs | None = None


class _Result(msgspec.Struct, gc=False):
    channel: str | None = None
    instrument_name: str | None = None
    data: list[_Row] | None = None


class _Frame(msgspec.Struct, gc=False):
    id: Raw = NULL
    method: str | None = None
    code: int | None = None
    result: _Result | None = None
    channel: str | None = None
    message: str | None = None


_FRAME: Final[Shape[_Frame]] = Shape(_Frame)
_ROWS: Final[Shape[list[_Row]]] = Shape(list[_Row])


class CryptocomSession(Listener):
    """Crypto.com. Frames are told apart by `result.channel`, never by `id`."""

    venue = _VENUE
    connect_url_default = "wss://stream.crypto.com/exchange/v1/market"
    connect_limit = ConnectLimit(attempts=10, window_ms=10_000, maintenance_floor_ms=5_000)
    rest_url_default = "https://api.crypto.com"
    rest_limit = RateLimit(calls=100, window_ms=1_000)
    shape = _FRAME
    pace = Pace(batch_max=50, interval_ms=200, open_wait_ms=1_000)
    keepalive = Keepalive(silent_ms=45_000)
    subscriptions_max = 400

    def _read(self, message: _Frame, mono_ns: int, unix_ns: int) -> list[Tick]:
        result = message.result
        if result is not None and not message.code:
            if result.channel == "ticker":
                if result.data is None:
                    self._acknowledged(result.instrument_name, mono_ns)
                    return self._ignored()
                return self._tickers(result.data, result.instrument_name, mono_ns, unix_ns) or self._ignored()
            if result.channel is not None:
                return self._ignored()
        return self._other(message, mono_ns)

    def _tickers(self, rows: list[_Row], name: str | None, mono_ns: int, unix_ns: int) -> list[Tick]:
        markets, prices = self._markets, self._prices
        ticks = []
        for row in rows:
            symbol = row.i or name
            market = markets[symbol]
            if market is None:
                continue
            market.data_ns = mono_ns
            if market.early:
                self._note_data(market, mono_ns)
            price, bid, ask = prices[bytes(row.a)], prices[bytes(row.b)], prices[bytes(row.k)]
            if price is None and bid is None and ask is None:
                continue
            time_ns = None
            if row.t is not None:
                time_ns = row.t * 1_000_000
                self._lag_ns = unix_ns - time_ns
            tick = Tick(
                _VENUE,
                market.asset,
                market.label,
                market.quote,
                price,
                bid,
                ask,
                self._volumes[bytes(row.v)],
                time_ns,
                None,
                unix_ns,
                mono_ns,
            )
            ticks.append(tick)
        return ticks

    def _other(self, message: _Frame, mono_ns: int) -> list[Tick]:
        if message.method == "public/heartbeat":
            number = bytes(message.id)
            if self._open and number.isdigit():
                self._outgoing.append(f'{{"id":{number.decode()},"method":"public/respond-heartbeat"}}')
        elif message.code:
            self._error(message, message.code, mono_ns)
        elif message.method not in _OTHER_METHODS:
            return self._unknown()
        elif message.channel is not None and message.channel.startswith(_PREFIX) and message.method == "subscribe":
            self._acknowledged(message.channel.removeprefix(_PREFIX), mono_ns)
        return self._ignored()

    def _acknowledged(self, symbol: str | None, mono_ns: int) -> None:
        market = self._markets.get(symbol)
        if market is not None:
            self._subscriptions.activate(market, mono_ns)

    def _error(self, message: _Frame, code: int, mono_ns: int) -> None:
        words = f"{code}: {message.message}"
        self._venue_error(words)
        market = self._markets.get((message.channel or "").removeprefix(_PREFIX))
        if code == _TOO_MANY:
            self._subscriptions.slow_down(mono_ns)
        elif market is not None and code in (_UNKNOWN_SYMBOL, _FULL):
            self._subscriptions.refuse(market, words, mono_ns)
        # Any other error may pass or concern nothing of ours: what stays unanswered is asked for again.

    def disconnected(self, mono_ns: int, code: int | None, reason: str) -> None:
        """Close code 1013 is the venue's only sign of maintenance."""
        super().disconnected(mono_ns, code, reason)
        self.in_maintenance = code == _RESTARTING or (self.in_maintenance and code is None)

    def _subscribe(self, ask: Ask) -> list[str]:
        return [self._request("subscribe", ask)]

    def _unsubscribe(self, ask: Ask) -> list[str]:
        return [self._request("unsubscribe", ask)]

    def _request(self, method: str, ask: Ask) -> str:
        channels = [_PREFIX + market.symbol for market in ask.markets]
        nonce = (ask.sent_ns + self._unix_offset_ns) // 1_000_000
        request = {"id": ask.number, "method": method, "params": {"channels": channels}, "nonce": nonce}
        return msgspec.json.encode(request).decode()

    @classmethod
    def market_of(cls, symbol: str) -> tuple[str, str] | None:
        """`BTC_USD`; perpetuals and futures (`BTCUSD-PERP`) have no underscore."""
        return split(symbol, "_")

    @classmethod
    def quote_request(cls, listing: Listing) -> QuoteRequest:
        """One instrument's ticker."""
        return QuoteRequest("/exchange/v1/public/get-tickers", {"instrument_name": listing.symbol})

    @classmethod
    def _quote(cls, listing: Listing, status: int, headers: Mapping[str, str], body: bytes) -> Quote:
        """Errors are a `code` other than 0, with any HTTP status."""
        answer = read_body(_FRAME, listing, status, body)
        if answer.code == _TOO_MANY:
            raise rate_limited(_VENUE, headers, wait_ms=cls.rest_limit.window_ms)
        if answer.code in _NOT_FOUND:
            raise not_listed(listing)
        if answer.code != 0 or answer.result is None:
            raise unavailable(_VENUE, f"HTTP status {status}, code {answer.code}: {answer.message}")
        for row in answer.result.data or ():
            if row.i == listing.symbol:
                prices = (price_of(bytes(row.a)), price_of(bytes(row.b)), price_of(bytes(row.k)))
                return Quote(*prices, volume_of(bytes(row.v)), None if row.t is None else row.t * 1_000_000)
        raise not_listed(listing)

    def _read_answer(self, body: bytes, mono_ns: int, unix_ns: int) -> list[Tick]:
        """The whole answer, or its rows alone."""
        if body.lstrip()[:1] == b"[":
            rows = _ROWS.read(body)
        else:
            answer = _FRAME.read(body)
            rows = (answer.result.data or []) if answer.method == "public/get-tickers" and answer.result else []
        return self._tickers(rows, None, mono_ns, unix_ns) or self._ignored()
