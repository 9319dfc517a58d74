"""Fixtures of the command's tests: a small mesh, and the command run on it."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from cli.processes import Shown, Trinity, finish, start
from cli.small_mesh import SmallMesh


@pytest.fixture
async def mesh() -> AsyncIterator[SmallMesh]:
    """A mesh with a simulated BTC and ETH; its sockets have short paths."""
    with tempfile.TemporaryDirectory(prefix="tb-") as directory:
        async with AsyncExitStack() as stack:
            small = SmallMesh(Path(directory))
            small.prices.set("BTC", "67000.10")
            small.prices.set("ETH", "3000.5")
            await small.start(stack)
            yield small


@pytest.fixture
def trinity(mesh: SmallMesh) -> Trinity:
    """Runs the command on the small mesh, in a process of its own: grpc shares one poller between a process's loops."""

    async def call(*arguments: str) -> Shown:
        done = await finish(await start(*arguments, env={"TRINITY_READY_FILE": str(mesh.ready_file)}))
        return Shown(done.code, done.out.decode(), done.err.decode())

    return call
