"""Slow, large and too many connections; what uvicorn would answer by itself, in our own form."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bridge_stage import Stage, shelf_stage, until
from trinity_core.errors import Reason
from trinity_http.guard import ENDED_AT_ONCE, NEVER, ConnectionGuard
from trinity_http.settings import GatewaySettings, HttpLimits

MS = 1_000_000
BOOK = b"GET /v1/shelves/1/books/2 HTTP/1.1\r\nhost: x\r\n"


class HandClock:
    """Monotonic time by hand; sleepers wake when it is moved."""

    def __init__(self) -> None:
        self.now_ns = 0
        self._woken = asyncio.Condition()

    def monotonic_ns(self) -> int:
        return self.now_ns

    def unix_ns(self) -> int:
        return self.now_ns

    async def sleep(self, seconds: float) -> None:
        due = self.now_ns + round(seconds * 1e9)
        async with self._woken:
            await self._woken.wait_for(lambda: self.now_ns >= due)

    async def move(self, ms: int) -> None:
        async with self._woken:
            self.now_ns += ms * MS
            self._woken.notify_all()


@contextlib.asynccontextmanager
async def guarded(shelf_set: bytes, folder: Path, **limits: int) -> AsyncIterator[tuple[Any, HandClock]]:
    clock = HandClock()
    settings = GatewaySettings(stream_open_ms=100)
    bounds = HttpLimits(**{"drain_ms": 1_000, **limits})
    async with shelf_stage(shelf_set, folder, settings=settings, limits=bounds, clock=clock) as stage:
        yield stage, clock


def reason_of(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"connection: close" in head
    assert b"x-request-id: " in head
    return int(head.split(b" ")[1]), json.loads(body)["details"][0]["reason"]


async def read_answer(reader: asyncio.StreamReader) -> bytes:
    """One answer with a length, on a connection that stays open."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))[15:])
    return head + await reader.readexactly(length)


async def until_heard(stage: Stage, count: int = 1) -> None:
    assert stage.guard is not None
    await until(lambda: stage.guard is not None and stage.guard.connections == count)


@pytest.mark.parametrize("sent", [b"", b"GET / HT", BOOK, BOOK + b"x-slow: 1"])
async def test_a_head_that_does_not_end_is_cut_off(shelf_set: bytes, tmp_path: Path, sent: bytes) -> None:
    async with guarded(shelf_set, tmp_path, head_ms=5_000) as (stage, clock):
        reader, writer = await stage.connect()
        writer.write(sent)
        await until_heard(stage)
        if sent:
            await until(lambda: next(iter(stage.guard._open))._raw_bytes == len(sent))
        await clock.move(4_000)
        await clock.move(1_500)
        answer = await asyncio.wait_for(reader.read(), 10)
        assert (reason_of(answer) if sent else answer) == ((408, "REQUEST_TOO_SLOW") if sent else b"")
        writer.close()
        assert stage.guard.overdue >= 1


async def test_a_body_that_does_not_end_is_cut_off(shelf_set: bytes, tmp_path: Path) -> None:
    async with guarded(shelf_set, tmp_path, body_ms=5_000) as (stage, clock):
        reader, writer = await stage.connect()
        writer.write(
            b"POST /v1/echo HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{"
        )
        await until_heard(stage)
        await until(lambda: next(iter(stage.guard._open)).due_ns == 5_000 * MS)
        await clock.move(6_000)
        assert reason_of(await asyncio.wait_for(reader.read(), 10)) == (408, "REQUEST_TOO_SLOW")
        writer.close()


async def test_a_connection_that_rests_is_closed_and_one_that_works_is_not(shelf_set: bytes, tmp_path: Path) -> None:
    async with guarded(shelf_set, tmp_path, head_ms=1_000, body_ms=1_000, idle_ms=20_000) as (stage, clock):
        reader, writer = await stage.connect()
        for _ in range(3):
            writer.write(BOOK + b"\r\n")
            assert (await read_answer(reader)).startswith(b"HTTP/1.1 200")
            await clock.move(15_000)
        writer.write(b"GET /v1/wait/long HTTP/1.1\r\nhost: x\r\n\r\n")
        await asyncio.wait_for(stage.shelf.waiting.get(), 10)
        await clock.move(100_000)
        stage.shelf.release.set()
        assert (await read_answer(reader)).startswith(b"HTTP/1.1 200")
        await clock.move(21_000)
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()


