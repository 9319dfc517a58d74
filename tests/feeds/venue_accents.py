"""How each venue says the same things: a ticker, an acknowledgement, a refusal, a quote. Small, plain, made by hand."""

from __future__ import annotations

import itertools
import json
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from trinity_core.errors import Reason
from trinity_core.venues import Venue

MISSING = object()
"""A field that the frame does not have at all."""
TIME_MS = 1_790_000_000_123


class Accent(ABC):
    """One venue. Roles of a ticker's fields: price, bid, ask, volume, time."""

    venue: ClassVar[Venue]
    pair: ClassVar[tuple[str, str]]
    """Two symbols of our table."""
    stranger: ClassVar[str]
    """A symbol in the venue's spelling that no table has."""
    fields: ClassVar[dict[str, str]]
    rest_fields: ClassVar[dict[str, str]]
    rest_errors: ClassVar[tuple[tuple[int, bytes, Reason], ...]]
    values: ClassVar[dict[str, Any]] = {"price": "1.50", "bid": "1.4", "ask": "1.60", "volume": "3.000"}
    silent_frame: ClassVar[Any] = None
    """A sign of life that holds no data."""

    def __init__(self) -> None:
        self.numbers = itertools.count(1_000)

    def row(self, fields: dict[str, str], time: Any, given: dict[str, Any]) -> dict[str, Any]:
        """A ticker's fields, by role."""
        chosen = self.values | {"time": time} | given
        return {name: chosen[role] for role, name in fields.items() if chosen[role] is not MISSING}

    @abstractmethod
    def ticker(self, symbol: str, **given: Any) -> Any:
        """A ticker frame of one symbol."""

    @abstractmethod
    def asked(self, frame: Any) -> list[str]:
        """Symbols that a frame of ours subscribes; empty for every other frame."""

    @abstractmethod
    def answer(self, frame: Any) -> list[Any]:
        """The venue's replies to a frame of ours while all is well."""

    @abstractmethod
    def refuse(self, frame: Any, bad: str) -> list[Any]:
        """The replies where `bad` is not a symbol of the venue."""

    @abstractmethod
    def rest(self, symbol: str, **given: Any) -> Any:
        """The body of a quote."""


class CoinbaseAccent(Accent):
    venue = Venue.COINBASE
    pair = ("BTC-USD", "ETH-USD")
    stranger = "BAND-GBP"
    fields: ClassVar = {"price": "price", "bid": "best_bid", "ask": "best_ask", "volume": "volume_24_h"}
    rest_fields: ClassVar = {"price": "price", "bid": "bid", "ask": "ask", "volume": "volume", "time": "time"}
    rest_errors = (
        (404, b'{"message":"NotFound"}', Reason.NOT_LISTED),
        (400, b'{"message":"Not allowed for delisted products"}', Reason.NOT_LISTED),
        (429, b'{"message":"Public rate limit exceeded"}', Reason.VENUE_RATE_LIMITED),
        (500, b'{"message":"Internal server error"}', Reason.VENUE_UNAVAILABLE),
        (403, b"<html>Access denied</html>", Reason.VENUE_UNAVAILABLE),
        (200, b'{"message":"something new"}', Reason.VENUE_UNAVAILABLE),
    )
    silent_frame: ClassVar = {"channel": "heartbeats", "timestamp": "2026-09-21T12:00:00Z", "events": []}

    def __init__(self) -> None:
        super().__init__()
        self.active: dict[str, None] = {}

    def ticker(self, symbol: str, **given: Any) -> Any:
        time = given.pop("time", "2026-09-21T14:13:20.123Z")
        event = {
            "type": "update",
            "tickers": [{"type": "ticker", "product_id": symbol} | self.row(self.fields, None, given)],
        }
        return {"channel": "ticker", "client_id": "", "timestamp": time, "events": [event]}

    def asked(self, frame: Any) -> list[str]:
        return frame["product_ids"] if frame["type"] == "subscribe" and frame["channel"] == "ticker" else []

    def answer(self, frame: Any) -> list[Any]:
        self.active |= dict.fromkeys(self.asked(frame))
        events = [{"subscriptions": {"ticker": list(self.active), "heartbeats": ["heartbeats"]}}]
        return [{"channel": "subscriptions", "timestamp": "2026-09-21T12:00:00Z", "events": events}]

    def refuse(self, frame: Any, bad: str) -> list[Any]:
        if bad not in self.asked(frame):
            return self.answer(frame)
        error = {"type": "error", "message": "Failed to subscribe", "reason": f"{bad} is not a valid product"}
        kept = frame | {"product_ids": [symbol for symbol in frame["product_ids"] if symbol != bad]}
        return [error, *self.answer(kept)]

    def rest(self, symbol: str, **given: Any) -> Any:
        return {"trade_id": 1, "size": "0.1", "rfq_volume": "0"} | self.row(
            self.rest_fields, "2026-09-21T14:13:20.123Z", given
        )


