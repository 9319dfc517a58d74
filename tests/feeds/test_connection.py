"""The socket loop against a real server: ticks, replies, deadlines, reconnects, planned cuts, a clean end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from feeds.plain_venue import LISTINGS, PlainSession, PlainVenue, plain_venue
from trinity_core.ticks import Tick
from trinity_core.venues import Venue
from trinity_feeds.backoff import Backoff, BackoffSettings
from trinity_feeds.connection import Connection
from trinity_feeds.link import SocketSettings
from trinity_feeds.terms import SessionSettings, SessionState
from trinity_mesh.clock import SystemClock

PATIENCE_S = 20
"""How long a test waits before it fails; none waits so long to pass."""


class Ledger:
    """A Sink that remembers, and lets a test wait for what it expects."""

    def __init__(self) -> None:
        self.ticks: list[tuple[str, str]] = []
        self.changes: list[bool] = []
        self.alive_ns = 0
        self.frames = 0
        self._changed = asyncio.Event()

    def publish(self, ticks: Sequence[Tick]) -> None:
        self.ticks += [(tick.asset, str(tick.price)) for tick in ticks]
        self._changed.set()

    def alive(self, venue: Venue, mono_ns: int) -> None:
        assert mono_ns >= self.alive_ns
        self.alive_ns, self.frames = mono_ns, self.frames + 1
        self._changed.set()

    def connected(self, venue: Venue, *, connected: bool) -> None:
        self.changes.append(connected)
        self._changed.set()

    async def until(self, *ticks: tuple[str, str]) -> None:
        """Wait until exactly these ticks came."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.ticks) < len(ticks):
                self._changed.clear()
                await self._changed.wait()
        assert self.ticks == list(ticks)

    async def until_changed(self, *changes: bool) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.changes) < len(changes):
                self._changed.clear()
                await self._changed.wait()
        assert self.changes == list(changes)


class HastyClock(SystemClock):
    """Notes how long it was asked to sleep, and does not."""

    def __init__(self) -> None:
        self.naps: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        await super().sleep(min(seconds, 0.002))


def connection(url: str, sink: Ledger, **changes: Any) -> Connection:
    parts: dict[str, Any] = {
        "make_session": partial(PlainSession, listings=LISTINGS, settings=SessionSettings(frame_bytes_max=1_000)),
        "url": url,
        "sink": sink,
        "backoff": Backoff(
            limit=PlainSession.connect_limit,
            settings=BackoffSettings(first_ms=1, cap_ms=5),
            rng=random.Random(1),
        ),
        "clock": SystemClock(),
        "settings": SocketSettings(close_timeout_ms=200),
    }
    return Connection(**(parts | changes))


@asynccontextmanager
async def running(connection: Connection) -> AsyncIterator[Connection]:
    task = asyncio.create_task(connection.run())
    try:
        yield connection
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def arrival(venue: PlainVenue) -> ServerConnection:
    return await asyncio.wait_for(venue.arrivals.get(), PATIENCE_S)


async def closed(server_side: ServerConnection) -> tuple[int, str]:
    """The code and reason the client closed with."""
    with pytest.raises(ConnectionClosed) as caught:
        while True:
            await asyncio.wait_for(server_side.recv(), PATIENCE_S)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code, caught.value.rcvd.reason


@pytest.fixture
async def venue() -> AsyncIterator[PlainVenue]:
    async with plain_venue() as serving:
        yield serving


async def test_frames_become_ticks_and_every_frame_is_a_sign_of_life(venue: PlainVenue) -> None:
    sink = Ledger()
    async with running(connection(venue.url, sink)) as of:
        server = await arrival(venue)
        await server.send("what is this")
        await server.send("tick BTC 1.5 1")
        await server.send(b"tick ETH 2.5 1")
        await sink.until(("BTC", "1.5"), ("ETH", "2.5"))
        assert sink.frames == 3
        assert sink.changes == [True], "connected once data flows"
        assert of.state is SessionState.LIVE
        assert of.counts.frames == 3
        assert of.counts.frames_unknown == 1


async def test_what_the_session_has_to_say_is_sent(venue: PlainVenue) -> None:
    async with running(connection(venue.url, Ledger())):
        server = await arrival(venue)
        await server.send("ask 7")
        assert await asyncio.wait_for(server.recv(), PATIENCE_S) == "reply 7"


