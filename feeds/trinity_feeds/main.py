"""The feed worker's composition root: settings, parts, server, an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from trinity_core.assets import AssetTable, load_assets
from trinity_core.venues import Venue
from trinity_feeds.config import FeedsConfig, Mode
from trinity_feeds.readings import feed_samples
from trinity_feeds.session import Session, SessionState
from trinity_feeds.venues import VENUES
from trinity_feeds.worker import Worker
from trinity_mesh.clock import Clock, SystemClock, clock_id
from trinity_mesh.config import load
from trinity_mesh.identity import Identity
from trinity_mesh.process import Ready, run_process
from trinity_mesh.server import MeshServer
from trinity_mesh.telemetry.readings import process_readings

log = logging.getLogger(__name__)

_LOOK_S: Final = 0.05
"""Pace of looks at the connections while the worker starts."""

SECTION = "feeds"
"""Configuration section of this part; its environment variables begin with TRINITY_FEEDS_."""


async def run(
    config: FeedsConfig,
    *,
    clock: Clock,
    stopping: asyncio.Event,
    ready: Ready,
    assets: AssetTable | None = None,
    sessions: Mapping[Venue, type[Session]] = VENUES,
) -> None:
    """Serve until `stopping` is set, then end streams with STOPPING, close sockets and drain.

    `ready` is told {"address", "remote", "worker", "venues", "sandbox"} once FeedService answers and every
    venue sends data, or `config.ready_wait_ms` have passed. `assets` defaults to the table of
    trinity_core. Raises TrinityError when `config.listen` cannot be bound.
    """
    worker_id = f"{config.worker}-{uuid.uuid4().hex[:8]}"
    worker = Worker(
        config=config,
        worker=worker_id,
        clock=clock,
        clock_id=clock_id(),
        assets=assets or load_assets(),
        sessions=sessions,
        random_source=random.Random(),  # noqa: S311 - spreads waits, guards nothing
    )
    if config.mode is Mode.SANDBOX:
        log.warning("sandbox venues: every price of this worker is simulated")
    identity = Identity(config.tls, service=SECTION, clock=clock)
    async with (
        contextlib.AsyncExitStack() as stack,
        identity,
        worker.quotes,
        MeshServer(
            address=config.listen, services=[worker.servicer.service()], limits=config.server, security=identity
        ) as server,
        asyncio.TaskGroup() as tasks,
    ):
        stack.enter_context(process_readings().reading(lambda: feed_samples(worker, clock)))
        keeping = tasks.create_task(worker.run(), name="connections")
        await server.set_serving(serving=True)
        await _venues(worker, stopping, clock, config.ready_wait_ms)
        ready(
            {
                "address": server.address,
                "remote": server.remote_address,
                "worker": worker_id,
                "venues": [str(venue) for venue in config.venues],
                "sandbox": config.mode is Mode.SANDBOX,
            }
        )
        await stopping.wait()
        await server.set_serving(serving=False)
        worker.hub.close()
        keeping.cancel()


async def _venues(worker: Worker, stopping: asyncio.Event, clock: Clock, wait_ms: int) -> None:
    """Return once every venue sends data, the worker stops, or it has been waited for long enough."""
    end_ns = clock.monotonic_ns() + wait_ms * 1_000_000
    while clock.monotonic_ns() < end_ns and not stopping.is_set():
        if all(connection.state is SessionState.LIVE for connection in worker.connections.values()):
            return
        await clock.sleep(_LOOK_S)


def main(*, values: Mapping[str, Any], environ: Mapping[str, str], ready_file: Path | None = None) -> int:
    """Run a feed worker as this process; returns its exit code.

    `values` is the section `feeds` of the configuration, which `environ` overrides.
    """

    async def part(stopping: asyncio.Event, ready: Ready) -> None:
        config = load(FeedsConfig, section=SECTION, values=values, environ=environ)
        await run(config, clock=SystemClock(), stopping=stopping, ready=ready)

    return run_process(part, name=SECTION, ready_file=ready_file)
