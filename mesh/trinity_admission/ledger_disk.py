"""When counts reach the disk: never by our doing, every so often, or before their answers leave."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from trinity_admission.ledger_config import Durability, LedgerConfig
from trinity_admission.ledger_file import LedgerFile
from trinity_admission.ledger_files import full
from trinity_core.errors import Reason, TrinityError
from trinity_mesh.clock import Clock

log = logging.getLogger(__name__)

T = TypeVar("T")


class LedgerDisk:
    """Does what may wait for the disk in one thread, in the order of the calls."""

    def __init__(self, config: LedgerConfig, *, files: Callable[[], Iterable[LedgerFile]], clock: Clock) -> None:
        """`files` names those in which something may have been counted."""
        self._config = config
        self._files = files
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, "ledger")
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._next: asyncio.Future[None] | None = None
        self._waiting: set[asyncio.Future[None]] = set()
        self._broken = False
        self.failures = 0
        """How often the disk did not take what was counted."""

    def start(self) -> None:
        """Follow the durability that was chosen, from now on."""
        if self._config.durability is Durability.INTERVAL:
            self._task = asyncio.create_task(self._now_and_then())
        elif self._config.durability is Durability.STRICT:
            self._task = asyncio.create_task(self._in_groups())

    async def close(self) -> None:
        """Write what is left, and let those go who wait for it. Nothing may be counted any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._config.durability is not Durability.PROCESS:
            await self._write()
        for group in tuple(self._waiting):
            self._settle(group)

    def shut(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    async def committed(self) -> None:
        """Return once everything counted before the call is on the disk; callers share a write.

        Raises TrinityError LEDGER_FULL when the disk failed, now or ever: what the kernel
        forgot after a failed write it would not write the next time either.
        """
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
            self._waiting.add(self._next)
            self._wake.set()
        await asyncio.shield(self._next)

    async def do(self, work: Callable[[], T]) -> T:
        """Do something that may wait for the disk."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _now_and_then(self) -> None:
        while True:
            await self._clock.sleep(self._config.sync_ms / 1_000)
            await self._write()

    async def _in_groups(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            # Who comes from here on has counted after the write began, and waits for the next one.
            group, self._next = self._next, None
            if group is not None:
                await self._write()
                self._settle(group)

    async def _write(self) -> None:
        files = tuple(self._files())

        def write() -> None:
            for file in files:
                file.sync()

        try:
            await self.do(write)
        except Exception:  # whatever it is, nobody may be told that his answer is safe
            self.failures += 1
            self._broken = True
            log.exception("the disk did not take what was counted")

    def _settle(self, group: asyncio.Future[None]) -> None:
        self._waiting.discard(group)
        if self._broken:
            group.set_exception(full())
            _ = group.exception()  # Its waiters may all have gone.
        else:
            group.set_result(None)


def stopping() -> TrinityError:
    """What is said once nothing can be counted any more."""
    return TrinityError(Reason.STOPPING, "the server is stopping; try again", retry_after_ms=1_000)
