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
from dataclasses import fields
from typing import Final, Protocol

from trinity_core.ticks import Tick
from trinity_core.venues import Venue
from trinity_feeds.backoff import Backoff
from trinity_feeds.link import Ended, Link, Refused, SocketSettings, open_link, renamed
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
_TEXT_MAX: Final = 300
"""Characters of a foreign text kept for a log line or a status."""


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
            for link in self._links:
                link.abort()  # only a task that was cancelled before it began leaves its link here

    # Opening.

    async def _open(self) -> Link:
        """Try until a socket is open, each attempt no sooner than the back-off allows."""
        while True:
            await self._wait_for_turn()
            session = self._free_session()
            self._backoff.attempted(self._clock.monotonic_ns())
            session.connecting(self._clock.monotonic_ns())
            try:
                link = await open_link(session=session, url=self.url, settings=self._settings, tls=self._tls)
            except Refused as refusal:
                now = self._clock.monotonic_ns()
                self._not_before_ns = max(self._not_before_ns, now + refusal.retry_after_s * _NS)
                self.reconnects += 1
                session.disconnected(now, None, _words(str(refusal)))
                log.warning("%s: %s: %s", self.venue, self.url, _words(str(refusal)))
                continue
            session.connected(self._clock.monotonic_ns(), self._clock.unix_ns())
            log.info("%s: connected to %s", self.venue, self.url)
            return link

    async def _wait_for_turn(self) -> None:
        now = self._clock.monotonic_ns()
        wait = self._backoff.wait_ns(now, maintenance=self._session.in_maintenance)
        await self._clock.sleep(max(wait, self._not_before_ns - now) / _NS)

    def _free_session(self) -> Session:
        """The session for the next socket: the present one, or another while the present one's socket stands."""
        busy = [link.session for link in self._links]
        for session in (self._session, *self._sessions):
            if session not in busy:
                return session
        self._sessions.append(self._make_session())
        return self._sessions[-1]

    # Serving an open socket.

    async def _serve(self, link: Link) -> None:
        """Read until the socket ends; then close what is left of it."""
        code: int | None = None
        reason = "stopped"
        keeper = asyncio.create_task(self._keep_time(link), name=f"{self.venue} deadlines")
        try:
            await self._read(link)
        except Ended as end:
            code, reason = end.code, end.reason
        except Exception:
            reason = "internal error"
            log.exception("%s: giving the connection up", self.venue)
        finally:
            keeper.cancel()
            self._forget(link, code, link.why.reason if link.why is not None else reason)
            try:
                await asyncio.gather(keeper, return_exceptions=True)
                await link.close(1001, "going away")
            finally:
                link.abort()

    async def _read(self, link: Link) -> None:
        """The hot path: frame in, ticks out. Raises Ended once the socket has ended."""
        session, receive = link.session, link.receive
        sink, clock, venue = self._sink, self._clock, self.venue
        with renamed():
            await self._send(link, session.outgoing())
            while link.why is None:
                frame = await receive()
                now = clock.monotonic_ns()
                ticks = session.receive(frame, now, clock.unix_ns())
                sink.alive(venue, now)
                if ticks:
                    self._deliver(link, ticks)
                if outgoing := session.outgoing():
                    await self._send(link, outgoing)
        raise Ended(link.why.code, link.why.reason)

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
                    await link.close(1000, "replaced")
                    return
                wait = _POLL_NS if due is None else min(due - clock.monotonic_ns(), _POLL_NS)
                await clock.sleep(max(wait, _STEP_NS) / _NS)
        except Ended:
            return  # the reader sees it too, and says why
        except Exception:
            log.exception("%s: giving the connection up", self.venue)
            await link.close(1001, "going away")

    async def _send(self, link: Link, outgoing: Sequence[str | Close]) -> None:
        """Send what the session has to say. Raises Ended."""
        for item in outgoing:
            if isinstance(item, str):
                await link.send(item, timeout_ms=self._settings.send_timeout_ms)
            elif link.session.in_maintenance and link.healthy and self._links == [link] and not link.unneeded.is_set():
                log.info("%s: opening another connection: %s", self.venue, _words(item.reason))
                link.leave_by_ns = self._clock.monotonic_ns() + self._settings.overlap_ms * _MS
                link.unneeded.set()
            else:
                link.why = item
                await link.close(item.code, item.reason)

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


def _words(text: str) -> str:
    """Foreign text for a log line or a status: printable, bounded."""
    return "".join(char if char.isprintable() else " " for char in text[:_TEXT_MAX])
