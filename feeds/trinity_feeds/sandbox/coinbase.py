"""Coinbase's Advanced Trade socket: one envelope and one sequence over all channels of a connection.

Carried are the channels ticker, ticker_batch and heartbeats; others are refused as unknown. The words of the
error frames are those of the Exchange feed, whose shape the two share.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from trinity_core.venues import Venue
from trinity_feeds.sandbox.coinbase_rest import answer
from trinity_feeds.sandbox.digits import share, trimmed
from trinity_feeds.sandbox.quotes import Quote
from trinity_feeds.sandbox.rest import Answer, Bucket, Request, json_answer
from trinity_feeds.sandbox.stamps import SECOND, Moment, go_time, rfc3339_ns
from trinity_feeds.sandbox.venue import Frame, SandboxVenue, Session, message, parse, strings

_CHANNELS = ("ticker", "ticker_batch", "heartbeats")


class CoinbaseVenue(SandboxVenue):
    """Coinbase: USD markets, each with a USDC alias of the same book."""

    venue = Venue.COINBASE
    ws_path = "/"
    rest_limit = (10, 15)
    connect_limit = (8, 8)
    message_limit: ClassVar[tuple[float, float]] = (8, 8)
    """Unauthenticated messages a second, and at once, over all connections of an address."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.messages = Bucket(*self.message_limit)

    def session(self, now: Moment) -> CoinbaseSession:
        """A new connection."""
        return CoinbaseSession(venue=self, now=now)

    def answer(self, request: Request, now: Moment) -> Answer:
        """The Exchange and the Advanced Trade endpoints."""
        return answer(self, request, now)

    def too_many(self) -> Answer:
        """Both APIs say it alike."""
        return json_answer({"message": "Public rate limit exceeded"}, 429)

    def canonical(self, product: str) -> str:
        """The product whose book it is: BTC-USDC is traded in the book of BTC-USD."""
        base, dash, quote = product.rpartition("-")
        return f"{base}-USD" if dash and quote == "USDC" else product

    def render(self, channel: str, quote: Quote, now: Moment) -> bytes:
        """One entry of `tickers`; the session puts the envelope around it."""
        places, sizes = quote.decimals, quote.size_decimals
        change = share(100 * (0 if quote.last is None else quote.last - quote.open), quote.open, 14)
        best = ""
        if channel == "ticker":
            best = (
                f',"best_bid":"{price(quote.bid, places)}","best_ask":"{price(quote.ask, places)}"'
                f',"best_bid_quantity":"{trimmed(quote.bid_size, sizes)}"'
                f',"best_ask_quantity":"{trimmed(quote.ask_size, sizes)}"'
            )
        return (
            f'{{"type":"ticker","product_id":"{quote.symbol}","price":"{price(quote.last, places)}"'
            f',"volume_24_h":"{trimmed(quote.volume, sizes)}"'
            f',"low_24_h":"{trimmed(quote.low, places)}","high_24_h":"{trimmed(quote.high, places)}"'
            f',"low_52_w":"{trimmed(quote.low * 3 // 5, places)}","high_52_w":"{trimmed(quote.high * 2, places)}"'
            f',"price_percent_chg_24_h":"{change}"{best}}}'
        ).encode()


def price(units: int | None, decimals: int) -> str:
    """A price in text; empty where there is none."""
    return "" if units is None else trimmed(units, decimals)