class GeminiAccent(Accent):
    venue = Venue.GEMINI
    pair = ("btcusd", "ethusd")
    stranger = "ampgusd"
    fields: ClassVar = {"price": "c", "bid": "b", "ask": "a", "time": "E"}
    rest_fields: ClassVar = {"price": "last", "bid": "bid", "ask": "ask"}
    rest_errors = (
        (400, b'{"result":"error","reason":"InvalidSymbol","message":"bad"}', Reason.NOT_LISTED),
        (
            404,
            b'{"result":"error","reason":"EndpointNotFound","message":"API entry point not found"}',
            Reason.NOT_LISTED,
        ),
        (429, b'{"result":"error","reason":"RateLimit","message":"slow down"}', Reason.VENUE_RATE_LIMITED),
        (400, b'{"result":"error","reason":"RateLimited","message":"slow down"}', Reason.VENUE_RATE_LIMITED),
        (503, b'{"result":"error","reason":"Maintenance","message":"back soon"}', Reason.VENUE_UNAVAILABLE),
        (200, b'{"result":"error","reason":"System","message":"oops"}', Reason.VENUE_UNAVAILABLE),
    )
    silent_frame: ClassVar = {"id": 1_000_000_000, "status": 200}

    def ticker(self, symbol: str, **given: Any) -> Any:
        number = given.pop("sequence", None) or next(self.numbers)
        return {"u": number, "s": symbol, "B": "1", "A": "1", "C": "1"} | self.row(
            self.fields, TIME_MS * 1_000_000, given
        )

    def asked(self, frame: Any) -> list[str]:
        return [name.split("@")[0] for name in frame["params"]] if frame["method"] == "subscribe" else []

    def answer(self, frame: Any) -> list[Any]:
        return [{"id": frame["id"], "status": 200}]

    def refuse(self, frame: Any, bad: str) -> list[Any]:
        if bad not in self.asked(frame):
            return self.answer(frame)
        return [{"id": frame["id"], "status": 400, "error": {"code": -1013, "msg": "Invalid stream name"}}]

    def rest(self, symbol: str, **given: Any) -> Any:
        volume = {"BTC": given.pop("volume", "3.000"), "USD": "99", "timestamp": given.pop("time", TIME_MS)}
        return self.row(self.rest_fields, None, given) | {"volume": volume}


class KrakenAccent(Accent):
    venue = Venue.KRAKEN
    pair = ("BTC/USD", "ETH/USD")
    stranger = "ALGO/EUR"
    fields: ClassVar = {"price": "last", "bid": "bid", "ask": "ask", "volume": "volume", "time": "timestamp"}
    rest_errors = (
        (200, b'{"error":["EQuery:Unknown asset pair"]}', Reason.NOT_LISTED),
        (200, b'{"error":["EGeneral:Too many requests"]}', Reason.VENUE_RATE_LIMITED),
        (429, b"", Reason.VENUE_RATE_LIMITED),
        (200, b'{"error":["EService:Unavailable"]}', Reason.VENUE_UNAVAILABLE),
        (200, b'{"error":["EService:Busy"]}', Reason.VENUE_UNAVAILABLE),
        (520, b"<html>", Reason.VENUE_UNAVAILABLE),
        (200, b'{"error":[],"result":{}}', Reason.VENUE_UNAVAILABLE),
    )
    silent_frame: ClassVar = {"channel": "heartbeat"}

    def ticker(self, symbol: str, **given: Any) -> Any:
        row = {"symbol": symbol, "bid_qty": 1, "vwap": 1} | self.row(self.fields, "2026-09-21T14:13:20.123000Z", given)
        text = json.dumps({"channel": "ticker", "type": "update", "data": [row]})
        for value in self.values.values():
            text = text.replace(f'"{value}"', value)
        return text

    def asked(self, frame: Any) -> list[str]:
        return frame["params"]["symbol"] if frame["method"] == "subscribe" else []

    def answer(self, frame: Any) -> list[Any]:
        if frame["method"] == "ping":
            return [{"method": "pong", "time_in": "x", "time_out": "y"}]
        return [self.ack(symbol) for symbol in self.asked(frame)]

    def ack(self, symbol: str) -> Any:
        result = {"channel": "ticker", "event_trigger": "bbo", "snapshot": True, "symbol": symbol}
        return {"method": "subscribe", "result": result, "success": True, "time_in": "x", "time_out": "y"}

    def refuse(self, frame: Any, bad: str) -> list[Any]:
        error = {"error": f"Currency pair not supported {bad}", "method": "subscribe", "success": False, "symbol": bad}
        return [error if symbol == bad else self.ack(symbol) for symbol in self.asked(frame)]

    def rest(self, symbol: str, **given: Any) -> Any:
        row = self.row({"price": "c", "bid": "b", "ask": "a", "volume": "v"}, None, given)
        lists = {name: ["7", value] if name == "v" else [value, "1", "1.000"] for name, value in row.items()}
        return {"error": [], "result": {symbol: lists}}


