"""Coinbase, Advanced Trade feed: many tickers a frame, a sequence over the whole connection, heartbeats to subscribe.

The older Exchange feed's tickers (`"type":"ticker"`) are read as well, and its REST interface
serves the quotes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from trinity_core.assets import Listing
from trinity_core.ticks import Tick
from trinity_core.venues import Venue
from trinity_feeds.answers import Quote, not_listed, read_body, unavailable
from trinity_feeds.gaps import Numbers, Turn
from trinity_feeds.listener import Listener
from trinity_feeds.literals import Ordinal, Times, price_of, volume_of
from trinity_feeds.markets import Market
from trinity_feeds.shapes import Shape
from trinity_feeds.subscriptions import Ask, Pace
from trinity_feeds.symbols import split
from trinity_feeds.terms import ConnectLimit, Keepalive, QuoteRequest, RateLimit, SessionSettings

_VENUE: Final = Venue.COINBASE
_OWN_NAMES: Final[Mapping[str, str]] = {
    "JUPITER": "JUP", "MANTLE": "MNT", "COSMOSDYDX": "DYDX", "ZETACHAIN": "ZETA",
    "CORECHAIN": "CORE", "CGLD": "CELO", "LIGHTER": "LIT", "PAX": "USDP",
}  # fmt: skip
"""Base names that differ from everybody's."""
_OTHER_CHANNELS: Final = frozenset({"heartbeats", "ticker_batch", "market_trades", "l2_data", "candles", "status"})
_OTHER_TYPES: Final = frozenset({"heartbeat", "snapshot", "l2update", "match", "last_match", "status"})
_TICKER_NAMES: Final = frozenset({"ticker", "ticker_1000", "ticker_batch"})


class _Ticker(msgspec.Struct, gc=False):
    product_id: str | None = None
    price: str | None = None
    volume_24_h: str | None = None
    best_bid: str | None = None
    best_ask: str | None = None


class _Active(msgspec.Struct, gc=False):
    ticker: list[str] | None = None


class _Event(msgspec.Struct, gc=False):
    tickers: list[_Ticker] | None = None
    subscriptions: _Active | None = None


class _Channel(msgspec.Struct, gc=False):
    name: str | None = None
    product_ids: list[str] | None = None


class _Frame(msgspec.Struct, gc=False):
    """Of the Advanced Trade feed down to `events`; the rest is of the Exchange feed, and of errors on both."""

    channel: str | None = None
    timestamp: str | None = None
    sequence_num: Ordinal | None = None
    events: list[_Event] | None = None
    type: str | None = None
    sequence: Ordinal | None = None
    product_id: str | None = None
    price: str | None = None
    volume_24h: str | None = None
    best_bid: str | None = None
    best_ask: str | None = None
    time: str | None = None
    channels: list[_Channel] | None = None
    message: str | None = None
    reason: str | None = None


_FRAME: Final[Shape[_Frame]] = Shape(_Frame)


class _Row(msgspec.Struct, gc=False):
    """Of `/products/{id}/ticker`; of the Advanced listing the last two as well."""

    price: str | None = None
    bid: str | None = None
    ask: str | None = None
    volume: str | None = None
    time: str | None = None
    message: str | None = None
    product_id: str | None = None
    volume_24h: str | None = None


class _Products(msgspec.Struct, gc=False):
    products: list[_Row] | None = None


_QUOTE: Final[Shape[_Row]] = Shape(_Row)
_PRODUCTS: Final[Shape[_Products]] = Shape(_Products)


