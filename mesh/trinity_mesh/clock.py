"""The only module that reads time. Everything else is given a clock."""

from __future__ import annotations

import asyncio
import time
import uuid
from functools import cache
from pathlib import Path
from typing import Protocol


class Clock(Protocol):
    """Time as an argument. Durations MUST come from `monotonic_ns`, never from `unix_ns`."""

    def monotonic_ns(self) -> int:
        """Nanoseconds that only grow, from an arbitrary start; unaffected by wall-clock jumps."""
        ...

    def unix_ns(self) -> int:
        """Wall-clock nanoseconds since 1970-01-01 UTC; may jump."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds` on the monotonic clock."""
        ...


class SystemClock:
    """The machine's clocks: CLOCK_MONOTONIC, shared by all processes of one boot of a Linux host, and CLOCK_REALTIME.

    They are the library's own functions: a method around them would cost as much as they do, some times an answer.
    """

    monotonic_ns = staticmethod(time.monotonic_ns)
    unix_ns = staticmethod(time.time_ns)

    async def sleep(self, seconds: float) -> None:
        """`asyncio.sleep`."""
        await asyncio.sleep(seconds)


@cache
def clock_id() -> str:
    """Names this host's monotonic clock: Linux's boot id, elsewhere one of this process's own.

    Processes that show the same id share one clock, so that their monotonic times can be
    compared. Time namespaces shift the clock and are told apart by their inode.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        namespace = Path("/proc/self/ns/time").stat().st_ino
    except OSError:
        return uuid.uuid4().hex
    return f"{boot}:{namespace}"
