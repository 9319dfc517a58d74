"""A clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from itertools import count

START_MONO_NS = 5_000 * 10**9
START_UNIX_NS = 1_790_000_000 * 10**9


class VirtualClock:
    """Implements trinity_mesh.clock.Clock; `advance` moves it and lets everybody who slept run."""

    def __init__(self) -> None:
        self._mono_ns = START_MONO_NS
        self._wall_ns = START_UNIX_NS - START_MONO_NS
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._tie = count()

    def monotonic_ns(self) -> int:
        return self._mono_ns

    def unix_ns(self) -> int:
        return self._mono_ns + self._wall_ns

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._mono_ns + round(seconds * 1e9), next(self._tie), future))
        await future

    def jump_wall(self, seconds: float) -> None:
        """Set the wall clock forward or back; durations do not notice."""
        self._wall_ns += round(seconds * 1e9)

    def move(self, seconds: float) -> None:
        """Move without letting anybody run."""
        self._mono_ns += round(seconds * 1e9)

    async def advance(self, seconds: float) -> None:
        """Move, waking sleepers one after the other in the order of their time."""
        end_ns = self._mono_ns + round(seconds * 1e9)
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end_ns:
            due_ns, _, future = heapq.heappop(self._sleepers)
            self._mono_ns = max(self._mono_ns, due_ns)
            if not future.done():
                future.set_result(None)
                await settle()
        self._mono_ns = end_ns
        await settle()


async def settle(turns: int = 20) -> None:
    """Let everything that can run now run."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object], *, within_s: float = 20) -> None:
    """Return once `condition()` holds; fail a test that would wait for ever."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in grpc's threads and other processes
            await asyncio.sleep(0.001)


async def until_moving(
    clock: VirtualClock, condition: Callable[[], object], *, step_s: float = 0.01, within_s: float = 20
) -> None:
    """Likewise, while the clock goes on by `step_s` for each real millisecond or so."""
    async with asyncio.timeout(within_s):
        while not condition():
            await clock.advance(step_s)
            await asyncio.sleep(0.001)
