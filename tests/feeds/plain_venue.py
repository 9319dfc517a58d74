"""A venue with the plainest protocol there can be, and a server that speaks it as a test directs.

Lines from the venue: `tick ASSET PRICE NUMBER`, `notice` (it will cut the connection soon),
`leave CODE REASON` (the session shall close), `ask N` (answered by `reply N`), `bug` (the session fails).
Lines to the venue: `subscribe ASSET,ASSET`, `reply N`, `ping`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from http import HTTPStatus

from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from trinity_core.assets import Listing
from trinity_core.errors import Reason, TrinityError
from trinity_core.ticks import Tick
from trinity_core.venues import Venue
from trinity_feeds.session import Session
from trinity_feeds.terms import Close, ConnectLimit, QuoteRequest, RateLimit, SessionSettings, SessionState

LISTINGS = [(asset, Listing(Venue.KRAKEN, asset, "USD")) for asset in ("BTC", "ETH")]


class PlainSession(Session):
    """Speaks the protocol above; pings every `ping_ms`."""

    venue = Venue.KRAKEN
    connect_url_default = "wss://plain.invalid"
    connect_limit = ConnectLimit(attempts=1_000, window_ms=1_000)
    rest_url_default = "https://plain.invalid"
    rest_limit = RateLimit(calls=10, window_ms=1_000)
    ping_ms = 30_000

    def __init__(self, *, listings: Sequence[tuple[str, Listing]], settings: SessionSettings) -> None:
        super().__init__(listings=listings, settings=settings)
        self._assets = [asset for asset, _ in listings]
        self._seen: set[str] = set()
        self._outgoing: list[str | Close] = []
        self._due_ns: int | None = None

    def connecting(self, mono_ns: int) -> None:
        self.state = SessionState.CONNECTING

    def connected(self, mono_ns: int, unix_ns: int) -> None:
        self.state, self.in_maintenance, self.healthy_since_mono_ns = SessionState.SUBSCRIBING, False, None
        self._seen, self._outgoing = set(), [f"subscribe {','.join(self._assets)}"]
        self._due_ns = mono_ns + self.ping_ms * 1_000_000

    def receive(self, frame: str | bytes, mono_ns: int, unix_ns: int) -> list[Tick]:
        self.last_frame_mono_ns = mono_ns
        self.counts.frames += 1
        text = frame.decode() if isinstance(frame, bytes) else frame
        match text.split():
            case ["tick", asset, price, number] if asset in self._assets:
                return [self._tick(asset, Decimal(price), int(number), mono_ns, unix_ns)]
            case ["tick", *_]:
                self.counts.frames_invalid += 1
            case ["notice"]:
                self.state, self.in_maintenance, self.detail = SessionState.MAINTENANCE, True, "the venue will cut"
                self._outgoing.append(Close(1000, "the venue will cut"))
            case ["leave", code, reason]:
                self._outgoing.append(Close(int(code), reason))
            case ["ask", number]:
                self._outgoing.append(f"reply {number}")
            case ["bug"]:
                raise RuntimeError("a bug in a session")
            case _:
                self.counts.frames_unknown += 1
        return []

    def _tick(self, asset: str, price: Decimal, number: int, mono_ns: int, unix_ns: int) -> Tick:
        self._seen.add(asset)
        self.counts.ticks += 1
        if self.healthy_since_mono_ns is None:
            self.state, self.healthy_since_mono_ns = SessionState.LIVE, mono_ns
        return Tick(self.venue, asset, asset, "USD", price, None, None, None, None, number, unix_ns, mono_ns)

    def outgoing(self) -> list[str | Close]:
        out, self._outgoing = self._outgoing, []
        return out

    def deadline_ns(self) -> int | None:
        return self._due_ns

    def on_time(self, mono_ns: int) -> None:
        if self._due_ns is not None and mono_ns >= self._due_ns:
            self._outgoing.append("ping")
            self._due_ns = mono_ns + self.ping_ms * 1_000_000

    def disconnected(self, mono_ns: int, code: int | None, reason: str) -> None:
        self.state, self._due_ns = SessionState.CLOSED, None
        self.detail = f"closed ({code}): {reason}"

    @property
    def wanted(self) -> int:
        return len(self._assets)

    @property
    def subscribed(self) -> int:
        return len(self._seen)

    @property
    def refused(self) -> tuple[str, ...]:
        return ()

    @property
    def lag_ms(self) -> int | None:
        return None

    def fresh(self, mono_ns: int) -> int:
        return len(self._seen)

    def read_answer(self, body: bytes, mono_ns: int, unix_ns: int) -> list[Tick]:
        return []

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
