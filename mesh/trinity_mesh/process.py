"""What every process of the mesh does around its part: event loop, signals, logs, readiness, exit code."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import resource
import signal
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from trinity_core.errors import TrinityError
from trinity_mesh.clock import SystemClock
from trinity_mesh.config import ConfigError, load
from trinity_mesh.telemetry.config import TelemetryConfig
from trinity_mesh.telemetry.logs import log_to_stderr
from trinity_mesh.telemetry.running import SECTION, telling
from trinity_mesh.whole_file import write_whole

_FILES: Final = 65_536
"""Files and connections that a process asks the system for."""
EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_CONFIG: Final = 78
"""EX_CONFIG of sysexits.h: a restart will not help."""

Ready = Callable[[Mapping[str, Any]], None]
"""Called once by a part when it serves, with facts for its supervisor (addresses, ids)."""

Part = Callable[[asyncio.Event, Ready], Awaitable[None]]
"""A part's `run`: returns when the event is set and everything is drained."""


def run_process(
    part: Part, *, name: str, ready_file: Path | None = None, environ: Mapping[str, str] = os.environ
) -> int:
    """Run one part until SIGTERM or SIGINT; the process's exit code.

    `ready_file` gets the part's facts as JSON, written beside and renamed, once it serves. Metrics, traces
    and the form of the log are as TRINITY_TELEMETRY_… of `environ` says.
    """
    log_to_stderr(name)
    try:
        config = load(TelemetryConfig, section=SECTION, values={}, environ=environ)
    except ConfigError as error:
        logging.getLogger(name).error("%s", error)  # noqa: TRY400 - the text says what to do
        return EXIT_CONFIG
    log_to_stderr(name, form=config.log_form, level=config.log_level)
    _allow_files()
    try:
        import uvloop
    except ImportError:
        factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    else:
        factory = uvloop.new_event_loop
    log = logging.getLogger(name)
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(_until_signalled(part, ready_file, config, name))
    except ConfigError as error:
        log.error("%s", error)  # noqa: TRY400 - the text says what to do; a traceback would hide it
        return EXIT_CONFIG
    except TrinityError as error:
        log.error("%s", error.message)  # noqa: TRY400 - likewise
        return EXIT_FAILED
    except Exception:
        log.exception("%s failed", name)
        return EXIT_FAILED
    return EXIT_OK


async def _until_signalled(part: Part, ready_file: Path | None, config: TelemetryConfig, name: str) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)

    async with telling(config, service=name, clock=SystemClock()) as told:
        await part(stopping, _ready(ready_file, told))


def _ready(ready_file: Path | None, told: Mapping[str, Any]) -> Ready:
    def ready(facts: Mapping[str, Any]) -> None:
        # What was made while starting lives as long as the process: keep the collector off it.
        gc.collect()
        gc.freeze()
        if ready_file is not None:
            write_json(ready_file, {"pid": os.getpid(), **facts, **told})

    return ready


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file so that a reader sees all of it or none; mode 0600."""
    write_whole(path, json.dumps(value, indent=2).encode() + b"\n")


def _allow_files() -> None:
    """Let the process have as many connections as it may: the usual soft bound is 1,024, a worker's own 10,000."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
