"""A proxy that does to connections what networks do: delay, cut, swallow, and lose what was asked or answered.

    async with FaultProxy("unix:/run/price.sock", listen="unix:/run/faulty.sock", seed=7) as proxy:
        proxy.fault = Fault(delay_s=0.2)

A fault holds for every connection, new and old, from the moment it is set. TCP and Unix sockets alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with the network now. Nothing, by default."""

    delay_s: float = 0.0
    """Each piece is held back this long, or up to twice as long."""
    swallow: bool = False
    """Half-open: connections are taken and stay, and nothing passes."""
    refuse: bool = False
    """New connections are closed at once."""
    cut_before: float = 0.0
    """Chance that a piece from the client is lost, and its connection with it: the server never hears of it."""
    cut_after: float = 0.0
    """Chance that a piece from the server is lost, and its connection with it: the work is done, the answer gone."""


FINE = Fault()


class FaultProxy:
    """Stands between clients and one server."""

    def __init__(self, target: str, *, listen: str = "127.0.0.1:0", seed: int = 1) -> None:
        self._target = target
        self._listen = listen
        self._rng = random.Random(seed)
        self._pipes: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._changed = asyncio.Event()
        self._fault = FINE
        self.address = ""
        self.connections = 0

    @property
    def fault(self) -> Fault:
        """What is wrong now."""
        return self._fault

    @fault.setter
    def fault(self, fault: Fault) -> None:
        self._fault = fault
        self._changed.set()
        self._changed = asyncio.Event()

    def cut(self) -> None:
        """Break every connection there is."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def __aenter__(self) -> Self:
        if self._listen.startswith("unix:"):
            self._server = await asyncio.start_unix_server(self._connected, self._listen.removeprefix("unix:"))
            self.address = self._listen
        else:
            host, _, port = self._listen.rpartition(":")
            self._server = await asyncio.start_server(self._connected, host, int(port))
            self.address = f"{host}:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        for pipe in tuple(self._pipes):
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)
        await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self._fault.refuse:
            writer.transport.abort()
            return
        try:
            there, back = await self._opened()
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, back}
        loop = asyncio.get_running_loop()
        for pipe in (
            loop.create_task(self._pipe(reader, back, writer, up=True)),
            loop.create_task(self._pipe(there, writer, back, up=False)),
        ):
            self._pipes.add(pipe)
            pipe.add_done_callback(self._pipes.discard)

    async def _opened(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._target.startswith("unix:"):
            return await asyncio.open_unix_connection(self._target.removeprefix("unix:"))
        host, _, port = self._target.rpartition(":")
        return await asyncio.open_connection(host, int(port))

    async def _pipe(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, other: asyncio.StreamWriter, *, up: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(64 << 10):
                while self._fault.swallow:
                    await self._changed.wait()
                fault = self._fault
                if fault.delay_s:
                    await asyncio.sleep(fault.delay_s * (1 + self._rng.random()))
                if self._rng.random() < (fault.cut_before if up else fault.cut_after):
                    break
                writer.write(piece)
                await writer.drain()
        for each in (writer, other):
            self._writers.discard(each)
            each.transport.abort()
