"""Gate.io, API v4: one pair a frame, a ping of ours every few seconds, and a bad pair that spoils its request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from trinity_core.assets import Listing
from trinity_core.ticks import Tick
from trinity_core.venues import Venue
from trinity_feeds.answers import Quote, not_listed, rate_limited, read_body, unavailable
from trinity_feeds.listener import Listener
from trinity_feeds.literals import Ordinal, UnixMs, UnixS, price_of, volume_of
from trinity_feeds.shapes import Shape
from trinity_feeds.subscriptions import Ask, Pace
from trinity_feeds.symbols import split
from trinity_feeds.terms import ConnectLimit, Keepalive, QuoteRequest, RateLimit

_VENUE: Final = Venue.GATEIO
_NO_SUCH_PAIR: Final = ("INVALID_CURRENCY", "INVALID_CURRENCY_PAIR")
_SERVER_ERROR: Final = 3


class _Result(msgspec.Struct, gc=False):
    """Of `spot.tickers`, then of `spot.book_ticker`, then of an acknowledgement."""

    currency_pair: str | None = None
    last: str | None = None
    lowest_ask: str | None = None
    highest_bid: str | None = None
    base_volume: str | None = None
    t: UnixMs | None = None
    u: Ordinal | None = None
    s: str | None = None
    b: str | None = None
    a: str | None = None
    status: str | None = None


class _Error(msgspec.Struct, gc=False):
    code: int | None = None
    message: str | None = None


class _Frame(msgspec.Struct, gc=False):
    time: UnixS | None = None
    time_ms: UnixMs | None = None
    channel: str | None = None
    event: str | None = None
    result: _Result | None = None
    error: _Error | None = None
    id: int | None = None
    payload: list[str] | None = None


_FRAME: Final[Shape[_Frame]] = Shape(_Frame)
_ROWS: Final[Shape[list[_Result]]] = Shape(list[_Result])
_NO_TIME: Final = _Frame()
"""What surrounds a row of a REST answer."""


class _Refusal(msgspec.Struct, gc=False):
    label: str | None = None
    message: str | None = None


_REFUSAL: Final[Shape[_Refusal]] = Shape(_Refusal)


class GateioSession(Listener):
    """Gate.io. `spot.tickers` pushes on change; the price itself carries no time, the frame does."""

    venue = _VENUE
    connect_url_default = "wss://api.gateio.ws/ws/v4/"
    connect_limit = ConnectLimit(attempts=20, window_ms=60_000)
    rest_url_default = "https://api.gateio.ws"
    rest_limit = RateLimit(calls=200, window_ms=10_000)
    shape = _FRAME
    pace = Pace(batch_max=20, interval_ms=100)
    keepalive = Keepalive(silent_ms=25_000, ping_ms=10_000, pong_ms=8_000)

    def _read(self, message: _Frame, mono_ns: int, unix_ns: int) -> list[Tick]:
        result = message.result
        if message.event == "update" and result is not None:
            if message.channel == "spot.tickers":
                return self._ticker(message, result, mono_ns, unix_ns) or self._ignored()
            if message.channel == "spot.book_ticker":
                return self._book_ticker(result, mono_ns, unix_ns) or self._ignored()
        return self._other(message, mono_ns)

    def _ticker(self, message: _Frame, result: _Result, mono_ns: int, unix_ns: int) -> list[Tick]:
        market = self._markets[result.currency_pair]
        if market is None:
            return []
        market.data_ns = mono_ns
        if market.early:
            self._note_data(market, mono_ns)
        prices = self._prices
        price, bid, ask = prices[result.last], prices[result.highest_bid], prices[result.lowest_ask]
        if price is None and bid is None and ask is None:
            return []
        time_ns = None
        if message.time_ms is not None:
            time_ns = message.time_ms * 1_000_000
        elif message.time is not None:
            time_ns = message.time * 1_000_000_000
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
                self._volumes[result.base_volume],
                time_ns,
                None,
                unix_ns,
                mono_ns,
            )
        ]

    def _book_ticker(self, result: _Result, mono_ns: int, unix_ns: int) -> list[Tick]:
        """Best bid and ask only; not subscribed, but read where it comes."""
        market = self._markets[result.s]
        if market is None or self._is_late(market, result.u):
            return []
        return self._tick(
            market,
            bid=self._prices[result.b],
            ask=self._prices[result.a],
            time_ns=None if result.t is None else result.t * 1_000_000,
            sequence=result.u,
            mono_ns=mono_ns,
            unix_ns=unix_ns,
        )

    def _other(self, message: _Frame, mono_ns: int) -> list[Tick]:
        if message.channel == "spot.pong":
            self._pulse.pong()
            return self._ignored()
        if message.channel is None or not message.channel.startswith("spot."):
            return self._unknown()
        if message.event == "subscribe" and message.channel == "spot.tickers":
            self._answered(message, mono_ns)
        elif message.error is not None:
            self._venue_error(f"{message.error.code}: {message.error.message}")
        return self._ignored()

    def _answered(self, message: _Frame, mono_ns: int) -> None:
        """The answer to a subscription: by its id, by its payload, or by its turn."""
        named = [market for market in map(self._markets.get, message.payload or ()) if market is not None]
        failed = message.error is not None or (message.result is not None and message.result.status == "fail")
        if not failed:
            if message.id is not None or not named:
                self._subscriptions.answered(message.id, mono_ns)
            for market in named:
                self._subscriptions.activate(market, mono_ns)
            return
        error = message.error or _Error()
        words = f"{error.code}: {error.message}"
        self._venue_error(words)
        if error.code == _SERVER_ERROR:
            self._subscriptions.slow_down(mono_ns)
        else:
            self._subscriptions.failed(message.id, words, mono_ns, self._markets.named_in(error.message or ""))

    def _subscribe(self, ask: Ask) -> list[str]:
        return [self._request(ask, "subscribe")]

    def _unsubscribe(self, ask: Ask) -> list[str]:
        return [self._request(ask, "unsubscribe")]

    def _request(self, ask: Ask, event: str) -> str:
        symbols = [market.symbol for market in ask.markets]
        seconds = (ask.sent_ns + self._unix_offset_ns) // 1_000_000_000
        request = {"time": seconds, "id": ask.number, "channel": "spot.tickers", "event": event, "payload": symbols}
        return msgspec.json.encode(request).decode()

    def _ping(self, mono_ns: int) -> str:
        seconds = (mono_ns + self._unix_offset_ns) // 1_000_000_000
        return f'{{"time":{seconds},"channel":"spot.ping"}}'

    @classmethod
    def market_of(cls, symbol: str) -> tuple[str, str] | None:
        """`BTC_USDT`."""
        return split(symbol, "_")

    @classmethod
    def quote_request(cls, listing: Listing) -> QuoteRequest:
        """One pair's ticker; the answer is a list all the same."""
        return QuoteRequest("/api/v4/spot/tickers", {"currency_pair": listing.symbol})

    @classmethod
    def _quote(cls, listing: Listing, status: int, headers: Mapping[str, str], body: bytes) -> Quote:
        """Errors are an object with a `label`."""
        if status != 200:
            refusal = read_body(_REFUSAL, listing, status, body)
            if refusal.label in _NO_SUCH_PAIR:
                raise not_listed(listing)
            if refusal.label == "TOO_MANY_REQUESTS":
                raise rate_limited(_VENUE, headers, wait_ms=cls.rest_limit.window_ms)
            raise unavailable(_VENUE, f"HTTP status {status}, {refusal.label}: {refusal.message}")
        for row in read_body(_ROWS, listing, status, body):
            if row.currency_pair == listing.symbol:
                prices = (price_of(row.last), price_of(row.highest_bid), price_of(row.lowest_ask))
                return Quote(*prices, volume_of(row.base_volume))
        raise unavailable(_VENUE, f"an answer without {listing.symbol}")

    def _read_answer(self, body: bytes, mono_ns: int, unix_ns: int) -> list[Tick]:
        ticks = []
        for row in _ROWS.read(body):
            if row.last is not None and row.base_volume is not None:
                ticks += self._ticker(_NO_TIME, row, mono_ns, unix_ns)
        return ticks or self._ignored()