async def test_an_answer_before_the_body_is_there_does_not_end_its_deadline(shelf_set: bytes, tmp_path: Path) -> None:
    async with guarded(shelf_set, tmp_path, body_ms=5_000, idle_ms=1_000) as (stage, clock):
        reader, writer = await stage.connect()
        writer.write(b"POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nabc")
        assert (await read_answer(reader)).startswith(b"HTTP/1.1 404")
        await clock.move(2_000)
        writer.write(b"defghi" + BOOK + b"\r\n")
        assert (await read_answer(reader)).startswith(b"HTTP/1.1 200")
        writer.write(b"POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nabc")
        assert (await read_answer(reader)).startswith(b"HTTP/1.1 404")
        await clock.move(6_000)
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()


async def test_pipelined_requests_are_answered_in_order_and_a_slow_last_one_is_cut_off(
    shelf_set: bytes, tmp_path: Path
) -> None:
    async with guarded(shelf_set, tmp_path, head_ms=5_000) as (stage, clock):
        reader, writer = await stage.connect()
        writer.write(BOOK + b"\r\n" + b"GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n" + BOOK)
        assert (await read_answer(reader)).startswith(b"HTTP/1.1 200")
        assert (await read_answer(reader)).startswith(b"HTTP/1.1 404")
        await clock.move(6_000)
        answer = await asyncio.wait_for(reader.read(), 10)
        assert not answer or reason_of(answer) == (408, "REQUEST_TOO_SLOW")
        writer.close()


async def test_a_client_that_takes_nothing_is_cut_off(shelf_set: bytes, tmp_path: Path) -> None:
    bounds = {"write_stall_ms": 3_000, "write_buffer_bytes": 4_096, "send_buffer_bytes": 8_192}
    async with guarded(shelf_set, tmp_path, **bounds) as (stage, clock):
        _, writer = await stage.connect()
        writer.write(b"GET /v1/count?to=1000&padding=65536 HTTP/1.1\r\nhost: x\r\n\r\n")
        writer.transport.pause_reading()
        await until(lambda: any(connection.due_ns == 3_000 * MS for connection in stage.guard._open))
        await clock.move(4_000)
        await until(lambda: stage.guard.connections == 0)
        await until(lambda: not stage.app.state.bridge.core.streams)
        writer.transport.abort()


@pytest.mark.parametrize(
    "request_bytes",
    [
        BOOK + b"x-big: " + b"a" * 5_000 + b"\r\n\r\n",
        BOOK + b"".join(b"x-%d: a\r\n" % number for number in range(500)) + b"\r\n",
        b"GET /v1/any/" + b"a" * 5_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        BOOK + b"x-endless: " + b"a" * 500_000,
    ],
)
async def test_a_head_beyond_the_bound_is_431(shelf_set: bytes, tmp_path: Path, request_bytes: bytes) -> None:
    async with guarded(shelf_set, tmp_path, head_bytes_max=4_096) as (stage, _):
        reader, writer = await stage.connect()
        for start in range(0, len(request_bytes), 2_000):
            writer.write(request_bytes[start : start + 2_000])
            await asyncio.sleep(0)
        assert reason_of(await asyncio.wait_for(reader.read(), 10)) == (431, "HEADERS_TOO_LARGE")
        writer.close()
        assert stage.shelf.requests["GetBook"] == []


async def test_a_large_body_is_no_large_head(shelf_set: bytes, tmp_path: Path) -> None:
    async with guarded(shelf_set, tmp_path, head_bytes_max=4_096) as (stage, _):
        for _ in range(3):
            answer = await stage.client.post("/v1/echo", json={"text": "x" * 200_000})
            assert len(answer.json()["text"]) == 200_000


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /a b HTTP/1.1\r\n\r\n",
        b"GET /v1/echo#part HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"GET / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n",
        b"POST /v1/echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_told_so(shelf_set: bytes, tmp_path: Path, garbage: bytes) -> None:
    async with guarded(shelf_set, tmp_path) as (stage, _):
        assert reason_of(await stage.raw(garbage)) == (400, "INVALID_REQUEST")
        assert stage.guard.malformed == 1


