"""What tests ask about real processes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

GENEROUS_S = 60.0
"""No test waits so long unless it fails."""


def is_running(pid: int) -> bool:
    """Whether a process exists and is not merely waiting to be reaped."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return not Path("/proc/self/stat").exists()
    return stat[stat.rindex(")") + 2] not in "ZX"


def parents() -> dict[int, int]:
    """Parent of every process of this machine (Linux)."""
    found = {}
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            try:
                stat = (path / "stat").read_text()
            except OSError:
                continue
            found[int(path.name)] = int(stat[stat.rindex(")") + 2 :].split()[1])
    return found


def descendants(pid: int) -> set[int]:
    """Every process under `pid`, itself not included."""
    known = parents()
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        above = waiting.pop()
        below = [child for child, parent in known.items() if parent == above and child not in found]
        found.update(below)
        waiting.extend(below)
    return found


async def until(condition: Callable[[], bool], what: str) -> None:
    """Return once a condition holds; fail when it does not for too long."""
    try:
        async with asyncio.timeout(GENEROUS_S):
            while not condition():  # noqa: ASYNC110 - other processes set no events
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"never: {what}") from None
