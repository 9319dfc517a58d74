"""OKX's public WebSocket v5: an acknowledgement an argument, text pings, at most one ticker per 100 ms.

Carried is the channel tickers; every other channel is refused as one that does not exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trinity_core.venues import Venue
from trinity_feeds.sandbox.board import Active
from trinity_feeds.sandbox.digits import trimmed
from trinity_feeds.sandbox.quotes import Quote
from trinity_feeds.sandbox.rest import Answer, Bucket, Request, html_answer, json_answer
from trinity_feeds.sandbox.stamps import SECOND, Moment
from trinity_feeds.sandbox.venue import Frame, SandboxVenue, Session, message, parse

_ARGS_MAX = 2000
_NOTICE = "The connection will soon be closed for a service upgrade. Please reconnect."


class OkxVenue(SandboxVenue):
    """OKX: BASE-USDT symbols, and few in USD."""

    venue = Venue.OKX
    ws_path = "/ws/v5/public"
    message_bytes_max = 64 * 1024
    rest_limit = (10, 20)
    connect_limit = (3, 3)

    def session(self, now: Moment) -> OkxSession:
        """A new connection."""
        return OkxSession(venue=self, now=now)

    def too_many(self) -> Answer:
        """HTTP 429."""
        return json_answer({"code": "50011", "data": [], "msg": "Too Many Requests"}, 429)

    def render(self, channel: str, quote: Quote, now: Moment) -> bytes:
        """A push."""
        head = f'{{"arg":{{"channel":"tickers","instId":"{quote.symbol}"}},"data":['
        return head.encode() + row(quote, now) + b"]}"

    def answer(self, request: Request, now: Moment) -> Answer:
        """Tickers and instruments; errors of the API are HTTP 200."""
        match request.parts:
            case ("api", "v5", "market", "ticker"):
                quote = self.shown(request.query.get("instId", ""), now)
                return _missing() if quote is None else _rows([quote], now)
            case ("api", "v5", "market", "tickers"):
                if request.query.get("instType") != "SPOT":
                    return _failure("51000", "Parameter instType error")
                return _rows(self.shown_all(now), now)
            case ("api", "v5", "public", "instruments"):
                return self._instruments(request.query.get("instId"), now)
            case ("api", "v5", "public", "time"):
                return json_answer({"code": "0", "msg": "", "data": [{"ts": str(now.unix_ms)}]})
            case _:
                return html_answer(404)

    def _instruments(self, wanted: str | None, now: Moment) -> Answer:
        rows = []
        for name in (*self.markets, *self.delisted):
            quote = self.shown(name, now)
            base, _, currency = name.partition("-")
            rows.append(
                {
                    "instId": name,
                    "instType": "SPOT",
                    "baseCcy": base,
                    "quoteCcy": currency,
                    "state": "live" if name in self.markets else "suspend",
                    "tickSz": trimmed(1, quote.decimals if quote else 2),
                    "lotSz": trimmed(1, quote.size_decimals if quote else 2),
                    "listTime": "1548133413000",
                }
            )
        if wanted is not None:
            rows = [each for each in rows if each["instId"] == wanted]
        return json_answer({"code": "0", "data": rows, "msg": ""}) if rows else _missing()


def row(quote: Quote, now: Moment) -> bytes:
    """One ticker: every value a string, missing ones empty."""
    last, places, sizes = quote.last or 0, quote.decimals, quote.size_decimals
    return (
        f'{{"instType":"SPOT","instId":"{quote.symbol}","last":"{_price(quote.last, quote)}"'
        f',"lastSz":"{trimmed(quote.last_size, sizes)}","askPx":"{_price(quote.ask, quote)}"'
        f',"askSz":"{trimmed(quote.ask_size, sizes)}","bidPx":"{_price(quote.bid, quote)}"'
        f',"bidSz":"{trimmed(quote.bid_size, sizes)}","open24h":"{trimmed(quote.open, places)}"'
        f',"high24h":"{trimmed(quote.high, places)}","low24h":"{trimmed(quote.low, places)}"'
        f',"sodUtc0":"{trimmed(quote.open, places)}","sodUtc8":"{trimmed(quote.open, places)}"'
        f',"volCcy24h":"{trimmed(quote.volume * last, sizes + places)}","vol24h":"{trimmed(quote.volume, sizes)}"'
        f',"ts":"{now.unix_ms}"}}'
    ).encode()


def _price(units: int | None, quote: Quote) -> str:
    return "" if units is None else trimmed(units, quote.decimals)


def _rows(quotes: Sequence[Quote], now: Moment) -> Answer:
    return Answer(b'{"code":"0","msg":"","data":[' + b",".join(row(quote, now) for quote in quotes) + b"]}")


def _failure(code: str, text: str) -> Answer:
    return json_answer({"code": code, "data": [], "msg": text})


def _missing() -> Answer:
    return _failure("51001", "Instrument ID, Instrument ID code, or Spread ID doesn't exist.")


class OkxSession(Session):
    """One connection to /ws/v5/public."""

    def __init__(self, *, venue: OkxVenue, now: Moment) -> None:
        super().__init__(now=now)
        self._venue = venue
        self._conn_id = venue.hex(8)
        self._wanted: dict[str, int] = {}
        """When each instrument may be pushed again, monotonic nanoseconds."""
        self._waiting: dict[str, Quote] = {}
        """The newest quote of each instrument that changed sooner than it may be pushed."""
        self._operations = Bucket(480 / 3600, 480)
        self._leave_ns: int | None = None
        """When an announced upgrade ends this connection."""

    def subscriptions(self) -> int:
        """Instruments."""
        return len(self._wanted)

    def received(self, text: str | bytes, now: Moment) -> None:
        """The text ping, subscribe and unsubscribe."""
        if text == "ping":
            self.out.append(Frame(b"pong"))
            return
        asked = parse(text)
        operation = asked.get("op") if isinstance(asked, dict) else None
        args = asked.get("args") if isinstance(asked, dict) else None
        if operation not in ("subscribe", "unsubscribe") or not isinstance(args, list) or not args:
            words = text if isinstance(text, str) else text.decode("utf-8", "replace")
            self._error("60012", f"Illegal request: {words[:200]}")
            return
        if self._venue.settings.rate_limits and not self._operations.take(now.mono_ns):
            self._error("60014", "Requests too frequent.")
            return
        number = asked.get("id")
        echo = {"id": number} if isinstance(number, str) and number.isalnum() and len(number) <= 32 else {}
        for arg in args[:_ARGS_MAX]:
            self._change(operation, arg if isinstance(arg, dict) else {}, echo, now)

    def offer(self, quotes: Sequence[Quote], now: Moment) -> None:
        """Changes of subscribed instruments, the newest only and not too often."""
        for quote in quotes:
            if quote.symbol in self._wanted:
                self._waiting[quote.symbol] = quote

    def poll(self, now: Moment) -> None:
        """Push what may be pushed, and end what is silent or was told to leave."""
        timers = self._venue.timers
        if self._waiting:
            self._push(now, int(timers.okx_push_s * SECOND))
        if self._leave_ns is not None and now.mono_ns >= self._leave_ns:
            self.close(1001)
        elif self.quiet_for(now, strict=self._venue.settings.strict_keepalive) >= timers.okx_idle_s:
            self.close(4004, "No data received in 30s.")

    def maintenance(self, active: Active, now: Moment) -> None:
        """A notice, and the end when its time has come; connections opened later stay."""
        self._leave_ns = active.noticed_ns
        self.out.append(message({"event": "notice", "code": "64008", "msg": _NOTICE, "connId": self._conn_id}))

    def _push(self, now: Moment, pause_ns: int) -> None:
        for symbol in [symbol for symbol in self._waiting if self._wanted[symbol] <= now.mono_ns]:
            quote = self._waiting.pop(symbol)
            if not self._venue.faults.frozen(Venue.OKX, quote.asset, now.mono_ns):
                self._wanted[symbol] = now.mono_ns + pause_ns
                self.out.append(self._venue.frame("tickers", quote, now))

    def _change(self, operation: str, arg: dict[str, Any], echo: dict[str, str], now: Moment) -> None:
        channel, name = arg.get("channel"), arg.get("instId")
        if channel != "tickers" or not isinstance(name, str) or name not in self._venue.markets:
            self._error(
                "60018",
                f"Wrong URL or channel:{channel},instId:{name} doesn't exist. "
                "Please use the correct URL, channel and parameters referring to API document.",
                echo,
            )
            return
        reply = {"event": operation, **echo, "arg": {"channel": channel, "instId": name}, "connId": self._conn_id}
        self.out.append(message(reply))
        if operation == "unsubscribe":
            self._wanted.pop(name, None)
            self._waiting.pop(name, None)
        elif name not in self._wanted:
            self._wanted[name] = now.mono_ns + int(self._venue.timers.okx_push_s * SECOND)
            quote = self._venue.snapshot(name, now)
            if quote is not None:
                self.out.append(Frame(self._venue.render("tickers", quote, now), quote.asset))

    def _error(self, code: str, text: str, echo: dict[str, str] | None = None) -> None:
        self.out.append(message({"event": "error", "msg": text, "code": code, **(echo or {}), "connId": self._conn_id}))