async def test_one_connection_more_than_the_bound_is_503(shelf_set: bytes, tmp_path: Path) -> None:
    async with guarded(shelf_set, tmp_path, connections_max=2) as (stage, _):
        kept = [await stage.connect() for _ in range(2)]
        await until_heard(stage, 2)
        assert reason_of(await stage.raw(b"")) == (503, "TOO_MANY_CONNECTIONS")
        assert stage.guard.refused == 1
        for _, writer in kept:
            writer.close()
        await until(lambda: stage.guard.connections == 0)
        assert (await stage.get("/healthz")).status_code == 200


async def test_connections_of_one_address_are_bounded_and_forgotten(shelf_set: bytes, tmp_path: Path) -> None:
    async with guarded(shelf_set, tmp_path, connections_per_address_max=1) as (stage, _):
        _, writer = await stage.connect()
        await until_heard(stage)
        assert reason_of(await stage.raw(BOOK + b"\r\n")) == (503, "TOO_MANY_CONNECTIONS")
        writer.close()
        await until(lambda: stage.guard.connections == 0)
        assert not stage.guard._by_address
        assert (await stage.get("/healthz")).status_code == 200


async def test_a_socket_keeps_its_place_under_the_guard(shelf_set: bytes, tmp_path: Path) -> None:
    from websockets.asyncio.client import connect

    async with guarded(shelf_set, tmp_path, idle_ms=1_000, head_ms=1_000) as (stage, clock):
        async with connect(f"ws://127.0.0.1:{stage.port}/v1/count?to=2&silent_after=1") as socket:
            await socket.recv()
            assert stage.guard.connections == 1
            await clock.move(60_000)
            stage.shelf.release.set()
            assert json.loads(await socket.recv())["number"] == "2"
        await until(lambda: stage.guard.connections == 0)


async def test_requests_under_way_are_finished_when_the_server_stops(shelf_set: bytes, tmp_path: Path) -> None:
    async with guarded(shelf_set, tmp_path, drain_ms=10_000) as (stage, _):
        asked = asyncio.create_task(stage.get("/v1/wait/long"))
        await asyncio.wait_for(stage.shelf.waiting.get(), 10)
        stage.stopping.set()
        await until(lambda: _refuses(stage.port))
        stage.shelf.release.set()
        assert (await asked).status_code == 200
        await asyncio.wait_for(stage.serving, 20)


def _refuses(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


class Idle:
    """A connection that is never due."""

    due_ns = 1 << 62

    def overdue(self) -> None:
        raise AssertionError


class Late:
    """A connection that is due at once."""

    def __init__(self) -> None:
        self.due_ns = 0

    def overdue(self) -> None:
        self.due_ns = NEVER


def test_many_late_connections_are_ended_a_few_at_a_time() -> None:
    guard = ConnectionGuard(HttpLimits(), clock=HandClock())
    for _ in range(ENDED_AT_ONCE + 5):
        guard.enter(Late(), "")
    assert guard.sweep()
    assert guard.overdue == ENDED_AT_ONCE
    assert not guard.sweep()
    assert guard.overdue == ENDED_AT_ONCE + 5


def test_the_guard_counts_addresses_apart_and_sockets_without_one() -> None:
    guard = ConnectionGuard(HttpLimits(connections_per_address_max=1), clock=HandClock())
    connections = [Idle() for _ in range(5)]
    assert guard.enter(connections[0], "a") is None
    assert guard.enter(connections[1], "b") is None
    error = guard.enter(connections[2], "a")
    assert error is not None
    assert error.reason is Reason.TOO_MANY_CONNECTIONS
    assert guard.enter(connections[3], "") is None
    assert guard.enter(connections[4], "") is None
    guard.leave(connections[2], "a")
    guard.leave(connections[0], "a")
    assert guard.enter(connections[0], "a") is None
    guard.sweep()
    assert guard.connections == 4
