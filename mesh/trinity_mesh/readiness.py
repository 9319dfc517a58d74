"""How a supervisor learns that a child serves: a file it writes, a socket it listens on, or any question."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

_CONNECT_S: Final = 1.0


class Readiness(Protocol):
    """Asked again and again while a child starts."""

    def reset(self) -> None:
        """Forget an earlier run. MUST leave `check` false until the new run serves."""
        ...

    async def check(self) -> bool:
        """Whether the child serves now. MUST return within about a second and MUST NOT raise."""
        ...


class FileWritten:
    """Ready when a file exists and is not empty; removed before each start."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def reset(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)

    async def check(self) -> bool:
        """Whether it is there; a file renamed into place is whole."""
        try:
            return self._path.stat().st_size > 0
        except OSError:
            return False


class SocketConnectable:
    """Ready when "unix:/path" or "host:port" accepts a connection."""

    def __init__(self, address: str) -> None:
        self._address = address

    def reset(self) -> None:
        """A socket file that an earlier run left refuses connections, so nothing is to be done."""

    async def check(self) -> bool:
        """Connect once, and hang up."""
        try:
            async with asyncio.timeout(_CONNECT_S):
                if self._address.startswith("unix:"):
                    _, writer = await asyncio.open_unix_connection(self._address.removeprefix("unix:"))
                else:
                    host, _, port = self._address.rpartition(":")
                    _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        except OSError:  # TimeoutError is one
            return False
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        return True


class Answers:
    """Ready when a question is answered with yes."""

    def __init__(self, ask: Callable[[], Awaitable[bool]]) -> None:
        """`ask` keeps the promises of `Readiness.check`."""
        self._ask = ask

    def reset(self) -> None:
        """Nothing is kept."""

    async def check(self) -> bool:
        """Ask."""
        return await self._ask()
