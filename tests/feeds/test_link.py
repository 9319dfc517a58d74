"""One socket: opened within bounds and by no proxy, closed in a form the protocol allows."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from feeds.plain_venue import LISTINGS, PlainSession
from trinity_feeds.link import Ended, Link, Refused, SocketSettings, open_link, renamed
from trinity_feeds.terms import SessionSettings

PATIENCE_S = 20


@asynccontextmanager
async def pair(*, compression: str | None = None, **settings: Any) -> AsyncIterator[tuple[Link, ServerConnection]]:
    """A link and the server's side of it."""
    arrived: asyncio.Future[ServerConnection] = asyncio.get_running_loop().create_future()

    async def handle(connection: ServerConnection) -> None:
        arrived.set_result(connection)
        await connection.wait_closed()

    async with serve(handle, "127.0.0.1", 0, compression=compression, close_timeout=0.2) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        link = await open_link(
            session=PlainSession(listings=LISTINGS, settings=SessionSettings(frame_bytes_max=1_000)),
            url=f"ws://127.0.0.1:{port}",
            settings=SocketSettings(**({"close_timeout_ms": 200} | settings)),
            tls=None,
        )
        try:
            yield link, await asyncio.wait_for(arrived, PATIENCE_S)
        finally:
            link.abort()


async def ended(link: Link) -> Ended:
    with pytest.raises(Ended) as caught, renamed():
        async with asyncio.timeout(PATIENCE_S):
            while True:
                await link.receive()
    return caught.value


@pytest.mark.parametrize("frame", ["text", b"text"])
async def test_text_and_binary_frames_are_read_alike(frame: str | bytes) -> None:
    async with pair() as (link, server):
        await server.send(frame)
        assert await asyncio.wait_for(link.receive(), PATIENCE_S) == b"text"


async def test_the_end_of_a_socket_tells_the_venues_code_and_reason() -> None:
    async with pair() as (link, server):
        await server.close(1013, "try again later")
        end = await ended(link)
        assert (end.code, end.reason) == (1013, "try again later")
        with pytest.raises(Ended):
            await link.send("too late", timeout_ms=1_000)


async def test_a_socket_that_just_ends_is_told_as_1006() -> None:
    async with pair() as (link, server):
        server.transport.abort()
        assert (await ended(link)).code == 1006


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4999])
async def test_a_code_that_a_client_may_send_is_sent(code: int) -> None:
    async with pair() as (link, server):
        await link.close(code, "why")
        await asyncio.wait_for(server.wait_closed(), PATIENCE_S)
        assert (server.close_code, server.close_reason) == (code, "why")
        await link.close(code, "again")


@pytest.mark.parametrize("code", [0, 999, 1005, 1006, 1015, 2999, 5000])
async def test_any_other_code_becomes_1000_and_a_long_reason_is_cut_at_a_character(code: int) -> None:
    async with pair() as (link, server):
        await link.close(code, "ü" * 200)
        await asyncio.wait_for(server.wait_closed(), PATIENCE_S)
        assert (server.close_code, server.close_reason) == (1000, "ü" * 61)


async def test_a_venue_that_does_not_answer_the_closing_handshake_is_dropped() -> None:
    async with pair(close_timeout_ms=50) as (link, server):
        server.transport.pause_reading()
        async with asyncio.timeout(PATIENCE_S):
            await link.close(1000, "bye")
        assert (await ended(link)).code == 1000


async def test_a_venue_that_takes_nothing_is_given_up() -> None:
    async with pair(send_timeout_ms=50) as (link, server):
        server.transport.pause_reading()
        with pytest.raises(Ended, match="takes nothing"):
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    await link.send("x" * 1_000_000, timeout_ms=50)


@pytest.mark.parametrize("compress", [True, False])
async def test_compression_is_offered_only_where_it_is_set(compress: bool) -> None:
    async with pair(compression="deflate", compress=compress) as (link, server):
        assert bool(server.protocol.extensions) is compress
        await server.send("tick " * 100)
        assert await asyncio.wait_for(link.receive(), PATIENCE_S) == b"tick " * 100


async def test_a_small_frame_that_unpacks_to_a_huge_one_ends_the_socket_unread() -> None:
    async with pair(compression="deflate", compress=True) as (link, server):
        await server.send("0" * 5_000_000)
        assert (await ended(link)).code == 1009


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "socks_proxy", "ws_proxy", "wss_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
        monkeypatch.setenv(name.upper(), "http://127.0.0.1:1")
    async with pair() as (link, server):
        await server.send("here")
        assert await asyncio.wait_for(link.receive(), PATIENCE_S) == b"here"


async def test_a_server_that_accepts_and_says_nothing_is_refused_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(Refused, match="timed out"):
        await open_link(
            session=PlainSession(listings=LISTINGS, settings=SessionSettings()),
            url=f"ws://127.0.0.1:{server.getsockname()[1]}",
            settings=SocketSettings(open_timeout_ms=50),
            tls=None,
        )


@pytest.mark.parametrize(
    "name", ["open_timeout_ms", "send_timeout_ms", "close_timeout_ms", "queue_len_max", "overlap_ms"]
)
def test_a_socket_without_bounds_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        SocketSettings(**{name: 0})
