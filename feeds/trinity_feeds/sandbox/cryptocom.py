"""Crypto.com's market socket (API v1): no bare acknowledgement for tickers, heartbeats that must be answered.

Carried is the channel ticker; every other name is an unrecognized channel. As seen on the real socket, some
refusals are repeated, and text that is not JSON gets no reply.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trinity_core.venues import Venue
from trinity_feeds.sandbox.board import Active
from trinity_feeds.sandbox.digits import fixed, share, trimmed
from trinity_feeds.sandbox.faults import Kind
from trinity_feeds.sandbox.quotes import Quote
from trinity_feeds.sandbox.rest import Answer, Bucket, Request, json_answer
from trinity_feeds.sandbox.stamps import SECOND, Moment
from trinity_feeds.sandbox.venue import Frame, SandboxVenue, Session, message, parse, strings

_REPEATS = 8
"""Times that some refusals are sent."""
_HEARTBEATS_MAX = 3
"""The connection ends when so many are unanswered."""
_TICKERS = "public/get-tickers"
_INSTRUMENTS = "public/get-instruments"


class CryptocomVenue(SandboxVenue):
    """Crypto.com: BASE_USD symbols."""

    venue = Venue.CRYPTOCOM
    ws_path = "/exchange/v1/market"
    rest_limit = (100, 100)
    connect_limit = (100, 100)

    def session(self, now: Moment) -> CryptocomSession:
        """A new connection."""
        return CryptocomSession(venue=self, now=now)

    def too_many(self) -> Answer:
        """HTTP 429 with the code that the socket uses too."""
        return _failure(_TICKERS, 42901, "TOO_MANY_REQUESTS", 429)

    def render(self, channel: str, quote: Quote, now: Moment) -> bytes:
        """A push. A missing price is null."""
        return self.push(-1, quote, now)

    def push(self, number: Any, quote: Quote, now: Moment) -> bytes:
        """A ticker frame; the first one of a subscription carries the number of its request, the others -1."""
        return (
            f'{{"id":{number},"method":"subscribe","code":0,"result":{{"instrument_name":"{quote.symbol}"'
            f',"subscription":"ticker.{quote.symbol}","channel":"ticker","data":['
            f'{{"h":"{fixed(quote.high, quote.decimals)}","l":"{fixed(quote.low, quote.decimals)}"'
            f',"a":{_quoted(quote.last, quote)},"c":"{_change(quote)}"'
            f',"b":{_quoted(quote.bid, quote)},"bs":"{fixed(quote.bid_size, quote.size_decimals)}"'
            f',"k":{_quoted(quote.ask, quote)},"ks":"{fixed(quote.ask_size, quote.size_decimals)}"'
            f',"i":"{quote.symbol}","v":"{trimmed(quote.volume, quote.size_decimals)}","vv":"{_value(quote)}"'
            f',"oi":"0","t":{now.unix_ms}}}]}}}}'
        ).encode()

    def answer(self, request: Request, now: Moment) -> Answer:
        """Tickers, one or all, and instruments."""
        match request.parts:
            case ("exchange", "v1", "public", "get-tickers"):
                name = request.query.get("instrument_name")
                quotes = self.shown_all(now) if name is None else [self.shown(name, now)]
                rows = [_row(quote, now) for quote in quotes if quote is not None]
                return _data(_TICKERS, rows) if rows else _failure(_TICKERS, 30002, "Not Found", 400)
            case ("exchange", "v1", "public", "get-instruments"):
                known = [*((name, True) for name in self.markets), *((name, False) for name in self.delisted)]
                return _data(_INSTRUMENTS, [self._instrument(name, now, open_=is_open) for name, is_open in known])
            case ("exchange", "v1", "public", method):
                return _failure(f"public/{method}", 40003, "No such method", 400)
            case _:
                return json_answer({"code": 10001, "message": "Not Found"}, 404)

    def _instrument(self, name: str, now: Moment, *, open_: bool) -> dict[str, Any]:
        quote = self.shown(name, now)
        base, _, currency = name.partition("_")
        places, sizes = (quote.decimals, quote.size_decimals) if quote else (2, 2)
        return {
            "symbol": name,
            "inst_type": "CCY_PAIR",
            "display_name": f"{base}/{currency}",
            "base_ccy": base,
            "quote_ccy": currency,
            "quote_decimals": places,
            "quantity_decimals": sizes,
            "price_tick_size": trimmed(1, places),
            "qty_tick_size": trimmed(1, sizes),
            "tradable": open_,
            "expiry_timestamp_ms": 0,
        }


def _quoted(units: int | None, quote: Quote) -> str:
    return "null" if units is None else f'"{fixed(units, quote.decimals)}"'


def _change(quote: Quote) -> str:
    return share(0 if quote.last is None else quote.last - quote.open, quote.open, 4)


def _value(quote: Quote) -> str:
    cents = quote.volume * (quote.last or 0) * 100 // 10 ** (quote.size_decimals + quote.decimals)
    return fixed(cents, 2)


def _row(quote: Quote, now: Moment) -> dict[str, Any]:
    def price(units: int | None) -> str | None:
        return None if units is None else fixed(units, quote.decimals)

    return {
        "i": quote.symbol,
        "h": price(quote.high),
        "l": price(quote.low),
        "a": price(quote.last),
        "v": trimmed(quote.volume, quote.size_decimals),
        "vv": _value(quote),
        "c": _change(quote),
        "b": price(quote.bid),
        "k": price(quote.ask),
        "oi": "0",
        "t": now.unix_ms,
    }


def _data(method: str, rows: list[dict[str, Any]]) -> Answer:
    return json_answer({"id": -1, "method": method, "code": 0, "result": {"data": rows}})


def _failure(method: str, code: int, text: str, status: int) -> Answer:
    return json_answer({"id": -1, "method": method, "code": code, "message": text}, status)


class CryptocomSession(Session):
    """One connection."""

    def __init__(self, *, venue: CryptocomVenue, now: Moment) -> None:
        super().__init__(now=now)
        self._venue = venue
        self._wanted: dict[str, None] = {}
        """Instruments."""
        self._budget = Bucket(100, 100)
        self._unanswered: list[int] = []
        """Numbers of the heartbeats that wait for an answer."""
        beat = int(venue.timers.cryptocom_heartbeat_s * SECOND)
        # Heartbeats go out for all connections together, so the first one comes at any time within the pace.
        self._beat_ns = (now.mono_ns // beat + 1) * beat
        self._ping_ns = now.mono_ns + int(venue.timers.cryptocom_ping_s * SECOND)
        if venue.faults.find(Venue.CRYPTOCOM, Kind.MAINTENANCE) is not None:
            self._restart()

    def subscriptions(self) -> int:
        """Channels."""
        return len(self._wanted)

    def received(self, text: str | bytes, now: Moment) -> None:
        """Requests, and answers to heartbeats."""
        asked = parse(text)
        if not isinstance(asked, dict):
            return  # as the venue does: no reply
        number, method = asked.get("id"), asked.get("method")
        if method == "public/respond-heartbeat":
            if number in self._unanswered:
                self._unanswered.clear()
            return
        settling = (now.mono_ns - self.opened.mono_ns) / SECOND < self._venue.timers.cryptocom_settle_s
        if self._venue.settings.rate_limits and (settling or not self._budget.take(now.mono_ns)):
            self._refuse(number, str(method), 42901, "Too many requests")
            return
        params = asked.get("params")
        channels = strings(params.get("channels")) if isinstance(params, dict) else []
        if method == "subscribe":
            self._subscribe(number, channels, now)
        elif method == "unsubscribe":
            for channel in channels:
                self._wanted.pop(channel.removeprefix("ticker."), None)
            self.out.append(message({"id": number, "method": "unsubscribe", "code": 0}))
        else:
            for _ in range(_REPEATS):
                self._refuse(number, str(method), 40003, "No such method")

    def offer(self, quotes: Sequence[Quote], now: Moment) -> None:
        """Every change of a subscribed instrument."""
        for quote in quotes:
            if quote.symbol in self._wanted:
                self.out.append(self._venue.frame("ticker", quote, now))

    def poll(self, now: Moment) -> None:
        """Heartbeats and protocol pings."""
        timers = self._venue.timers
        if now.mono_ns >= self._beat_ns:
            self._beat_ns = now.mono_ns + int(timers.cryptocom_heartbeat_s * SECOND)
            self._unanswered.append(now.unix_ms)
            self.out.append(message({"id": now.unix_ms, "method": "public/heartbeat", "code": 0}))
            if len(self._unanswered) >= _HEARTBEATS_MAX:
                self.close(1000)
        if now.mono_ns >= self._ping_ns:
            self._ping_ns = now.mono_ns + int(timers.cryptocom_ping_s * SECOND)
            self.ping_due = True

    def maintenance(self, active: Active, now: Moment) -> None:
        """The only sign is the close code."""
        self._restart()

    def _restart(self) -> None:
        self.close(1013, "Server restarting -- try again later")

    def _subscribe(self, number: Any, channels: list[str], now: Moment) -> None:
        for channel in channels:
            kind, _, name = channel.partition(".")
            if kind != "ticker":
                self._refuse(number, "subscribe", 40003, "Unrecognized channel", channel)
            elif name not in self._venue.markets:
                self._refuse(number, "subscribe", 40003, "Unknown symbol", channel)
            elif name not in self._wanted and len(self._wanted) >= self._venue.settings.cryptocom_channels_max:
                for _ in range(_REPEATS):
                    self._refuse(number, "subscribe", 40107, "Maximum subscriptions exceeded", channel)
            else:
                self._first(number, name, now)

    def _first(self, number: Any, name: str, now: Moment) -> None:
        """Send the current state at once: it is the acknowledgement."""
        self._wanted[name] = None
        quote = self._venue.snapshot(name, now)
        if quote is not None:
            whole = isinstance(number, int) and not isinstance(number, bool)
            self.out.append(Frame(self._venue.push(number if whole else -1, quote, now), quote.asset))

    def _refuse(self, number: Any, method: str, code: int, text: str, channel: str = "") -> None:
        about = {"channel": channel} if channel else {}
        self.out.append(message({"id": number, "method": method, "code": code, **about, "message": text}))
