"""One venue's WebSocket, kept up: the socket loop, written once for six venues.

The session (`trinity_feeds.session`) knows the protocol, this module owns the socket and
the waiting. Frames are read by one task whose only wait is the next frame; a second task
keeps the session's deadlines. When the socket ends, however it ends, the next attempt
waits for the back-off, and the session subscribes anew.

A venue that announces its own cut is left without a gap: the session asks for a close
while it is in maintenance, a second connection is opened beside the first, and the first
is closed once the second has taken over its symbols (or after `overlap_ms`). As soon as
the second has delivered a symbol, the first's ticks of it are dropped.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Final, Protocol

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from trinity_core.ticks import Tick
from trinity_core.venues import Venue
from trinity_feeds.backoff import Backoff
from trinity_feeds.session import Session
from trinity_feeds.terms import Close, SessionCounts, SessionState
from trinity_mesh.clock import Clock

log = logging.getLogger(__name__)

_NS: Final = 1_000_000_000
_MS: Final = 1_000_000
_POLL_NS: Final = 250 * _MS
"""Longest wait between two looks at a session's deadline, which a frame may have moved closer."""
_STEP_NS: Final = _MS
"""Shortest wait between two looks, whatever the session says."""
_RETRY_AFTER_MAX_S: Final = 300
"""A venue's Retry-After is obeyed up to this."""
_TEXT_MAX: Final = 300
"""Characters of a foreign text kept for a log line or a status."""
_USER_AGENT: Final = "trinity-beast"


class Sink(Protocol):
    """Where ticks and signs of life go; trinity_feeds.hub.Hub is one. Calls MUST return at once and never raise."""

    def publish(self, ticks: Sequence[Tick]) -> None:
        """Take ticks in the order of receipt."""
        ...

    def alive(self, venue: Venue, mono_ns: int) -> None:
        """A frame of any kind came at `mono_ns`."""
        ...

    def connected(self, venue: Venue, *, connected: bool) -> None:
        """Data flows on a connection of the venue, or no connection stands any more."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketSettings:
    """What may be set about every socket."""

    open_timeout_ms: int = 10_000
    """TCP, TLS and the opening handshake together."""
    send_timeout_ms: int = 5_000
    """A venue that takes no frame of ours for so long is given up."""
    close_timeout_ms: int = 1_000
    """How long a venue may take to answer a closing handshake; then the socket is dropped."""
    queue_len_max: int = 256
    """Frames read ahead of the session; above it the socket is not read, so that TCP slows the venue."""
    overlap_ms: int = 60_000
    """A connection that its venue announced to cut is kept beside its successor for at most this long."""
    compress: bool = False
    """Offer permessage-deflate: a tenth to a third of the traffic, for about twice the time a frame costs."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name != "compress" and getattr(self, field.name) < 1:
                raise ValueError(f"{field.name} must be at least 1, not {getattr(self, field.name)}")


class Link:
    """One socket and the session that speaks on it."""

    __slots__ = ("assets", "healthy", "leave_by_ns", "retired", "session", "socket", "unneeded", "why")

    def __init__(self, *, session: Session, socket: ClientConnection) -> None:
        self.session = session
        self.socket = socket
        self.unneeded = asyncio.Event()
        """A successor may be opened: the socket ended, or its venue announced that it will."""
        self.leave_by_ns: int | None = None
        """Set once the venue announced the cut: the latest time to close."""
        self.healthy = False
        """Ticks came."""
        self.retired = False
        """A successor took over; close."""
        self.assets: set[str] = set()
        """Assets delivered while a predecessor still stands."""
        self.why: Close | None = None
        """The close that the session asked for."""