class GateioAccent(Accent):
    venue = Venue.GATEIO
    pair = ("BTC_USDT", "ETH_USDT")
    stranger = "NEO_BTC"
    fields: ClassVar = {"price": "last", "bid": "highest_bid", "ask": "lowest_ask", "volume": "base_volume"}
    rest_fields = fields
    rest_errors = (
        (400, b'{"label":"INVALID_CURRENCY","message":"Invalid currency NOPE"}', Reason.NOT_LISTED),
        (400, b'{"label":"INVALID_CURRENCY_PAIR","message":"Invalid currency pair"}', Reason.NOT_LISTED),
        (429, b'{"label":"TOO_MANY_REQUESTS","message":"Request Rate Limit Exceeded"}', Reason.VENUE_RATE_LIMITED),
        (400, b'{"label":"TOO_MANY_REQUESTS","message":"Request Rate Limit Exceeded"}', Reason.VENUE_RATE_LIMITED),
        (502, b"", Reason.VENUE_UNAVAILABLE),
        (400, b'{"label":"SERVER_ERROR","message":"?"}', Reason.VENUE_UNAVAILABLE),
        (200, b"[]", Reason.VENUE_UNAVAILABLE),
    )
    silent_frame: ClassVar = {"time": 1790000000, "channel": "spot.pong", "event": "", "result": None}

    def ticker(self, symbol: str, **given: Any) -> Any:
        time = {} if given.get("time") is MISSING else {"time_ms": given.get("time", TIME_MS)}
        given.pop("time", None)
        row = {"currency_pair": symbol} | self.row(self.fields, None, given)
        return time | {"channel": "spot.tickers", "event": "update", "result": row}

    def asked(self, frame: Any) -> list[str]:
        return frame["payload"] if frame.get("event") == "subscribe" else []

    def answer(self, frame: Any) -> list[Any]:
        if frame["channel"] == "spot.ping":
            return [self.silent_frame]
        answer = {name: frame[name] for name in ("time", "id", "channel", "event")}
        return [answer | {"error": None, "result": {"status": "success"}}]

    def refuse(self, frame: Any, bad: str) -> list[Any]:
        if bad not in self.asked(frame):
            return self.answer(frame)
        error = {"code": 2, "message": f"unknown currency pair: {bad}"}
        return [
            {
                "channel": "spot.tickers",
                "event": "subscribe",
                "id": frame["id"],
                "error": error,
                "result": {"status": "fail"},
            }
        ]

    def rest(self, symbol: str, **given: Any) -> Any:
        return [{"currency_pair": symbol} | self.row(self.fields, None, given)]


