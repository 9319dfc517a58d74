"""Runs a short command of a database's and returns what it said."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_KEPT: Final = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR")


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended."""

    code: int | None
    """Exit code, minus a signal's number, or None: it could not be started or did not end in time."""
    text: str
    """Standard output and standard error, as they came."""


def plain_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """The few variables a database needs, none that would change what it does (PG…, LC_…, TZ)."""
    return {**{name: environ[name] for name in _KEPT if name in environ}, "LC_ALL": "C", "TZ": "UTC"}


async def run_tool(
    argv: Sequence[str], *, env: Mapping[str, str], timeout_s: float, stdin: bytes = b"", cwd: str = "/"
) -> Said:
    """Run a command to its end; one that takes longer than `timeout_s` is killed. Never raises for what it does."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=dict(env),
            cwd=cwd,
        )
    except OSError as error:
        return Said(None, str(error))
    try:
        async with asyncio.timeout(timeout_s):
            out, _ = await process.communicate(stdin)
    except TimeoutError:
        return Said(None, f"no end within {timeout_s:g} s")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Said(process.returncode, out.decode("utf-8", "replace"))
