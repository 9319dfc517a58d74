"""Ways to learn that a child serves: true when it does, false before, and never raising."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from pathlib import Path

from trinity_mesh.readiness import Answers, FileWritten, SocketConnectable


async def test_a_file_counts_once_it_holds_something_and_an_earlier_runs_does_not(tmp_path: Path) -> None:
    path = tmp_path / "ready.json"
    ready = FileWritten(path)
    assert not await ready.check()
    path.touch()
    assert not await ready.check()
    path.write_text("{}")
    assert await ready.check()
    ready.reset()
    assert not await ready.check()
    ready.reset()


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()
    await writer.wait_closed()


async def test_a_socket_counts_while_somebody_accepts() -> None:
    with tempfile.TemporaryDirectory(prefix="trinity-") as directory:
        path = Path(directory, "s")
        ready = SocketConnectable(f"unix:{path}")
        assert not await ready.check()
        server = await asyncio.start_unix_server(hang_up, path)
        async with server:
            assert await ready.check()
        left_behind(path)
        ready.reset()
        assert not await ready.check(), "the file is there and nobody listens"


def left_behind(path: Path) -> None:
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


async def test_a_port_counts_while_somebody_accepts() -> None:
    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    ready = SocketConnectable(f"127.0.0.1:{port}")
    async with server:
        assert await ready.check()
    assert not await ready.check()


async def test_any_question_can_be_asked() -> None:
    answer = False

    async def ask() -> bool:
        return answer

    ready = Answers(ask)
    ready.reset()
    assert not await ready.check()
    answer = True
    assert await ready.check()
