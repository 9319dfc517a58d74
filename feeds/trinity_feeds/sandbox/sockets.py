"""The sockets: one server a venue for WebSocket and REST, and the same for plain GETs alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from urllib.parse import urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request as HttpRequest
from websockets.http11 import Response

from trinity_feeds.sandbox.board import Active
from trinity_feeds.sandbox.faults import Kind
from trinity_feeds.sandbox.link import Counts, Link
from trinity_feeds.sandbox.quotes import Quote
from trinity_feeds.sandbox.rest import Answer, html_answer, parse_request, phrase_of
from trinity_feeds.sandbox.stamps import SECOND, Moment, moment
from trinity_feeds.sandbox.venue import SandboxVenue
from trinity_mesh.clock import Clock

HOST = "127.0.0.1"
"""The sandbox is reachable from this machine only."""
SERVER = "trinity-sandbox"
"""`Server` header of every HTTP response, the WebSocket handshake included."""
_HANDSHAKE_S = 120.0
"""Long, because a silent venue keeps its callers waiting."""
_CLOSE_S = 1.0


@dataclass(frozen=True, slots=True)
class VenueUrls:
    """Where one sandbox venue is."""

    ws_url: str
    """Complete, with the venue's own path."""
    rest_url: str
    """Origin; the venue's own paths follow."""


class VenueServer:
    """One venue's socket server and its open connections."""

    def __init__(self, *, venue: SandboxVenue, clock: Clock) -> None:
        self.venue = venue
        self.counts = Counts()
        self._clock = clock
        self._links: dict[Link, None] = {}
        self._turn = asyncio.Event()
        """Set at the next step; whoever waits for time to pass waits for this."""
        self._closing = False
        self._server: Server | None = None

    async def start(self, port: int) -> VenueUrls:
        """Listen; 0 picks a free port. Raises OSError when the port is taken."""
        self._server = await listen(self._handle, self._request, port, self.venue.message_bytes_max)
        bound = port_of(self._server)
        return VenueUrls(f"ws://{HOST}:{bound}{self.venue.ws_path}", f"http://{HOST}:{bound}")

    def step(self, quotes: Sequence[Quote], begun: Sequence[Active]) -> None:
        """Take what changed at this venue and serve every connection."""
        now = moment(self._clock)
        self._wake()
        self.venue.take(quotes)
        pushed = self.venue.faults.pushed(quotes, now.mono_ns) if self._links else ()
        for link in list(self._links):
            link.step(pushed, begun, now)

    def stats(self) -> dict[str, int]:
        """Counts and the present state."""
        counts = self.counts
        return {
            "open": len(self._links),
            "subscriptions": sum(link.session.subscriptions() for link in self._links),
            **{name: getattr(counts, name) for name in counts.__dataclass_fields__},
        }

    async def close(self) -> None:
        """End every connection, the deaf ones too, and stop listening."""
        if self._server is None:
            return
        self._closing = True
        self._wake()
        if self.venue.faults.silent(self.venue.venue):
            for link in list(self._links):
                link.abort()
        self._server.close()
        await self._server.wait_closed()

    async def _request(self, connection: ServerConnection, request: HttpRequest) -> Response | None:
        """Answer a plain GET, or let a handshake through (None)."""
        venue, faults = self.venue, self.venue.faults
        await self._while_silent()
        slow = faults.find(venue.venue, Kind.SLOW)
        if slow is not None:
            due_ns = self._clock.monotonic_ns() + int(slow.fault.delay_s * SECOND)
            while self._clock.monotonic_ns() < due_ns and not self._closing:
                await self._turn.wait()
        now = moment(self._clock)
        upgrade = request.headers.get("Upgrade", "").lower() == "websocket"
        status = faults.refusal(venue.venue, now.mono_ns)
        if status is None and upgrade:
            status = self._unwelcome(request, venue.may_connect(now))
            if status is None:
                return None
        if status is not None:
            self.counts.refused += upgrade
            return response(html_answer(status), now)
        self.counts.rest += 1
        return response(venue.rest(parse_request(request.path), now), now)

    def _unwelcome(self, request: HttpRequest, within_limit: bool) -> int | None:
        # Every venue also takes the bare origin, so that whoever knows only its port can connect.
        if urlsplit(request.path).path.rstrip("/") not in ("", self.venue.ws_path.rstrip("/")):
            return 404
        if not within_limit:
            return 429
        return 503 if len(self._links) >= self.venue.settings.connections_max else None

    async def _handle(self, connection: ServerConnection) -> None:
        now = moment(self._clock)
        link = Link(connection=connection, session=self.venue.session(now), venue=self.venue, counts=self.counts)
        self.counts.connections += 1
        self._links[link] = None
        link.flush(now)
        try:
            async for text in connection:
                await self._while_silent()
                link.receive(text, moment(self._clock))
        except ConnectionClosed:
            pass
        finally:
            del self._links[link]

    async def _while_silent(self) -> None:
        while self.venue.faults.silent(self.venue.venue) and not self._closing:
            await self._turn.wait()

    def _wake(self) -> None:
        turn, self._turn = self._turn, asyncio.Event()
        turn.set()


async def listen(
    handle: Callable[[ServerConnection], Awaitable[None]],
    request: Callable[[ServerConnection, HttpRequest], Awaitable[Response | None]],
    port: int,
    message_bytes_max: int,
) -> Server:
    """Open a socket on loopback; port 0 picks a free one. Raises OSError when the port is taken."""
    return await serve(
        handle,
        HOST,
        port,
        compression=None,
        process_request=request,
        server_header=SERVER,
        open_timeout=_HANDSHAKE_S,
        ping_interval=None,
        close_timeout=_CLOSE_S,
        max_size=message_bytes_max,
    )


def port_of(server: Server) -> int:
    """The port that a server listens on."""
    port: int = next(iter(server.sockets)).getsockname()[1]
    return port


def response(answer: Answer, now: Moment) -> Response:
    """An answer as the WebSocket library sends it; every connection carries one."""
    headers = Headers(
        {
            "Date": formatdate(now.unix_ns // SECOND, usegmt=True),
            "Connection": "close",
            "Content-Length": str(len(answer.body)),
            "Content-Type": answer.content_type,
            **answer.headers,
        }
    )
    return Response(answer.status, phrase_of(answer.status), headers, answer.body)
