"""The sandbox as a process: `python -m trinity_feeds.sandbox --ready-file F`."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trinity_core.errors import Reason, TrinityError
from trinity_core.venues import Venue
from trinity_feeds.sandbox.server import SandboxServers, serve_sandbox
from trinity_feeds.sandbox.settings import SandboxSettings, SandboxTimers
from trinity_mesh.clock import Clock, SystemClock
from trinity_mesh.config import load
from trinity_mesh.process import EXIT_CONFIG, Part, Ready, run_process

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; the process's exit code."""
    arguments = _parser().parse_args(argv)
    try:
        values = _values(arguments)
    except ValueError as error:
        print(f"sandbox: {error}", file=sys.stderr)  # noqa: T201 - before there is a log
        return EXIT_CONFIG
    return run_role(values=values, environ=os.environ, ready_file=arguments.ready_file, log_level=arguments.log_level)


def run_role(
    *, values: Mapping[str, Any], environ: Mapping[str, str], ready_file: Path | None, log_level: str = ""
) -> int:
    """Run with the settings of a configuration file's section `sandbox`; the process's exit code."""
    try:
        settings = load(SandboxSettings, section="sandbox", values=values, environ=environ)
    except ValueError as error:
        print(f"sandbox: {error}", file=sys.stderr)  # noqa: T201 - before there is a log
        return EXIT_CONFIG
    if log_level:
        environ = {**environ, "TRINITY_TELEMETRY_LOG_LEVEL": log_level}
    return run_process(
        part(settings=settings, clock=SystemClock()), name="sandbox", ready_file=ready_file, environ=environ
    )


def part(*, settings: SandboxSettings, clock: Clock) -> Part:
    """The sandbox as a part of the mesh: serves until told to stop, and fails when its pump does."""

    async def run(stopping: asyncio.Event, ready: Ready) -> None:
        try:
            servers = await serve_sandbox(settings=settings, clock=clock)
        except OSError as error:
            text = f"cannot listen: {error.strerror or error}; stop what uses the port or choose others"
            raise TrinityError(Reason.BACKEND_UNAVAILABLE, text) from error
        log.warning("every price of these venues is simulated; control is at %s", servers.control_url)
        ready(facts(servers))
        stop = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait({stop, servers.pump}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            await servers.close()

    return run


def facts(servers: SandboxServers) -> Mapping[str, Any]:
    """Addresses as the ready file shows them: `{"coinbase": {"ws", "rest"}, …, "control"}`."""
    urls = {venue.value: {"ws": each.ws_url, "rest": each.rest_url} for venue, each in servers.urls.items()}
    return {**urls, "control": servers.control_url}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trinity_feeds.sandbox",
        description="Six local venues with simulated prices. Every setting can also come from TRINITY_SANDBOX_*.",
    )
    add = parser.add_argument
    add("--ready-file", type=Path, help="written, whole at once, when all sockets are open")
    add("--log-level", default="INFO")
    add("--seed", type=int, help="the same seed gives the same quotes")
    add("--rate", type=float, dest="ticks_per_s", metavar="TICKS_PER_S", help="quotes a second over all venues")
    add("--asset", action="append", dest="assets", metavar="BTC", help="list only these assets; repeatable")
    add("--delist", action="append", dest="delisted", metavar="VENUE:ASSET", help="repeatable")
    add("--replay", action="append", dest="replay_files", metavar="FILE", help="play recordings instead; repeatable")
    add("--faults", dest="faults_file", metavar="FILE", help="script of faults, a JSON list")
    add("--faults-per-minute", type=float, help="random faults from the seed")
    add("--control-port", type=int)
    add("--port", action="append", dest="ports", metavar="VENUE=PORT", help="default: free ports; repeatable")
    add("--timer", action="append", dest="timers", metavar="NAME=SECONDS", help=f"one of {_names(SandboxTimers)}")
    add("--strict-keepalive", action="store_const", const=True, help="only what clients send keeps connections open")
    add("--no-rate-limits", action="store_const", const=False, dest="rate_limits")
    return parser


def _values(arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings among the arguments that were given. Raises ValueError for a pair without an equals sign."""
    known = {field.name for field in dataclasses.fields(SandboxSettings)}
    values = {name: value for name, value in vars(arguments).items() if name in known and value is not None}
    for name in ("ports", "timers"):
        if name in values:
            values[name] = dict(_pair(text) for text in values[name])
    if "ports" in values and not set(values["ports"]) <= set(Venue):
        raise ValueError(f"--port: venues are {', '.join(Venue)}")
    return values


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"{text!r} must look like name=value")
    return name, value


def _names(kind: type[Any]) -> str:
    return ", ".join(field.name for field in dataclasses.fields(kind))