class Connection:
    """Keeps one venue connected until its task is cancelled; one a venue and worker."""

    def __init__(
        self,
        *,
        make_session: Callable[[], Session],
        url: str,
        sink: Sink,
        backoff: Backoff,
        clock: Clock,
        settings: SocketSettings,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`tls` is for a wss address; None means the system's trusted authorities."""
        self.url = url
        self.reconnects = 0
        """Connections lost, given up or never opened since the start."""
        self._make_session = make_session
        self._sessions = [make_session()]
        self._session = self._sessions[0]
        self.venue = self._session.venue
        self._sink = sink
        self._backoff = backoff
        self._clock = clock
        self._settings = settings
        self._tls = (tls or ssl.create_default_context()) if url.startswith("wss:") else None
        self._links: list[Link] = []
        self._not_before_ns = 0
        self._stopped = False

    @property
    def session(self) -> Session:
        """The session whose data is used; another one only after a planned change of connection."""
        return self._session

    @property
    def counts(self) -> SessionCounts:
        """What all sessions of this connection saw, added up."""
        names = [field.name for field in fields(SessionCounts)]
        return SessionCounts(**{name: sum(getattr(each.counts, name) for each in self._sessions) for name in names})

    @property
    def state(self) -> SessionState | None:
        """Where the connection stands; None once it was stopped."""
        return None if self._stopped else self._session.state

    async def run(self) -> None:
        """Connect, read, connect again, until cancelled. Leaves no task and no socket behind."""
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    link = await self._open()
                    self._links.append(link)
                    tasks.create_task(self._serve(link), name=f"{self.venue} socket")
                    await link.unneeded.wait()
        finally:
            self._stopped = True

    # Opening.

    async def _open(self) -> Link:
        """Try until a socket is open, each attempt no sooner than the back-off allows."""
        while True:
            await self._wait_for_turn()
            session = self._free_session()
            self._backoff.attempted(self._clock.monotonic_ns())
            session.connecting(self._clock.monotonic_ns())
            try:
                socket = await self._connect()
            except (OSError, WebSocketException) as error:
                self._note_refusal(error)
                session.disconnected(self._clock.monotonic_ns(), None, _words(f"could not connect: {_name(error)}"))
                self.reconnects += 1
                log.warning("%s: could not connect to %s: %s", self.venue, self.url, _words(_name(error)))
                continue
            session.connected(self._clock.monotonic_ns(), self._clock.unix_ns())
            return Link(session=session, socket=socket)

    async def _wait_for_turn(self) -> None:
        now = self._clock.monotonic_ns()
        wait = self._backoff.wait_ns(now, maintenance=self._session.in_maintenance)
        await self._clock.sleep(max(wait, self._not_before_ns - now) / _NS)

    async def _connect(self) -> ClientConnection:
        """Open the socket. Raises OSError (TimeoutError included) or WebSocketException."""
        return await connect(
            self.url,
            compression="deflate" if self._settings.compress else None,
            user_agent_header=_USER_AGENT,
            proxy=None,
            open_timeout=self._settings.open_timeout_ms / 1_000,
            close_timeout=self._settings.close_timeout_ms / 1_000,
            # Sessions keep their venue's own kind of keepalive and judge silence by it.
            ping_interval=None,
            max_size=self._session.settings.frame_bytes_max,
            max_queue=self._settings.queue_len_max,
            ssl=self._tls,
        )

    def _free_session(self) -> Session:
        """The session for the next socket: the present one, or another while the present one's socket stands."""
        busy = [link.session for link in self._links]
        for session in (self._session, *self._sessions):
            if session not in busy:
                return session
        self._sessions.append(self._make_session())
        return self._sessions[-1]

    def _note_refusal(self, error: Exception) -> None:
        if isinstance(error, InvalidStatus):
            after = error.response.headers.get("Retry-After", "")
            if after.isascii() and after.isdigit():
                seconds = min(int(after[:6]), _RETRY_AFTER_MAX_S)
                self._not_before_ns = self._clock.monotonic_ns() + seconds * _NS

    # Serving an open socket.

    async def _serve(self, link: Link) -> None:
        """Read until the socket ends; then close what is left of it."""
        code: int | None = None
        reason = "stopped"
        keeper = asyncio.create_task(self._keep_time(link), name=f"{self.venue} deadlines")
        try:
            log.info("%s: connected to %s", self.venue, self.url)
            code, reason = await self._read(link)
        except Exception:
            reason = "internal error"
            log.exception("%s: giving the connection up", self.venue)
        finally:
            keeper.cancel()
            self._forget(link, code, link.why.reason if link.why is not None else reason)
            await asyncio.gather(keeper, return_exceptions=True)
            await _close(link.socket, 1001, "going away")

    async def _read(self, link: Link) -> tuple[int | None, str]:
        """The hot path: frame in, ticks out. Returns the close code and reason once the socket has ended."""
        session, sink, clock, venue = link.session, self._sink, self._clock, self.venue
        receive = link.socket.recv
        try:
            await self._send(link, session.outgoing())
            while link.why is None:
                frame = await receive(decode=False)
                now = clock.monotonic_ns()
                ticks = session.receive(frame, now, clock.unix_ns())
                sink.alive(venue, now)
                if ticks:
                    self._deliver(link, ticks)
                if outgoing := session.outgoing():
                    await self._send(link, outgoing)
        except ConnectionClosed as error:
            ended = error.rcvd or error.sent
            return (ended.code, ended.reason) if ended is not None else (1006, "the connection was lost")
        except TimeoutError:
            return 1006, "the venue takes nothing any more"
        return link.why.code, link.why.reason

    async def _keep_time(self, link: Link) -> None:
        """Do what the session has due, and close a link that is over."""
        clock, session = self._clock, link.session
        try:
            while True:
                due, now = session.deadline_ns(), clock.monotonic_ns()
                if due is not None and due <= now:
                    session.on_time(now)
                    await self._send(link, session.outgoing())
                    due = session.deadline_ns()
                if link.retired or (link.leave_by_ns is not None and now >= link.leave_by_ns):
                    await _close(link.socket, 1000, "replaced")
                    return
                wait = _POLL_NS if due is None else min(due - clock.monotonic_ns(), _POLL_NS)
                await clock.sleep(max(wait, _STEP_NS) / _NS)
        except ConnectionClosed:
            return  # the reader sees it too, and says why
        except TimeoutError:
            link.why = Close(1001, "the venue takes nothing any more")
            link.socket.transport.abort()
        except Exception:
            log.exception("%s: giving the connection up", self.venue)
            await _close(link.socket, 1001, "going away")

    async def _send(self, link: Link, outgoing: Sequence[str | Close]) -> None:
        """Send what the session has to say. Raises ConnectionClosed, or TimeoutError when the venue reads nothing."""
        for item in outgoing:
            if isinstance(item, str):
                async with asyncio.timeout(self._settings.send_timeout_ms / 1_000):
                    await link.socket.send(item)
            elif link.session.in_maintenance and link.healthy and self._links == [link] and not link.unneeded.is_set():
                log.info("%s: opening another connection: %s", self.venue, _words(item.reason))
                link.leave_by_ns = self._clock.monotonic_ns() + self._settings.overlap_ms * _MS
                link.unneeded.set()
            else:
                link.why = item
                await _close(link.socket, item.code, item.reason)

    def _deliver(self, link: Link, ticks: Sequence[Tick]) -> None:
        if not link.healthy:
            self._backoff.got_data()
            self._session = link.session
            if not any(other.healthy for other in self._links):
                self._sink.connected(self.venue, connected=True)
            link.healthy = True
        if len(self._links) > 1:
            ticks = self._hand_over(link, ticks)
        self._sink.publish(ticks)

    def _hand_over(self, link: Link, ticks: Sequence[Tick]) -> Sequence[Tick]:
        """The ticks that count while a connection and its successor stand side by side."""
        newest = self._links[-1]
        if link is not newest:
            return [tick for tick in ticks if tick.asset not in newest.assets]
        link.assets.update(tick.asset for tick in ticks)
        for older in self._links[:-1]:
            older.retired = older.retired or link.session.subscribed >= older.session.subscribed
        return ticks

    def _forget(self, link: Link, code: int | None, reason: str) -> None:
        self._links.remove(link)
        if link.healthy and not any(other.healthy for other in self._links):
            self._sink.connected(self.venue, connected=False)
        if self._session is link.session and self._links:
            self._session = self._links[-1].session
        if not link.retired:
            self.reconnects += 1
        log.info("%s: connection ended (%s): %s", self.venue, code, _words(reason))
        link.session.disconnected(self._clock.monotonic_ns(), code, _words(reason))
        link.unneeded.set()


async def _close(socket: ClientConnection, code: int, reason: str) -> None:
    """Close with a code that a client may send; harmless when closed already."""
    allowed = code in (1000, 1001) or 3000 <= code <= 4999
    await socket.close(code if allowed else 1000, reason.encode()[:123].decode(errors="ignore"))


def _name(error: Exception) -> str:
    """What went wrong in words; several errors have none of their own."""
    return str(error) or type(error).__name__


def _words(text: str) -> str:
    """Foreign text for a log line or a status: printable, bounded."""
    return "".join(char if char.isprintable() else " " for char in text[:_TEXT_MAX])
