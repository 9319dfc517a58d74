"""Gate.io's spot WebSocket v4: channels with payload lists, where one bad pair spoils the request.

Carried are spot.tickers, spot.book_ticker and spot.ping. Text that is not JSON gets no reply. A connection
without traffic ends without a close frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trinity_core.venues import Venue
from trinity_feeds.sandbox.digits import share, trimmed
from trinity_feeds.sandbox.quotes import Quote
from trinity_feeds.sandbox.rest import Answer, Request, json_answer
from trinity_feeds.sandbox.stamps import SECOND, Moment
from trinity_feeds.sandbox.venue import SandboxVenue, Session, message, parse

_CHANNELS = ("spot.tickers", "spot.book_ticker")
_FIRST_ID = 8_400_000_000


class GateioVenue(SandboxVenue):
    """Gate.io: BASE_USDT symbols, upper case only."""

    venue = Venue.GATEIO
    ws_path = "/ws/v4/"
    rest_limit = (20, 200)
    connect_limit = (100, 100)

    def session(self, now: Moment) -> GateioSession:
        """A new connection."""
        return GateioSession(venue=self, now=now)

    def too_many(self) -> Answer:
        """HTTP 429."""
        return _failure("TOO_MANY_REQUESTS", "Request Rate limit Exceeded (311)", 429)

    def render(self, channel: str, quote: Quote, now: Moment) -> bytes:
        """A ticker or the best bid and ask; a missing side is an empty string."""
        head = (
            f'{{"time":{now.unix_ns // SECOND},"time_ms":{now.unix_ms},"channel":"{channel}","event":"update","result":'
        )
        if channel == "spot.book_ticker":
            return (
                f'{head}{{"t":{now.unix_ms - 4},"u":{_FIRST_ID + quote.sequence},"s":"{quote.symbol}"'
                f',"b":"{_price(quote.bid, quote)}","B":"{trimmed(quote.bid_size, quote.size_decimals)}"'
                f',"a":"{_price(quote.ask, quote)}","A":"{trimmed(quote.ask_size, quote.size_decimals)}"}}}}'
            ).encode()
        last = quote.last or 0
        quoted = trimmed(quote.volume * last, quote.size_decimals + quote.decimals)
        return (
            f'{head}{{"currency_pair":"{quote.symbol}","last":"{_price(quote.last, quote)}"'
            f',"lowest_ask":"{_price(quote.ask, quote)}","highest_bid":"{_price(quote.bid, quote)}"'
            f',"change_percentage":"{share(100 * (last - quote.open), quote.open, 4)}"'
            f',"base_volume":"{trimmed(quote.volume, quote.size_decimals)}","quote_volume":"{quoted}"'
            f',"high_24h":"{_price(quote.high, quote)}","low_24h":"{_price(quote.low, quote)}"}}}}'
        ).encode()

    def answer(self, request: Request, now: Moment) -> Answer:
        """Tickers, always as a list, and the currency pairs."""
        match request.parts:
            case ("api", "v4", "spot", "tickers"):
                pair = request.query.get("currency_pair")
                if pair is None:
                    return json_answer([_row(quote) for quote in self.shown_all(now)])
                quote = self.shown(pair, now)
                return self._unknown(pair) if quote is None else json_answer([_row(quote)])
            case ("api", "v4", "spot", "currency_pairs"):
                known = [*((pair, True) for pair in self.markets), *((pair, False) for pair in self.delisted)]
                return json_answer([self._pair(pair, now, open_=is_open) for pair, is_open in known])
            case ("api", "v4", "spot", "currency_pairs", pair):
                if pair not in self.markets and pair not in self.delisted:
                    return self._unknown(pair)
                return json_answer(self._pair(pair, now, open_=pair in self.markets))
            case _:
                return _failure("NOT_FOUND", "not found", 404)

    def _unknown(self, pair: str) -> Answer:
        base, line, quote = pair.partition("_")
        if not line or not base or not quote.isalnum():
            return _failure("INVALID_CURRENCY_PAIR", f"Invalid currency pair {pair}", 400)
        return _failure("INVALID_CURRENCY", f"Invalid currency {base}", 400)

    def _pair(self, pair: str, now: Moment, *, open_: bool) -> dict[str, Any]:
        quote = self.shown(pair, now)
        base, _, currency = pair.partition("_")
        return {
            "id": pair,
            "base": base,
            "quote": currency,
            "fee": "0.2",
            "min_quote_amount": "1",
            "amount_precision": quote.size_decimals if quote else 2,
            "precision": quote.decimals if quote else 2,
            "trade_status": "tradable" if open_ else "untradable",
            "sell_start": 0,
            "buy_start": 0,
        }


def _failure(label: str, text: str, status: int) -> Answer:
    return json_answer({"label": label, "message": text}, status)


def _price(units: int | None, quote: Quote) -> str:
    return "" if units is None else trimmed(units, quote.decimals)


def _row(quote: Quote) -> dict[str, str]:
    last = quote.last or 0
    change = 100 * (last - quote.open)
    return {
        "currency_pair": quote.symbol,
        "last": _price(quote.last, quote),
        "lowest_ask": _price(quote.ask, quote),
        "highest_bid": _price(quote.bid, quote),
        "change_percentage": share(change, quote.open, 2),
        "change_utc0": share(change // 3, quote.open, 2),
        "change_utc8": share(change // 2, quote.open, 2),
        "base_volume": trimmed(quote.volume, quote.size_decimals),
        "quote_volume": trimmed(quote.volume * last, quote.size_decimals + quote.decimals),
        "high_24h": _price(quote.high, quote),
        "low_24h": _price(quote.low, quote),
    }


class GateioSession(Session):
    """One connection."""

    def __init__(self, *, venue: GateioVenue, now: Moment) -> None:
        super().__init__(now=now)
        self._venue = venue
        self._conn_id = venue.hex(16)
        self._wanted: dict[str, set[str]] = {channel: set() for channel in _CHANNELS}

    def subscriptions(self) -> int:
        """Pairs over both channels."""
        return sum(len(pairs) for pairs in self._wanted.values())

    def received(self, text: str | bytes, now: Moment) -> None:
        """spot.ping, subscribe and unsubscribe."""
        asked = parse(text)
        if not isinstance(asked, dict):
            return  # as the venue does: no reply
        channel, event = asked.get("channel"), asked.get("event")
        if channel == "spot.ping":
            self._reply(now, asked, channel="spot.pong", event="", result=None)
        elif channel not in _CHANNELS:
            self._fail(now, asked, f"Unknown channel {channel}")
        elif event not in ("subscribe", "unsubscribe"):
            self._fail(now, asked, f"Unknown event {event}")
        else:
            self._change(asked, str(channel), now, wanted=event == "subscribe")

    def offer(self, quotes: Sequence[Quote], now: Moment) -> None:
        """Both channels push every change."""
        for channel, pairs in self._wanted.items():
            if pairs:
                frames = (self._venue.frame(channel, quote, now) for quote in quotes if quote.symbol in pairs)
                self.out.extend(frames)

    def poll(self, now: Moment) -> None:
        """A connection without traffic is dropped; sooner when it never subscribed."""
        timers = self._venue.timers
        bound = timers.gateio_idle_s if self.subscriptions() else timers.gateio_unsubscribed_s
        if self.quiet_for(now, strict=self._venue.settings.strict_keepalive) >= bound:
            self.close(None)

    def _change(self, asked: dict[str, Any], channel: str, now: Moment, *, wanted: bool) -> None:
        payload = asked.get("payload")
        pairs = payload if isinstance(payload, list) else []
        if not pairs:
            self._fail(now, asked, "invalid payload")
            return
        for pair in pairs:
            if not isinstance(pair, str) or pair not in self._venue.markets:
                self._fail(now, asked, f"unknown currency pair: {pair}")
                return  # the whole request is spoilt
        if wanted:
            self._wanted[channel].update(pairs)
        else:
            self._wanted[channel].difference_update(pairs)
        self._reply(now, asked, channel=channel, event=str(asked["event"]), result={"status": "success"}, echo=True)

    def _fail(self, now: Moment, asked: dict[str, Any], text: str) -> None:
        self._reply(
            now,
            asked,
            channel=str(asked.get("channel", "")),
            event=str(asked.get("event", "")),
            result={"status": "fail"},
            error={"code": 2, "message": text},
            echo=True,
        )

    def _reply(
        self,
        now: Moment,
        asked: dict[str, Any],
        *,
        channel: str,
        event: str,
        result: Any,
        error: Any = None,
        echo: bool = False,
    ) -> None:
        trace = self._venue.hex(32)
        reply: dict[str, Any] = {"time": now.unix_ns // SECOND, "time_ms": now.unix_ms}
        if "id" in asked:
            reply["id"] = asked["id"]
        reply["conn_id"] = self._conn_id
        if echo:
            reply["trace_id"] = trace
        reply |= {"channel": channel, "event": event}
        if echo and "payload" in asked:
            reply["payload"] = asked["payload"]
        if error is not None:
            reply["error"] = error
        self.out.append(message(reply | {"result": result, "requestId": trace}))
