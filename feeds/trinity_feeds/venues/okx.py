"""OKX, API v5: tickers of many pairs in one frame, a text ping, one acknowledgement an argument."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from trinity_core.assets import Listing
from trinity_core.ticks import Tick
from trinity_core.venues import Venue
from trinity_feeds.answers import Quote, not_listed, rate_limited, read_body, unavailable
from trinity_feeds.listener import Listener
from trinity_feeds.literals import UnixMs, price_of, volume_of
from trinity_feeds.shapes import Shape
from trinity_feeds.subscriptions import Ask, Pace
from trinity_feeds.symbols import split
from trinity_feeds.terms import ConnectLimit, Keepalive, QuoteRequest, RateLimit

_VENUE: Final = Venue.OKX
_TOO_MANY: Final = ("60014", "50011")
_NOT_FOUND: Final = "51001"
_UPGRADE: Final = "64008"
_OTHER_CHANNELS: Final = frozenset(
    {"trades", "trades-all", "books", "books5", "bbo-tbt", "books-l2-tbt", "books50-l2-tbt"}
)


class _Ticker(msgspec.Struct, gc=False):
    symbol: str | None = msgspec.field(default=None, name="instId")
    last: str | None = None
    ask: str | None = msgspec.field(default=None, name="askPx")
    bid: str | None = msgspec.field(default=None, name="bidPx")
    vol24h: str | None = None
    ts: UnixMs | None = None


class _Arg(msgspec.Struct, gc=False):
    channel: str | None = None
    symbol: str | None = msgspec.field(default=None, name="instId")


class _Frame(msgspec.Struct, gc=False):
    arg: _Arg | None = None
    data: list[_Ticker] | None = None
    event: str | None = None
    code: str | None = None
    msg: str | None = None


_FRAME: Final[Shape[_Frame]] = Shape(_Frame)


class OkxSession(Listener):
    """OKX. `tickers` pushes at most every 100 ms, only on change; a spot book of USDT pairs is the deepest."""

    venue = _VENUE
    connect_url_default = "wss://ws.okx.com:8443/ws/v5/public"
    connect_limit = ConnectLimit(attempts=3, window_ms=1_000)
    rest_url_default = "https://www.okx.com"
    rest_limit = RateLimit(calls=20, window_ms=2_000)
    # 480 operations an hour and connection; a renewal is two.
    shape = _FRAME
    pace = Pace(batch_max=50, interval_ms=350, requests_max=200, window_ms=3_600_000)
    keepalive = Keepalive(silent_ms=35_000, ping_ms=20_000, pong_ms=8_000)

    def _read(self, message: _Frame, mono_ns: int, unix_ns: int) -> list[Tick]:
        if message.event is not None:
            return self._event(message, message.event, mono_ns)
        arg, rows = message.arg, message.data
        if arg is None or rows is None:
            return self._unknown()
        if arg.channel != "tickers":
            return self._ignored() if arg.channel in _OTHER_CHANNELS else self._unknown()
        return self._tickers(rows, mono_ns, unix_ns) or self._ignored()

    def _odd(self, frame: str | bytes, error: Exception) -> _Frame | None:
        if frame == "pong" or frame == b"pong":
            self._pulse.pong()
            return None
        message: _Frame = super()._odd(frame, error)
        return message

    def _tickers(self, rows: list[_Ticker], mono_ns: int, unix_ns: int) -> list[Tick]:
        markets, prices, volumes = self._markets, self._prices, self._volumes
        ticks = []
        for row in rows:
            market = markets[row.symbol]
            if market is None:
                continue
            market.data_ns = mono_ns
            if market.early:
                self._note_data(market, mono_ns)
            price, bid, ask = prices[row.last], prices[row.bid], prices[row.ask]
            if price is None and bid is None and ask is None:
                continue
            time_ns = None
            if row.ts is not None:
                time_ns = row.ts * 1_000_000
                self._lag_ns = unix_ns - time_ns
            tick = Tick(
                _VENUE,
                market.asset,
                market.label,
                market.quote,
                price,
                bid,
                ask,
                volumes[row.vol24h],
                time_ns,
                None,
                unix_ns,
                mono_ns,
            )
            ticks.append(tick)
        return ticks

    def _event(self, message: _Frame, event: str, mono_ns: int) -> list[Tick]:
        words = f"{message.code}: {message.msg}"
        if event == "subscribe":
            market = self._markets.get(message.arg.symbol) if message.arg is not None else None
            if market is not None:
                self._subscriptions.activate(market, mono_ns)
        elif event == "error":
            self._venue_error(words)
            named = self._markets.named_in(message.msg or "")
            if message.code in _TOO_MANY:
                self._subscriptions.slow_down(mono_ns)
            elif named:  # the other arguments of the request live on
                for market in named:
                    self._subscriptions.refuse(market, words, mono_ns)
            else:
                self._subscriptions.failed(None, words, mono_ns)
        elif event == "notice":
            self._note(words)
            if message.code == _UPGRADE:
                self._maintenance_began(words)
                self._close("the venue announced a service upgrade")
        elif event == "channel-conn-count-error":
            self._venue_error(f"too many connections: {message.msg or event}")
        elif event not in ("unsubscribe", "channel-conn-count"):
            return self._unknown()
        return self._ignored()

    def _subscribe(self, ask: Ask) -> list[str]:
        return [_operation("subscribe", ask)]

    def _unsubscribe(self, ask: Ask) -> list[str]:
        return [_operation("unsubscribe", ask)]

    def _ping(self, mono_ns: int) -> str:
        return "ping"

    @classmethod
    def market_of(cls, symbol: str) -> tuple[str, str] | None:
        """`BTC-USDT`; a third part makes a swap, a future or an option."""
        return split(symbol, "-")

    @classmethod
    def quote_request(cls, listing: Listing) -> QuoteRequest:
        """One pair's ticker."""
        return QuoteRequest("/api/v5/market/ticker", {"instId": listing.symbol})

    @classmethod
    def _quote(cls, listing: Listing, status: int, headers: Mapping[str, str], body: bytes) -> Quote:
        """Errors come with HTTP status 200 and a `code` that is not "0"."""
        answer = read_body(_FRAME, listing, status, body)
        if answer.code in _TOO_MANY:
            raise rate_limited(_VENUE, headers, wait_ms=cls.rest_limit.window_ms)
        if answer.code == _NOT_FOUND:
            raise not_listed(listing)
        for row in answer.data or ():
            if row.symbol == listing.symbol and answer.code == "0":
                numbers = (price_of(row.last), price_of(row.bid), price_of(row.ask), volume_of(row.vol24h))
                return Quote(*numbers, None if row.ts is None else row.ts * 1_000_000)
        raise unavailable(_VENUE, f"HTTP status {status}, code {answer.code}: {answer.msg}")

    def _read_answer(self, body: bytes, mono_ns: int, unix_ns: int) -> list[Tick]:
        rows = [row for row in _FRAME.read(body).data or () if row.bid is not None and row.ask is not None]
        return self._tickers(rows, mono_ns, unix_ns) or self._ignored()


def _operation(name: str, ask: Ask) -> str:
    args = [{"channel": "tickers", "instId": market.symbol} for market in ask.markets]
    return msgspec.json.encode({"id": str(ask.number), "op": name, "args": args}).decode()
