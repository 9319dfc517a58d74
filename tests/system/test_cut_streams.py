"""Streams of a real mesh whose price service is killed, or stops, in the middle: no framing looks complete."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack

import httpx
import pytest
import websockets
from websockets.exceptions import ConnectionClosedError

from system.meshrun import Mesh, running_mesh, wait_until

pytestmark = pytest.mark.timeout(240)

FRAMINGS = ("application/json", "application/x-ndjson", "text/event-stream")
PATH = "/v1/prices:watch?assets=BTC&assets=ETH"


@pytest.fixture
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with running_mesh(tmp_path_factory.mktemp("cut")) as running:
        with running.http() as client:
            wait_until(lambda: client.get("/price", params={"asset": "BTC"}).status_code == 200)
        yield running


class Reader:
    """Reads one stream to its end, and remembers how that was."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.body = b""
        self.ended: Exception | None = None

    async def http(self, mesh: Mesh, accept: str) -> None:
        headers = {"Authorization": f"Bearer {mesh.key}", "Accept": accept}
        async with (
            httpx.AsyncClient(base_url=f"http://{mesh.facts['http']}", timeout=60, trust_env=False) as client,
            client.stream("GET", PATH, headers=headers) as response,
        ):
            assert response.status_code == 200
            try:
                async for part in response.aiter_raw():
                    self.body += part
                    self.begun.set()
            except httpx.HTTPError as error:
                self.ended = error

    async def websocket(self, mesh: Mesh) -> None:
        headers = {"Authorization": f"Bearer {mesh.key}"}
        url = f"ws://{mesh.facts['http']}{PATH}"
        async with websockets.connect(url, additional_headers=headers, proxy=None) as socket:
            try:
                async for frame in socket:
                    self.body = str(frame).encode()
                    self.begun.set()
            except ConnectionClosedError as error:
                self.ended = error


async def all_read(mesh: Mesh, number: signal.Signals, then: signal.Signals | None = None) -> dict[str, Reader]:
    """Open a stream in each framing, send a signal to the price service once all have begun, and read to the end."""
    readers = {name: Reader() for name in (*FRAMINGS, "websocket")}
    pid = mesh.refresh()["pids"]["price"]
    async with AsyncExitStack() as stack:
        group = await stack.enter_async_context(asyncio.TaskGroup())
        for name in FRAMINGS:
            group.create_task(readers[name].http(mesh, name))
        group.create_task(readers["websocket"].websocket(mesh))
        for reader in readers.values():
            await asyncio.wait_for(reader.begun.wait(), 30)
        os.kill(pid, number)
        if then is not None:
            # However the readers fare, the mesh must be able to end.
            stack.callback(os.kill, pid, then)
        async with asyncio.timeout(60):
            while any(reader.ended is None for reader in readers.values()):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    return readers


def check(readers: dict[str, Reader]) -> None:
    for name in FRAMINGS:
        assert isinstance(readers[name].ended, httpx.RemoteProtocolError), name
    with pytest.raises(json.JSONDecodeError):
        json.loads(readers["application/json"].body)
    items = json.loads(readers["application/json"].body + b"]")
    assert "prices" in items[0]
    lines = [json.loads(line) for line in readers["application/x-ndjson"].body.splitlines()]
    events = readers["text/event-stream"].body.decode().split("\n\n")
    assert "event: end" not in readers["text/event-stream"].body.decode()
    assert events[-2].startswith("event: error\ndata: ")
    last = json.loads(events[-2].removeprefix("event: error\ndata: "))
    closed = readers["websocket"].ended
    assert isinstance(closed, ConnectionClosedError)
    assert closed.rcvd is not None
    assert closed.rcvd.code == 1011
    frame = json.loads(readers["websocket"].body)
    for status in (items[-1]["error"], lines[-1]["error"], last, frame["error"]):
        assert status["code"] == 14, status


async def test_a_killed_price_service_shows_in_every_framing(mesh: Mesh) -> None:
    check(await all_read(mesh, signal.SIGKILL))


async def test_a_price_service_that_stands_still_shows_in_every_framing(mesh: Mesh) -> None:
    check(await all_read(mesh, signal.SIGSTOP, then=signal.SIGCONT))
