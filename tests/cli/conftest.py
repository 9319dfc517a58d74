"""Fixtures of the command's tests: a small mesh, and the command run on it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.small_mesh import SmallMesh
from trinity_cli.main import cli

Trinity = Callable[..., Awaitable[Result]]


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
    """Runs the command in a thread of this process, on the small mesh."""

    async def call(*arguments: str, env: dict[str, str] | None = None) -> Result:
        environ = {"TRINITY_READY_FILE": str(mesh.ready_file), **(env or {})}
        return await asyncio.to_thread(CliRunner().invoke, cli, arguments, env=environ, catch_exceptions=False)

    return call