class CoinbaseSession(Listener):
    """Coinbase. A ticker is pushed on each match only: quiet pairs stay silent, heartbeats show the connection."""

    venue = _VENUE
    connect_url_default = "wss://advanced-trade-ws.coinbase.com"
    connect_limit = ConnectLimit(attempts=8, window_ms=1_000)
    rest_url_default = "https://api.exchange.coinbase.com"
    rest_limit = RateLimit(calls=10, window_ms=1_000)
    shape = _FRAME
    # 8 messages a second from an address; a renewal is two, and the opening one is not paced.
    pace = Pace(batch_max=50, interval_ms=300)
    keepalive = Keepalive(silent_ms=10_000)

    def __init__(
        self, *, listings: Sequence[tuple[str, Listing]], settings: SessionSettings, replay: bool = False
    ) -> None:
        """As every session."""
        super().__init__(listings=listings, settings=settings, replay=replay)
        self._numbers = Numbers()

    def connected(self, mono_ns: int, unix_ns: int) -> None:
        """The sequence starts anew with each connection."""
        self._numbers = Numbers()
        super().connected(mono_ns, unix_ns)

    def _read(self, message: _Frame, mono_ns: int, unix_ns: int) -> list[Tick]:
        if message.sequence_num is not None and not self.replay and self._is_repeated(message.sequence_num, mono_ns):
            return []
        if message.channel == "ticker" and message.events is not None:
            return self._tickers(message, message.events, mono_ns, unix_ns) or self._ignored()
        if message.type == "ticker":
            return self._exchange_ticker(message, mono_ns, unix_ns) or self._ignored()
        return self._other(message, mono_ns)

    def _is_repeated(self, number: int, mono_ns: int) -> bool:
        """Whether the frame came before. One that comes late is read: it may be the newest of some symbol."""
        turn = self._numbers.turn(number)
        if turn is Turn.BEYOND:
            self._gap(mono_ns)
        elif turn is not Turn.NEXT:
            self.counts.frames_out_of_order += 1
        return turn is Turn.AGAIN

    def _gap_remains(self) -> bool:
        return self._numbers.give_up()

    def _tickers(self, message: _Frame, events: list[_Event], mono_ns: int, unix_ns: int) -> list[Tick]:
        markets, prices, volumes = self._markets, self._prices, self._volumes
        # The number orders one connection's frames only, so that it must not reach a book that outlives it.
        sequence = message.sequence_num if self.replay else None
        order = None if self.replay else message.sequence_num
        time_ns = self._times.ns(message.timestamp)
        if time_ns is not None:
            self._lag_ns = unix_ns - time_ns
        ticks = []
        for event in events:
            for row in event.tickers or ():
                market = markets[row.product_id]
                if market is None:
                    continue
                if order is not None:
                    if order < market.sequence:
                        continue
                    market.sequence = order
                market.data_ns = mono_ns
                if market.early:
                    self._note_data(market, mono_ns)
                price, bid, ask = prices[row.price], prices[row.best_bid], prices[row.best_ask]
                if price is None and bid is None and ask is None:
                    continue
                tick = Tick(
                    _VENUE,
                    market.asset,
                    market.label,
                    market.quote,
                    price,
                    bid,
                    ask,
                    volumes[row.volume_24_h],
                    time_ns,
                    sequence,
                    unix_ns,
                    mono_ns,
                )
                ticks.append(tick)
        return ticks

    def _exchange_ticker(self, message: _Frame, mono_ns: int, unix_ns: int) -> list[Tick]:
        market = self._markets[message.product_id]
        if market is None or self._is_late(market, message.sequence):
            return []
        return self._tick(
            market,
            price=self._prices[message.price],
            bid=self._prices[message.best_bid],
            ask=self._prices[message.best_ask],
            volume=self._volumes[message.volume_24h],
            time_ns=self._times.ns(message.time),
            sequence=message.sequence,
            mono_ns=mono_ns,
            unix_ns=unix_ns,
        )

    def _other(self, message: _Frame, mono_ns: int) -> list[Tick]:
        if message.type == "error":
            self._error(message, mono_ns)
        elif message.channel == "subscriptions" or message.type == "subscriptions":
            self._active(message, mono_ns)
        elif message.channel not in _OTHER_CHANNELS and message.type not in _OTHER_TYPES:
            return self._unknown()
        return self._ignored()

    def _active(self, message: _Frame, mono_ns: int) -> None:
        """The whole state of the connection, after each request, accepted or not."""
        names: list[str] = []
        for event in message.events or ():
            if event.subscriptions is not None:
                names += event.subscriptions.ticker or ()
        for channel in message.channels or ():
            if channel.name in _TICKER_NAMES:
                names += channel.product_ids or ()
        for name in names:
            market = self._markets.get(name)
            if market is not None:
                self._subscriptions.activate(market, mono_ns)

    def _error(self, message: _Frame, mono_ns: int) -> None:
        words = ": ".join(part for part in (message.message, message.reason) if part)
        self._venue_error(words)
        if "rate limit" in words.lower() or "too many" in words.lower():
            self._subscriptions.slow_down(mono_ns)
        elif named := self._markets.named_in(words):
            # The others of the request go through, and stand in the list that follows.
            for market in named:
                self._subscriptions.refuse(market, words, mono_ns)
        else:
            self._subscriptions.failed(None, words, mono_ns)

    def _listed(self, asset: str, listing: Listing) -> Market:
        """`X-USDC` and `X-USD` are one book, whose data is labelled `X-USD`."""
        base, _, quote = listing.symbol.rpartition("-")
        if quote != "USDC":
            return super()._listed(asset, listing)
        return Market(symbol=listing.symbol, label=f"{base}-USD", asset=asset, quote="USD")

    def _opening(self) -> list[str]:
        return ['{"type":"subscribe","channel":"heartbeats"}']

    def _subscribe(self, ask: Ask) -> list[str]:
        return [_request("subscribe", ask)]

    def _unsubscribe(self, ask: Ask) -> list[str]:
        return [_request("unsubscribe", ask)]

    @classmethod
    def market_of(cls, symbol: str) -> tuple[str, str] | None:
        """`BTC-USD`."""
        pair = split(symbol, "-")
        return pair and (_OWN_NAMES.get(pair[0], pair[0]), pair[1])

    @classmethod
    def quote_request(cls, listing: Listing) -> QuoteRequest:
        """One product's ticker, of the Exchange interface: it has a last trade, both sides and a time."""
        return QuoteRequest(f"/products/{listing.symbol}/ticker", {})

    @classmethod
    def _quote(cls, listing: Listing, status: int, headers: Mapping[str, str], body: bytes) -> Quote:
        """Errors are a `message`; a product that is unknown is a 404, one that is delisted a 400."""
        if status in (400, 404):
            raise not_listed(listing)
        row = read_body(_QUOTE, listing, status, body)
        if status != 200 or row.message is not None:
            raise unavailable(_VENUE, f"HTTP status {status}: {row.message}")
        numbers = (price_of(row.price), price_of(row.bid), price_of(row.ask), volume_of(row.volume))
        return Quote(*numbers, time_ns=Times().ns(row.time))

    def _read_answer(self, body: bytes, mono_ns: int, unix_ns: int) -> list[Tick]:
        """Rows that name their product: of the Advanced listing, one or all."""
        rows = _PRODUCTS.read(body).products or [_QUOTE.read(body)]
        ticks = []
        for row in rows:
            if row.product_id is not None and row.price is not None and row.volume_24h is not None:
                old = _Frame(product_id=row.product_id, price=row.price, volume_24h=row.volume_24h)
                ticks += self._exchange_ticker(old, mono_ns, unix_ns)
        return ticks or self._ignored()


def _request(name: str, ask: Ask) -> str:
    products = [market.symbol for market in ask.markets]
    return msgspec.json.encode({"type": name, "channel": "ticker", "product_ids": products}).decode()
