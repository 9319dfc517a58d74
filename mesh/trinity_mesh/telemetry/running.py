"""Sight of one process, for as long as it runs: the listener of metrics, CloudWatch's lines, and traces."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from trinity_mesh.clock import Clock
from trinity_mesh.telemetry import switch, tracing
from trinity_mesh.telemetry.config import TelemetryConfig
from trinity_mesh.telemetry.emf_writer import EmfWriter, process_emf
from trinity_mesh.telemetry.listener import EMF, METRICS, metrics_listener
from trinity_mesh.telemetry.readings import process_readings

SECTION = "telemetry"
"""Configuration section; its environment variables begin with TRINITY_TELEMETRY_."""


@contextlib.asynccontextmanager
async def telling(config: TelemetryConfig, *, service: str, clock: Clock) -> AsyncIterator[dict[str, str]]:
    """Tell what the settings ask for while the block runs; yields what a ready file says of it.

    Raises TrinityError when the address of the metrics cannot be bound, ConfigError when a library is missing.
    """
    readings = process_readings()
    facts: dict[str, str] = {}

    async def metrics() -> bytes:
        return readings.exposition()

    async def emf() -> bytes:
        return b"".join(line + b"\n" for line in process_emf().lines())

    switch.count(on=config.metrics)
    tracing.begin(config.traces, service=service)
    try:
        async with contextlib.AsyncExitStack() as stack:
            if config.listen and config.metrics:
                # What CloudWatch is told once is told to one: to a supervisor, or to the file below.
                ours = config.listen.startswith("unix:") and not config.emf
                pages = {METRICS: metrics, EMF: emf} if ours else {METRICS: metrics}
                facts["metrics"] = await stack.enter_async_context(metrics_listener(config.listen, pages))
            if config.emf and config.metrics:
                writer = EmfWriter(config, sources=process_emf(), clock=clock)
                task = asyncio.create_task(writer.run())
                stack.push_async_callback(_ended, task)
            yield facts
    finally:
        tracing.end()


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
