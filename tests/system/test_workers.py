"""Two gateway workers on one port: one that is asked to end takes nobody with it, one that is killed comes back."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator

import httpx
import pytest

from system.meshrun import Mesh, running_mesh, wait_until

pytestmark = pytest.mark.timeout(240)

KEPT, FLEETING = 24, 8
"""Clients that keep their connection, and clients that open one for each request."""


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with running_mesh(tmp_path_factory.mktemp("workers"), "--workers", "2") as running:
        with running.http() as client:
            wait_until(lambda: client.get("/price", params={"asset": "BTC"}).status_code == 200)
        yield running


class Client:
    """Asks without rest, and believes only answers that are whole."""

    def __init__(self, mesh: Mesh, *, keeps: bool) -> None:
        host, _, port = mesh.facts["http"].rpartition(":")
        self._address = (host, int(port))
        self._request = (
            f"GET /price?asset=ETH HTTP/1.1\r\nhost: prices\r\nauthorization: Bearer {mesh.key}\r\n\r\n".encode()
        )
        self._keeps = keeps
        self.answered = 0
        self.farewells = 0
        self.failures: list[str] = []

    async def run(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            try:
                reader, writer = await asyncio.open_connection(*self._address)
            except OSError as error:
                self.failures.append(f"connecting: {error!r}")
                continue
            try:
                while await self._ask(reader, writer) and not stopping.is_set():
                    pass
            except (OSError, EOFError) as error:
                self.failures.append(f"asking: {error!r}")
            finally:
                writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Ask once; whether the connection may be used again."""
        writer.write(self._request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        body = json.loads(await reader.readexactly(length))
        if not head.startswith(b"http/1.1 200") or body["asset"] != "ETH":
            self.failures.append(f"answer: {head[:40]!r}")
            return False
        self.answered += 1
        if b"connection: close" in head:
            self.farewells += 1
            return False
        return self._keeps


def billed(mesh: Mesh) -> int:
    answer = httpx.get(
        f"http://{mesh.facts['reports']}/reports/summary",
        params={"assets": "ETH", "methods": "GetPrice", "transports": "http"},
        headers={"Authorization": f"Bearer {mesh.key}"},
        timeout=10,
        trust_env=False,
    )
    assert answer.status_code == 200, answer.text
    return int(answer.json()["billed"])


async def test_workers_that_end_one_after_the_other_reset_nobody_and_lose_no_count(mesh: Mesh) -> None:
    before = billed(mesh)
    stopping = asyncio.Event()
    clients = [Client(mesh, keeps=number < KEPT) for number in range(KEPT + FLEETING)]
    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(client.run(stopping))
        for name in ("gateway-1", "gateway-2"):
            seen = sum(client.answered for client in clients)
            await until(lambda seen=seen: sum(client.answered for client in clients) > seen + 200)
            pid = mesh.refresh()["pids"][name]
            os.kill(pid, signal.SIGTERM)
            await until(lambda name=name, pid=pid: mesh.refresh()["pids"].get(name, pid) != pid)
        stopping.set()
    answered = sum(client.answered for client in clients)
    assert [failure for client in clients for failure in client.failures] == []
    assert sum(client.farewells for client in clients) > 0, "no kept connection was told to go elsewhere"
    wait_until(lambda: billed(mesh) >= before + answered)
    assert billed(mesh) == before + answered


async def until(condition: object) -> None:
    async with asyncio.timeout(60):
        while not condition():  # type: ignore[operator]  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def test_a_worker_that_is_killed_comes_back_and_the_other_goes_on(mesh: Mesh) -> None:
    pid = mesh.refresh()["pids"]["gateway-1"]
    os.kill(pid, signal.SIGKILL)

    def answers() -> bool:
        try:
            with mesh.http() as client:
                return client.get("/price?asset=BTC").status_code == 200
        except httpx.TransportError:
            return False  # Its connection was in the socket of the one that was killed.

    wait_until(answers)
    wait_until(lambda: mesh.refresh()["pids"].get("gateway-1", pid) != pid)