async def test_the_sessions_deadlines_are_kept_while_the_venue_is_silent(
    venue: PlainVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PlainSession, "ping_ms", 5)
    async with running(connection(venue.url, Ledger())):
        server = await arrival(venue)
        assert [await asyncio.wait_for(server.recv(), PATIENCE_S) for _ in range(3)] == ["ping"] * 3


async def test_a_lost_connection_is_told_made_anew_and_subscribed_again(venue: PlainVenue) -> None:
    sink = Ledger()
    async with running(connection(venue.url, sink)) as of:
        for number in range(1, 4):
            server = await arrival(venue)
            await server.send(f"tick BTC {number} {number}")
            await sink.until(*(("BTC", str(each)) for each in range(1, number + 1)))
            server.transport.abort()
        await sink.until_changed(True, False, True, False, True, False)
        assert of.reconnects == 3
        assert of.counts.ticks == 3


async def test_connecting_alone_does_not_reset_the_back_off_but_data_does(venue: PlainVenue) -> None:
    backoff = Backoff(
        limit=PlainSession.connect_limit, settings=BackoffSettings(first_ms=1, cap_ms=5), rng=random.Random(1)
    )
    venue.drop_next = 5
    sink = Ledger()
    async with running(connection(venue.url, sink, backoff=backoff)):
        server = await arrival(venue)
        assert backoff.failures == 6
        assert sink.changes == [], "a connection without data was never told of"
        await server.send("tick BTC 1 1")
        await sink.until(("BTC", "1"))
        assert backoff.failures == 0


async def test_a_venue_that_cannot_be_reached_is_tried_again_and_said_to_be_so() -> None:
    async with plain_venue() as venue:
        url = venue.url
    clock, sink = HastyClock(), Ledger()
    of = connection(url, sink, clock=clock)
    async with running(of), asyncio.timeout(PATIENCE_S):
        while of.reconnects < 5:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert "could not connect" in of.session.detail
        assert not sink.changes


async def test_a_venue_that_says_when_to_come_back_is_obeyed(venue: PlainVenue) -> None:
    venue.refusals = [(429, "7"), (503, "999999999"), (429, "soon")]
    clock, sink = HastyClock(), Ledger()
    async with running(connection(venue.url, sink, clock=clock)) as of:
        await arrival(venue)
        waits = [nap for nap in clock.naps if nap > 1]
        assert [round(wait) for wait in waits] == [7, 300, 300], "at most five minutes; nonsense changes nothing"
        assert of.reconnects == 3


async def test_the_close_a_session_asks_for_reaches_the_venue_with_its_code(venue: PlainVenue) -> None:
    async with running(connection(venue.url, Ledger())) as of:
        server = await arrival(venue)
        await server.send("leave 4000 silence")
        assert await closed(server) == (4000, "silence")
        again = await arrival(venue)
        assert of.reconnects == 1
        await again.send("leave 1006 reserved")
        assert await closed(again) == (1000, "reserved"), "a code that may not be sent is replaced"


async def test_a_frame_beyond_the_bound_ends_the_connection_unread(venue: PlainVenue) -> None:
    sink = Ledger()
    async with running(connection(venue.url, sink)) as of:
        server = await arrival(venue)
        await server.send("x" * 1_001)
        assert (await closed(server))[0] == 1009
        await arrival(venue)
        assert of.counts.frames == 0


async def test_a_bug_in_a_session_costs_its_connection_and_nothing_more(
    venue: PlainVenue, caplog: pytest.LogCaptureFixture
) -> None:
    sink = Ledger()
    async with running(connection(venue.url, sink)):
        await (await arrival(venue)).send("bug")
        server = await arrival(venue)
        await server.send("tick BTC 1 1")
        await sink.until(("BTC", "1"))
    assert "a bug in a session" in caplog.text


async def test_an_announced_cut_is_bridged_by_a_second_connection(venue: PlainVenue) -> None:
    sink = Ledger()
    async with running(connection(venue.url, sink)) as of:
        first = await arrival(venue)
        await first.send("tick BTC 1 1")
        await first.send("tick ETH 1 1")
        await first.send("notice")
        second = await arrival(venue)
        await first.send("tick BTC 2 2")
        await sink.until(("BTC", "1"), ("ETH", "1"), ("BTC", "2"))
        assert of.state is SessionState.MAINTENANCE

        await second.send("tick BTC 3 3")
        await sink.until(("BTC", "1"), ("ETH", "1"), ("BTC", "2"), ("BTC", "3"))
        await first.send("tick BTC 2.5 2")
        await first.send("tick ETH 2 2")
        await sink.until(("BTC", "1"), ("ETH", "1"), ("BTC", "2"), ("BTC", "3"), ("ETH", "2"))
        assert of.state is SessionState.LIVE

        await second.send("tick ETH 3 3")
        assert await closed(first) == (1000, "replaced")
        assert sink.changes == [True], "there was no moment without data"
        assert of.reconnects == 0
        assert of.counts.ticks == 7, "what both sessions saw"
        assert venue.attempts == 2

        second.transport.abort()
        third = await arrival(venue)
        await third.send("tick BTC 4 4")
        await sink.until_changed(True, False, True)