class CoinbaseSession(Session):
    """One connection to the Advanced Trade socket."""

    def __init__(self, *, venue: CoinbaseVenue, now: Moment) -> None:
        super().__init__(now=now)
        self._venue = venue
        self._sequence = 0
        self._asked = False
        self._wanted: dict[str, dict[str, None]] = {}
        """Canonical products of each channel, in the order they were subscribed."""
        self._beat_ns = 0
        self._beats = venue.random.randrange(100_000)
        self._batch_ns = 0
        self._batch: dict[str, Quote] = {}

    def subscriptions(self) -> int:
        """Products over all channels."""
        return sum(len(products) for products in self._wanted.values())

    def received(self, text: str | bytes, now: Moment) -> None:
        """Subscribe and unsubscribe; one channel a message."""
        venue = self._venue
        if venue.settings.rate_limits and not venue.messages.take(now.mono_ns):
            self._error("rate limit exceeded")
            return
        asked = parse(text)
        if not isinstance(asked, dict) or asked.get("type") not in ("subscribe", "unsubscribe"):
            self._error("failed to parse message", "type must be subscribe or unsubscribe")
            return
        channel = asked.get("channel")
        if channel not in _CHANNELS:
            self._error("Failed to subscribe", f"{channel} is not a valid channel")
            return
        self._asked = True
        products = strings(asked.get("product_ids"))
        if asked["type"] == "subscribe":
            self._subscribe(channel, products, now)
        else:
            self._unsubscribe(channel, products)
        self._send("subscriptions", [{"subscriptions": self._state()}], now)

    def offer(self, quotes: Sequence[Quote], now: Moment) -> None:
        """Ticker updates at once, mostly one a frame and now and then two; batches are collected."""
        wanted = self._wanted.get("ticker", {})
        due = [quote for quote in quotes if quote.symbol in wanted]
        index = 0
        while index < len(due):
            pair = self._sequence % 5 == 4 and index + 1 < len(due) and not self._venue.faults.at(Venue.COINBASE)
            self._tickers("update", "ticker", due[index : index + 1 + pair], now)
            index += 1 + pair
        batched = self._wanted.get("ticker_batch")
        if batched:
            self._batch.update((quote.symbol, quote) for quote in quotes if quote.symbol in batched)

    def poll(self, now: Moment) -> None:
        """Heartbeats, batches, and the two ways to be closed for saying nothing."""
        timers = self._venue.timers
        if not self._asked and now.mono_ns - self.opened.mono_ns >= timers.coinbase_subscribe_s * SECOND:
            self.close(1008)
            return
        if "heartbeats" in self._wanted and now.mono_ns >= self._beat_ns:
            self._beat_ns = now.mono_ns + int(timers.coinbase_heartbeat_s * SECOND)
            self._beats += 1
            moment_text = go_time(now.unix_ns, now.mono_ns)
            self._send("heartbeats", [{"current_time": moment_text, "heartbeat_counter": self._beats}], now)
        if self._batch and now.mono_ns >= self._batch_ns:
            self._batch_ns = now.mono_ns + int(timers.coinbase_batch_s * SECOND)
            self._tickers("update", "ticker_batch", list(self._batch.values()), now)
            self._batch.clear()
        if not self.out and now.mono_ns - self.sent_ns >= timers.coinbase_idle_s * SECOND:
            self.close(1001)

    def _subscribe(self, channel: str, products: list[str], now: Moment) -> None:
        if channel == "heartbeats":
            self._wanted.setdefault(channel, {})["heartbeats"] = None
            return
        if not products:
            self._error("Failed to subscribe", f"You need to specify at least one product ID for channel {channel}")
        for product in products:
            known = self._venue.canonical(product)
            if known not in self._venue.markets:
                gone = known in self._venue.delisted
                self._error("Failed to subscribe", f"{product} is {'delisted' if gone else 'not a valid product'}")
                continue
            new = known not in self._wanted.get(channel, {})
            self._wanted.setdefault(channel, {})[known] = None
            quote = self._venue.snapshot(known, now) if new else None
            if quote is not None:
                self._tickers("snapshot", channel, [quote], now)

    def _unsubscribe(self, channel: str, products: list[str]) -> None:
        wanted = self._wanted.get(channel, {})
        for product in [self._venue.canonical(product) for product in products] or list(wanted):
            wanted.pop(product, None)
            self._batch.pop(product, None)
        if not wanted:
            self._wanted.pop(channel, None)

    def _state(self) -> dict[str, list[str]]:
        return {channel: list(products) for channel, products in sorted(self._wanted.items())}

    def _tickers(self, kind: str, channel: str, quotes: Sequence[Quote], now: Moment) -> None:
        if kind == "update":
            entries = [self._venue.frame(channel, quote, now).data for quote in quotes]
        else:
            entries = [self._venue.render(channel, quote, now) for quote in quotes]
        head = (
            f'{{"channel":"{channel}","timestamp":"{rfc3339_ns(now.unix_ns)}","sequence_num":{self._sequence}'
            f',"events":[{{"type":"{kind}","tickers":['
        )
        self._sequence += 1
        self.out.append(Frame(head.encode() + b",".join(entries) + b"]}]}", quotes[0].asset))

    def _send(self, channel: str, events: list[Any], now: Moment) -> None:
        self.out.append(
            message(
                {
                    "channel": channel,
                    "timestamp": rfc3339_ns(now.unix_ns),
                    "sequence_num": self._sequence,
                    "events": events,
                }
            )
        )
        self._sequence += 1

    def _error(self, text: str, reason: str = "") -> None:
        self.out.append(message({"type": "error", "message": text, **({"reason": reason} if reason else {})}))
