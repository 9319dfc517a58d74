"""A venue with the plainest protocol there can be, and a server that speaks it as a test directs.

Lines from the venue: `tick ASSET PRICE NUMBER`, `notice` (it will cut the connection soon),
`leave CODE REASON` (the session shall close), `ask N` (answered by `reply N`), `bug` (the session fails).
Lines to the venue: `subscribe ASSET,ASSET`, `reply N`, `ping`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from http import HTTPStatus

from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from trinity_core.assets import Listing
from trinity_core.errors import Reason, TrinityError
from trinity_core.ticks import Tick
from trinity_core.venues import Venue
from trinity_feeds.session import (
    ConnectLimit,
    Keepalive,
    QuoteRequest,
    RateLimit,
    Session,
)
from trinity_feeds.subscriptions import Ask, Pace

LISTINGS = [(asset, Listing(Venue.KRAKEN, asset, "USD")) for asset in ("BTC", "ETH")]


class PlainSession(Session):
    """Speaks the protocol above."""

    venue = Venue.KRAKEN
    connect_url_default = "wss://plain.invalid"
    connect_limit = ConnectLimit(attempts=1_000, window_ms=1_000)
    rest_url_default = "https://plain.invalid"
    rest_limit = RateLimit(calls=10, window_ms=1_000)
    pace = Pace(batch_max=100, interval_ms=0)
    keepalive = Keepalive(silent_ms=60_000, ping_ms=30_000)

    def receive(self, frame: str | bytes, mono_ns: int, unix_ns: int) -> list[Tick]:
        if frame == b"bug":
            raise RuntimeError("a bug in a session")
        return super().receive(frame, mono_ns, unix_ns)

    def _read(self, frame: str | bytes, mono_ns: int, unix_ns: int) -> list[Tick]:
        text = frame.decode() if isinstance(frame, bytes) else frame
        match text.split():
            case ["tick", asset, price, number]:
                market = self._markets[asset]
                tick = self._tick(market, Decimal(price), None, None, None, None, int(number), mono_ns, unix_ns)
                assert tick is not None
                return [tick]
            case ["notice"]:
                self._maintenance_began("the venue will cut")
                self._close("the venue will cut")
                return self._ignored()
            case ["leave", code, reason]:
                self._close(reason, int(code))
                return self._ignored()
            case ["ask", number]:
                self._outgoing.append(f"reply {number}")
                return self._ignored()
        return self._unknown()

    def _subscribe(self, ask: Ask) -> list[str]:
        return [f"subscribe {','.join(market.symbol for market in ask.markets)}"]

    def _unsubscribe(self, ask: Ask) -> list[str]:
        return [f"unsubscribe {','.join(market.symbol for market in ask.markets)}"]

    def _ping(self) -> str:
        return "ping"

    @classmethod
    def market_of(cls, symbol: str) -> tuple[str, str] | None:
        return symbol, "USD"

    @classmethod
    def quote_request(cls, listing: Listing) -> QuoteRequest:
        return QuoteRequest("/quote", {"pair": listing.symbol})

    @classmethod
    def parse_quote(
        cls,
        asset: str,
        listing: Listing,
        *,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        mono_ns: int,
        unix_ns: int,
    ) -> Tick:
        if status == 429:
            wait_ms = int(headers.get("retry-after", "1")) * 1_000
            raise TrinityError(Reason.VENUE_RATE_LIMITED, "too often", retry_after_ms=wait_ms)
        if status == 404:
            raise TrinityError(Reason.NOT_LISTED, "no such pair")
        if status != 200:
            raise TrinityError(Reason.VENUE_UNAVAILABLE, f"status {status}")
        price = Decimal(body.decode())
        return Tick(
            cls.venue, asset, listing.symbol, listing.quote, price, None, None, None, None, None, unix_ns, mono_ns, True
        )


class PlainVenue:
    """The server: every connection that subscribed waits in `arrivals` for the test to direct it."""

    def __init__(self) -> None:
        self.arrivals: asyncio.Queue[ServerConnection] = asyncio.Queue()
        self.attempts = 0
        self.drop_next = 0
        """So many connections are dropped right after their subscription."""
        self.refusals: list[tuple[int, str]] = []
        """Status and Retry-After of the next handshakes."""
        self.port = 0

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def _refuse(self, connection: ServerConnection, request: Request) -> Response | None:
        if not self.refusals:
            return None
        status, after = self.refusals.pop(0)
        response = connection.respond(HTTPStatus(status), "not now")
        response.headers["Retry-After"] = after
        return response

    async def _handle(self, connection: ServerConnection) -> None:
        self.attempts += 1
        line = await connection.recv()
        assert line == "subscribe BTC,ETH"
        if self.drop_next:
            self.drop_next -= 1
            return
        await self.arrivals.put(connection)
        await connection.wait_closed()


@asynccontextmanager
async def plain_venue() -> AsyncIterator[PlainVenue]:
    """A server on a free port of this machine."""
    venue = PlainVenue()
    async with serve(venue._handle, "127.0.0.1", 0, process_request=venue._refuse, close_timeout=0.2) as server:
        venue.port = next(iter(server.sockets)).getsockname()[1]
        yield venue
