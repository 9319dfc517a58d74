"""Sight of a whole mesh on one machine: one address for the metrics of all its processes, and CloudWatch's lines.

Every process serves its own figures on a Unix socket that only this user reaches; here they are asked,
all at once, whenever somebody asks here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from trinity_core.errors import TrinityError
from trinity_mesh.clock import Clock
from trinity_mesh.telemetry import catalogue
from trinity_mesh.telemetry.config import TelemetryConfig
from trinity_mesh.telemetry.emf_writer import EmfFile
from trinity_mesh.telemetry.listener import EMF, METRICS, metrics_listener, scrape
from trinity_mesh.telemetry.merging import merged
from trinity_mesh.telemetry.metrics import Sample
from trinity_mesh.telemetry.readings import Readings
from trinity_mesh.telemetry.running import SECTION

LISTEN_DEFAULT: Final = "127.0.0.1:0"
SUPERVISOR: Final = "up"
"""Name of the supervisor's own process, as in the ready file."""
NAME_VARIABLE: Final = "TRINITY_PROCESS"
"""Names a process among those of its mesh, in its environment."""
_ASK_S: Final = 2.0
_PREFIX: Final = f"TRINITY_{SECTION.upper()}_"


class MeshSight:
    """Asks the processes of one mesh."""

    def __init__(self, processes: Mapping[str, str], *, config: TelemetryConfig, clock: Clock) -> None:
        """`processes` are the addresses of their metrics by name."""
        self._config = replace(config, listen=config.listen or LISTEN_DEFAULT)
        self._processes = dict(processes)
        self._clock = clock
        self._up: dict[str, bool] = {}
        self._own = Readings(process_figures=True)
        self._own.add(lambda: [Sample(catalogue.PROCESS_UP, (name,), up) for name, up in self._up.items()])

    @contextlib.asynccontextmanager
    async def telling(self) -> AsyncIterator[str]:
        """Tell while the block runs; yields the address, empty where metrics are off.

        Raises TrinityError when it cannot be bound.
        """
        if not self._config.metrics:
            yield ""
            return
        async with contextlib.AsyncExitStack() as stack:
            yield await stack.enter_async_context(metrics_listener(self._config.listen, {METRICS: self.exposition}))

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Write CloudWatch's lines while the block runs, if the settings say so."""
        if not self._config.emf or not self._config.metrics:
            yield
            return
        file = EmfFile(self._config)
        task = asyncio.create_task(self._write_on(file))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self._write(file)

    async def exposition(self) -> bytes:
        """What all of them tell now; of one that does not answer, that it does not."""
        texts = await self._ask(METRICS)
        self._up = {name: text is not None for name, text in texts.items()}
        found = {name: text for name, text in texts.items() if text is not None}
        return merged({SUPERVISOR: self._own.exposition(), **found})

    async def _ask(self, page: str) -> dict[str, bytes | None]:
        answers = await asyncio.gather(*(_asked(address, page) for address in self._processes.values()))
        return dict(zip(self._processes, answers, strict=True))

    async def _write_on(self, file: EmfFile) -> None:
        while True:
            await self._clock.sleep(self._config.emf_period_s)
            await self._write(file)

    async def _write(self, file: EmfFile) -> None:
        texts = await self._ask(EMF)
        file.write([line for text in texts.values() for line in (text or b"").splitlines()])


async def _asked(address: str, page: str) -> bytes | None:
    try:
        return await scrape(address, page=page, timeout_s=_ASK_S)
    except TrinityError:
        return None


def metrics_address(sockets: Path, process: str) -> str:
    """Where a process of a mesh serves its metrics."""
    return f"unix:{sockets / process}.m.sock"


def environ_of(environ: Mapping[str, str], *, process: str, address: str) -> dict[str, str]:
    """The environment of a process of a mesh: it tells its supervisor, and nobody else."""
    return {
        **environ,
        f"{_PREFIX}LISTEN": address,
        f"{_PREFIX}EMF": "",
        NAME_VARIABLE: process,
    }
