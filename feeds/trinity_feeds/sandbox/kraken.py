"""Kraken's WebSocket v2: an acknowledgement a symbol, JSON numbers, a heartbeat while nothing else is sent.

Carried is the channel ticker, with both triggers and with or without a snapshot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from trinity_core.venues import Venue
from trinity_feeds.sandbox.board import Active
from trinity_feeds.sandbox.digits import number, share
from trinity_feeds.sandbox.faults import Kind
from trinity_feeds.sandbox.kraken_rest import answer
from trinity_feeds.sandbox.quotes import Quote
from trinity_feeds.sandbox.rest import Answer, Bucket, Request, json_answer
from trinity_feeds.sandbox.stamps import SECOND, Moment, rfc3339_us
from trinity_feeds.sandbox.venue import Frame, SandboxVenue, Session, message, parse, strings

_NEVER = "1970-01-01T00:00:00.000000Z"


class KrakenVenue(SandboxVenue):
    """Kraken: BASE/QUOTE symbols with BTC and DOGE."""

    venue = Venue.KRAKEN
    ws_path = "/v2"
    rest_limit = (1, 3)
    connect_limit = (0.25, 150)
    message_limit: ClassVar[tuple[float, float]] = (10, 60)
    """Messages a second, and at once, of one connection."""

    def session(self, now: Moment) -> KrakenSession:
        """A new connection."""
        return KrakenSession(venue=self, now=now)

    def answer(self, request: Request, now: Moment) -> Answer:
        """The public REST calls."""
        return answer(self, request, now)

    def too_many(self) -> Answer:
        """HTTP 200, as for every error of the venue."""
        return json_answer({"error": ["EGeneral:Too many requests"]})

    def system(self, now: Moment) -> str:
        """State of the trading engine."""
        return "maintenance" if self.faults.maintained(self.venue, now.mono_ns) else "online"

    def upcoming(self, now: Moment) -> Active | None:
        """Maintenance that was announced and has not begun."""
        active = self.faults.find(self.venue, Kind.MAINTENANCE)
        return active if active is not None and active.noticed_ns > now.mono_ns else None

    def render(self, channel: str, quote: Quote, now: Moment) -> bytes:
        """A ticker update."""
        return self.ticker("update", quote, now)

    def ticker(self, kind: str, quote: Quote, now: Moment) -> bytes:
        """A ticker frame; missing prices are zeros from 1970, as for a pair that never traded."""
        places, sizes = quote.decimals, quote.size_decimals
        bid, ask, last = quote.bid or 0, quote.ask or 0, quote.last or 0
        vwap = (quote.high + quote.low + 2 * last) // 4
        stamp = _NEVER if quote.last is None else rfc3339_us(now.unix_ns)
        return (
            f'{{"channel":"ticker","type":"{kind}","data":[{{"symbol":"{quote.symbol}"'
            f',"bid":{number(bid, places)},"bid_qty":{number(quote.bid_size, sizes)}'
            f',"ask":{number(ask, places)},"ask_qty":{number(quote.ask_size, sizes)}'
            f',"last":{number(last, places)},"volume":{number(quote.volume, sizes)},"vwap":{number(vwap, places)}'
            f',"low":{number(quote.low, places)},"high":{number(quote.high, places)}'
            f',"change":{number(last - quote.open, places)}'
            f',"change_pct":{share(100 * (last - quote.open), quote.open, 2)}'
            f',"trades":{1000 + quote.sequence},"timestamp":"{stamp}"}}]}}'
        ).encode()


class KrakenSession(Session):
    """One connection to /v2."""

    def __init__(self, *, venue: KrakenVenue, now: Moment) -> None:
        super().__init__(now=now)
        self._venue = venue
        self._connection_id = venue.random.getrandbits(64) | 1 << 63  # often more than a signed integer holds
        self._wanted: dict[str, str] = {}
        """Trigger of each subscribed symbol."""
        self._subscribed_once = False
        self._messages = Bucket(*venue.message_limit)
        self._told = ("", 0)
        """The state that the client was last told, and the number of the maintenance announced with it."""
        self._tell_status(now)

    def subscriptions(self) -> int:
        """Symbols."""
        return len(self._wanted)

    def received(self, text: str | bytes, now: Moment) -> None:
        """subscribe, unsubscribe and ping."""
        asked = parse(text)
        method = asked.get("method") if isinstance(asked, dict) else None
        if not isinstance(asked, dict) or not isinstance(method, str):
            self._refuse(now, method="error", text="Malformed request", asked={})
        elif self._venue.settings.rate_limits and not self._messages.take(now.mono_ns):
            self._refuse(now, method=method, text="Exceeded msg rate", asked=asked)
        elif method == "ping":
            self.out.append(message({"method": "pong", **_number(asked), **_times(now)}))
        elif method in ("subscribe", "unsubscribe"):
            self._change(asked, method, now)
        else:
            self._refuse(now, method=method, text="Method not supported", asked=asked)

    def offer(self, quotes: Sequence[Quote], now: Moment) -> None:
        """Updates of subscribed symbols; of those with the trigger trades only when there was a trade."""
        for quote in quotes:
            trigger = self._wanted.get(quote.symbol)
            if trigger is not None and (quote.traded or trigger == "bbo"):
                self.out.append(self._venue.frame("ticker", quote, now))

    def poll(self, now: Moment) -> None:
        """Status changes, heartbeats, and the end of a silent connection."""
        timers = self._venue.timers
        self._tell_status(now)
        if self.quiet_for(now, strict=self._venue.settings.strict_keepalive) >= timers.kraken_idle_s:
            self.close(1000)
        elif (
            self._subscribed_once and not self.out and now.mono_ns - self.sent_ns >= timers.kraken_heartbeat_s * SECOND
        ):
            self.out.append(Frame(b'{"channel":"heartbeat"}'))

    def maintenance(self, active: Active, now: Moment) -> None:
        """Nothing to do: the connection stays and `poll` tells each change of state."""

    def _change(self, asked: dict[str, Any], method: str, now: Moment) -> None:
        params = asked.get("params")
        params = params if isinstance(params, dict) else {}
        channel, symbols = params.get("channel"), strings(params.get("symbol"))
        trigger = params.get("event_trigger", "trades")
        snapshot = params.get("snapshot", True) is not False
        if channel != "ticker" or trigger not in ("trades", "bbo"):
            self._refuse(now, method=method, text=f"Channel not supported {channel}", asked=asked)
        elif not symbols:
            self._refuse(now, method=method, text="Malformed request", asked=asked)
        else:
            for symbol in symbols:
                if method == "subscribe":
                    self._subscribe(asked, symbol, str(trigger), snapshot=snapshot, now=now)
                else:
                    self._unsubscribe(asked, symbol, now)

    def _subscribe(self, asked: dict[str, Any], symbol: str, trigger: str, *, snapshot: bool, now: Moment) -> None:
        if symbol not in self._venue.markets:
            self._refuse(
                now, method="subscribe", text=f"Currency pair not supported {symbol}", asked=asked, symbol=symbol
            )
            return
        if symbol in self._wanted:
            self._refuse(now, method="subscribe", text="Already subscribed", asked=asked, symbol=symbol)
            return
        self._wanted[symbol] = trigger
        self._subscribed_once = True
        result = {"channel": "ticker", "event_trigger": trigger, "snapshot": snapshot, "symbol": symbol}
        self._accept("subscribe", asked, result, now)
        quote = self._venue.snapshot(symbol, now) if snapshot else None
        if quote is not None:
            self.out.append(Frame(self._venue.ticker("snapshot", quote, now), quote.asset))

    def _unsubscribe(self, asked: dict[str, Any], symbol: str, now: Moment) -> None:
        trigger = self._wanted.pop(symbol, None)
        if trigger is None:
            self._refuse(now, method="unsubscribe", text="Subscription Not Found", asked=asked, symbol=symbol)
            return
        self._accept("unsubscribe", asked, {"channel": "ticker", "event_trigger": trigger, "symbol": symbol}, now)

    def _accept(self, method: str, asked: dict[str, Any], result: dict[str, Any], now: Moment) -> None:
        self.out.append(message({"method": method, **_number(asked), "result": result, "success": True, **_times(now)}))

    def _refuse(self, now: Moment, *, method: str, text: str, asked: dict[str, Any], symbol: str = "") -> None:
        about = {"symbol": symbol} if symbol else {}
        self.out.append(
            message({"error": text, "method": method, **_number(asked), "success": False, **about, **_times(now)})
        )

    def _tell_status(self, now: Moment) -> None:
        upcoming = self._venue.upcoming(now)
        told = (self._venue.system(now), upcoming.number if upcoming else 0)
        if told == self._told:
            return
        self._told = told
        state: dict[str, Any] = {
            "version": "2.0.10",
            "system": told[0],
            "api_version": "v2",
            "connection_id": self._connection_id,
        }
        if upcoming is not None:
            state["upcoming_maintenance"] = [_announcement(upcoming, now)]
        self.out.append(message({"channel": "status", "type": "update", "data": [state]}))


def _announcement(active: Active, now: Moment) -> dict[str, Any]:
    offset = now.unix_ns - now.mono_ns
    return {
        "expected_start_utc": rfc3339_us(active.noticed_ns + offset),
        "expected_end_utc": rfc3339_us(active.until_ns + offset),
        "phase": "scheduled",
        "affected_services": ["spot"],
        "recommended_action": "reconnect",
        "order_submission": "disabled",
    }


def _number(asked: dict[str, Any]) -> dict[str, Any]:
    """The request's own number, repeated where there was one."""
    return {"req_id": asked["req_id"]} if isinstance(asked.get("req_id"), int) else {}


def _times(now: Moment) -> dict[str, str]:
    return {"time_in": rfc3339_us(now.unix_ns), "time_out": rfc3339_us(now.unix_ns + 45_000)}