class CryptocomAccent(Accent):
    venue = Venue.CRYPTOCOM
    pair = ("BTC_USD", "ETH_USD")
    stranger = "BAND_USDT"
    fields: ClassVar = {"price": "a", "bid": "b", "ask": "k", "volume": "v", "time": "t"}
    rest_errors = (
        (
            400,
            b'{"id":-1,"method":"public/get-tickers","code":40004,"message":"Invalid instrument_name"}',
            Reason.NOT_LISTED,
        ),
        (404, b'{"id":-1,"code":30002,"message":"not found"}', Reason.NOT_LISTED),
        (200, b'{"id":-1,"code":0,"result":{"data":[]}}', Reason.NOT_LISTED),
        (429, b'{"id":-1,"code":42901,"message":"Too many requests"}', Reason.VENUE_RATE_LIMITED),
        (200, b'{"id":-1,"code":42901,"message":"Too many requests"}', Reason.VENUE_RATE_LIMITED),
        (500, b'{"id":-1,"code":50001,"message":"ERR_INTERNAL"}', Reason.VENUE_UNAVAILABLE),
        (200, b'{"id":-1,"code":50001,"message":"ERR_INTERNAL"}', Reason.VENUE_UNAVAILABLE),
    )
    silent_frame: ClassVar = {"id": 1790000000000, "method": "public/heartbeat", "code": 0}

    def ticker(self, symbol: str, **given: Any) -> Any:
        row = {"h": "2", "l": "1", "i": symbol, "oi": "0"} | self.row(self.fields, TIME_MS, given)
        result = {"instrument_name": symbol, "subscription": f"ticker.{symbol}", "channel": "ticker", "data": [row]}
        return {"id": -1, "method": "subscribe", "code": 0, "result": result}

    def asked(self, frame: Any) -> list[str]:
        names = frame.get("params", {}).get("channels", [])
        return [name.removeprefix("ticker.") for name in names] if frame["method"] == "subscribe" else []

    def answer(self, frame: Any) -> list[Any]:
        return [self.ticker(symbol) | {"id": frame["id"]} for symbol in self.asked(frame)]

    def refuse(self, frame: Any, bad: str) -> list[Any]:
        error = {"id": 1, "method": "subscribe", "code": 40003, "channel": f"ticker.{bad}", "message": "Unknown symbol"}
        return [error if symbol == bad else self.ticker(symbol) for symbol in self.asked(frame)]

    def rest(self, symbol: str, **given: Any) -> Any:
        row = {"i": symbol} | self.row(self.fields, TIME_MS, given)
        return {"id": -1, "method": "public/get-tickers", "code": 0, "result": {"data": [row]}}


class OkxAccent(Accent):
    venue = Venue.OKX
    pair = ("BTC-USDT", "ETH-USDT")
    stranger = "FUN-BTC"
    fields: ClassVar = {"price": "last", "bid": "bidPx", "ask": "askPx", "volume": "vol24h", "time": "ts"}
    rest_errors = (
        (200, b'{"code":"51001","msg":"Instrument ID does not exist.","data":[]}', Reason.NOT_LISTED),
        (200, b'{"code":"50011","msg":"Too Many Requests","data":[]}', Reason.VENUE_RATE_LIMITED),
        (429, b'{"code":"50011","msg":"Too Many Requests","data":[]}', Reason.VENUE_RATE_LIMITED),
        (200, b'{"code":"50001","msg":"Service temporarily unavailable","data":[]}', Reason.VENUE_UNAVAILABLE),
        (503, b"", Reason.VENUE_UNAVAILABLE),
        (200, b'{"code":"0","msg":"","data":[]}', Reason.VENUE_UNAVAILABLE),
    )
    silent_frame = "pong"

    def ticker(self, symbol: str, **given: Any) -> Any:
        row = {"instType": "SPOT", "instId": symbol, "open24h": "1"} | self.row(self.fields, str(TIME_MS), given)
        return {"arg": {"channel": "tickers", "instId": symbol}, "data": [row]}

    def asked(self, frame: Any) -> list[str]:
        return [arg["instId"] for arg in frame["args"]] if frame != "ping" and frame["op"] == "subscribe" else []

    def answer(self, frame: Any) -> list[Any]:
        return ["pong"] if frame == "ping" else [self.ack(frame["op"], arg["instId"]) for arg in frame["args"]]

    def ack(self, event: str, symbol: str) -> Any:
        return {"event": event, "arg": {"channel": "tickers", "instId": symbol}, "connId": "a1b2"}

    def refuse(self, frame: Any, bad: str) -> list[Any]:
        words = f"Wrong URL or channel:tickers,instId:{bad} doesn't exist. Please use the correct URL."
        error = {"event": "error", "code": "60018", "msg": words, "connId": "a1b2"}
        if bad not in self.asked(frame):
            return self.answer(frame)
        return [error if symbol == bad else self.ack("subscribe", symbol) for symbol in self.asked(frame)]

    def rest(self, symbol: str, **given: Any) -> Any:
        row = {"instType": "SPOT", "instId": symbol} | self.row(self.fields, str(TIME_MS), given)
        return {"code": "0", "msg": "", "data": [row]}


ACCENTS = (CoinbaseAccent, GeminiAccent, KrakenAccent, GateioAccent, CryptocomAccent, OkxAccent)
