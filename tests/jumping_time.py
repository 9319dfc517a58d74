"""An event loop whose time jumps to the next timer, so that hours pass in moments; and the clock that reads it."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

START_MONO_NS = 1_000_000_000_000
START_UNIX_NS = 1_800_000_000_000_000_000


class JumpingSelector(selectors.DefaultSelector):
    """Never waits: what the loop would have waited is added to the virtual time."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = START_MONO_NS / 1e9

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if not events:
            if timeout is None:
                raise RuntimeError("everything waits for something that no timer will bring")
            self.now_s += max(0.0, timeout)
        return events


class JumpingLoop(asyncio.SelectorEventLoop):
    """Runs timers in their order, at once."""

    def __init__(self) -> None:
        self.jumping = JumpingSelector()
        super().__init__(self.jumping)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self.jumping.now_s


class JumpingClock:
    """Implements trinity_mesh.clock.Clock on the running JumpingLoop."""

    def __init__(self) -> None:
        self.wall_jump_ns = 0

    def monotonic_ns(self) -> int:
        return round(asyncio.get_running_loop().time() * 1e9)

    def unix_ns(self) -> int:
        return START_UNIX_NS + self.monotonic_ns() - START_MONO_NS + self.wall_jump_ns

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def run_jumping(main: Coroutine[Any, Any, T]) -> T:
    """Run to the end in virtual time; fails instead of hanging when nothing can happen any more."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(main)
