"""The command as a process of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Done:
    """How a process ended."""

    code: int
    out: bytes
    err: bytes


@dataclass(frozen=True)
class Shown:
    """How a command ended, as its user sees it."""

    exit_code: int
    stdout: str
    stderr: str


Trinity = Callable[..., Awaitable[Shown]]
"""Runs the command with some arguments."""


async def start(*arguments: str, env: dict[str, str] | None = None, **more: object) -> asyncio.subprocess.Process:
    """Start the command as a process of its own."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TRINITY_")}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "trinity_cli.main",
        *arguments,
        env={**environ, **(env or {})},
        **{  # type: ignore[arg-type]
            "stdin": asyncio.subprocess.DEVNULL,
            "stdout": asyncio.subprocess.PIPE,
            "stderr": asyncio.subprocess.PIPE,
            **more,
        },
    )


async def finish(process: asyncio.subprocess.Process, data: bytes | None = None) -> Done:
    """Wait for its end."""
    async with asyncio.timeout(60):
        out, err = await process.communicate(data)
    assert process.returncode is not None
    return Done(process.returncode, out or b"", err or b"")