async def test_a_second_announced_cut_is_bridged_like_the_first(venue: PlainVenue) -> None:
    sink = Ledger()
    async with running(connection(venue.url, sink)) as of:
        server = await arrival(venue)
        for number in range(1, 5):
            await server.send(f"tick BTC {number} {number}")
            await server.send("notice")
            successor = await arrival(venue)
            await successor.send(f"tick BTC {number}.5 {number}")
            assert await closed(server) == (1000, "replaced")
            server = successor
        assert sink.changes == [True]
        assert of.counts.ticks == 8
        assert len(of._sessions) == 2, "two sessions take turns"


async def test_a_venue_that_announces_cut_after_cut_never_gets_a_third_connection(venue: PlainVenue) -> None:
    async with running(connection(venue.url, Ledger())) as of:
        first = await arrival(venue)
        await first.send("tick BTC 1 1")
        await first.send("tick ETH 1 1")
        await first.send("notice")
        for number in range(2, 8):
            server = await arrival(venue)
            await server.send(f"tick BTC {number} {number}")
            await server.send("notice")
            assert await closed(server) == (1000, "the venue will cut")
            assert len(of._links) <= 2
        await first.send("ask 1")
        assert await asyncio.wait_for(first.recv(), PATIENCE_S) == "reply 1", "the first still stands"


async def test_an_announced_cut_that_comes_before_its_successor_stands_is_a_plain_reconnect(venue: PlainVenue) -> None:
    sink = Ledger()
    async with running(connection(venue.url, sink)) as of:
        first = await arrival(venue)
        venue.drop_next = 2
        await first.send("tick BTC 1 1")
        await first.send("notice")
        third = await arrival(venue)
        await first.send("tick BTC 2 2")
        await sink.until(("BTC", "1"), ("BTC", "2"))
        first.transport.abort()
        await sink.until_changed(True, False)
        assert of.state is SessionState.SUBSCRIBING, "what is told is told of the connection that stands"
        await third.send("tick BTC 3 3")
        await sink.until_changed(True, False, True)


async def test_a_connection_is_kept_beside_its_successor_only_so_long(venue: PlainVenue) -> None:
    settings = SocketSettings(close_timeout_ms=200, overlap_ms=1)
    async with running(connection(venue.url, Ledger(), settings=settings)):
        first = await arrival(venue)
        await first.send("tick BTC 1 1")
        await first.send("notice")
        assert await closed(first) == (1000, "replaced")
        await arrival(venue)


@pytest.mark.parametrize("moment", ["connecting", "reading", "bridging", "waiting"])
async def test_stopping_leaves_no_task_and_no_socket_behind(venue: PlainVenue, moment: str) -> None:
    before = asyncio.all_tasks()
    sink = Ledger()
    if moment == "waiting":
        slow = Backoff(
            limit=PlainSession.connect_limit,
            settings=BackoffSettings(first_ms=600_000, cap_ms=600_000),
            rng=random.Random(1),
        )
        of = connection(venue.url, sink, backoff=slow)
        venue.drop_next = 1
    else:
        of = connection(venue.url, sink)
    task = asyncio.create_task(of.run())
    servers = []
    if moment == "connecting":
        await asyncio.sleep(0)
    elif moment == "waiting":
        async with asyncio.timeout(PATIENCE_S):
            while of.reconnects == 0:  # noqa: ASYNC110
                await asyncio.sleep(0)
    else:
        servers.append(await arrival(venue))
        await servers[0].send("tick BTC 1 1")
        await sink.until(("BTC", "1"))
        if moment == "bridging":
            await servers[0].send("notice")
            servers.append(await arrival(venue))
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert of.state is None
    for server in servers:
        assert await closed(server) == (1001, "going away")
    own = {
        other for other in asyncio.all_tasks() - before if "socket" in other.get_name() or "deadl" in other.get_name()
    }
    assert not own
