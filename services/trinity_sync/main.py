"""Composition root of the sync: config, stores, and a night's and a day's work."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import time
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from trinity_core.backoff import Backoff
from trinity_core.errors import TrinityError
from trinity_mesh.clock import Clock, SystemClock
from trinity_mesh.config import ConfigError, load
from trinity_mesh.process import Ready, run_process
from trinity_storage.postgres import Postgres
from trinity_storage.usage_source import UsageSource
from trinity_storage.valkey import Valkey
from trinity_sync.config import SyncConfig
from trinity_sync.schedule import next_night
from trinity_sync.syncing import Done, Kind, Syncing

log = logging.getLogger(__name__)

SECTION = "sync"
"""Configuration section of this part; its environment variables begin with TRINITY_SYNC_."""


async def run(config: SyncConfig, *, clock: Clock, stopping: asyncio.Event, ready: Ready) -> None:
    """Sync at once, then by the schedule, until `stopping` is set; a sync under way is given up.

    `ready` is told {} before the first sync: stores may come and go. Raises ConfigError
    without the stores' addresses.
    """
    async with opened(config, clock=clock) as syncing:
        ready({})
        working = asyncio.create_task(keep_in_step(syncing, config, clock=clock))
        waiting = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait((working, waiting), return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
        finally:
            for task in (working, waiting):
                task.cancel()
            await asyncio.gather(working, waiting, return_exceptions=True)


def main(*, values: Mapping[str, Any], environ: Mapping[str, str], ready_file: Path | None = None) -> int:
    """Run the sync as this process; returns its exit code.

    `values` is the section `sync` of the configuration, which `environ` overrides.
    """

    async def part(stopping: asyncio.Event, ready: Ready) -> None:
        config = load(SyncConfig, section=SECTION, values=values, environ=environ)
        await run(config, clock=SystemClock(), stopping=stopping, ready=ready)

    return run_process(part, name=SECTION, ready_file=ready_file)


@asynccontextmanager
async def opened(config: SyncConfig, *, clock: Clock) -> AsyncIterator[Syncing]:
    """The sync on its stores, for as long as the block runs. Raises ConfigError without their addresses."""
    for name, url in (("postgres", config.postgres.url), ("valkey", config.valkey.url)):
        if not url:
            raise ConfigError(f"settings of sync: {name}.url must be the address of a server")
    patient = replace(config.valkey, timeout_ms=max(config.valkey.timeout_ms, config.step_ms))
    async with (
        Postgres(config.postgres, url=config.postgres.url, name=SECTION, clock=clock) as postgres,
        Valkey(patient, url=config.valkey.url, clock=clock) as valkey,
    ):
        source = UsageSource(postgres, lasts_ms=config.lasts_s * 1_000)
        yield Syncing(source=source, valkey=valkey, history_days=config.history_days, clock=clock)


async def keep_in_step(syncing: Syncing, config: SyncConfig, *, clock: Clock) -> None:
    """Full load each night, increments in between, for ever. What fails is told once and tried again soon."""
    at, zone = time.fromisoformat(config.at), ZoneInfo(config.time_zone)
    backoff = Backoff(first_ms=_AGAIN_FIRST_MS, cap_ms=_AGAIN_CAP_MS)
    night_ns = next_night(clock.unix_ns(), at=at, zone=zone)
    due = True
    while True:
        wait_s = float(config.increment_s or _LOOK_S)
        full = clock.unix_ns() >= night_ns
        if due or full:
            try:
                _tell(await syncing.once(full=full))
            except TrinityError as error:
                if backoff.failures == 0:
                    log.warning("the usage log cannot be synced now, and is later: %s", error)
                due, wait_s = True, max(_LEAST_S, backoff.failed_s())
            else:
                backoff.succeeded()
                due = config.increment_s > 0
                if full:
                    night_ns = next_night(clock.unix_ns(), at=at, zone=zone)
        left_s = (night_ns - clock.unix_ns()) / 1e9
        await clock.sleep(min(wait_s, left_s) if left_s > 0 else wait_s)


def _tell(done: Done) -> None:
    if done.kind is Kind.FULL:
        log.info(
            "%d rows of the usage log copied anew (%d bytes) in %d ms: %s",
            done.rows,
            done.packed_bytes,
            done.took_ms,
            done.why,
        )
    elif done.rows:
        log.info("%d changed rows of the usage log copied in %d ms", done.rows, done.took_ms)


_LOOK_S: Final = 60
"""Without increments, the wall clock is looked at so often."""
_LEAST_S: Final = 0.5
_AGAIN_FIRST_MS: Final = 1_000
_AGAIN_CAP_MS: Final = 60_000
