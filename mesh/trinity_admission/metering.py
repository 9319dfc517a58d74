"""Ledger and collector of one process, put together in the order in which they must end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio

from trinity_admission.collector import Collector
from trinity_admission.ledger import Ledger
from trinity_admission.ledger_config import CollectorConfig, LedgerConfig
from trinity_admission.readings import ledger_samples
from trinity_admission.recording import record_by
from trinity_mesh.clock import Clock
from trinity_mesh.telemetry.readings import process_readings


@asynccontextmanager
async def metering(
    *, spool: Path, channel: grpc.aio.Channel, ledger: LedgerConfig, collector: CollectorConfig, clock: Clock
) -> AsyncIterator[Ledger]:
    """The ledger to count in, until the block ends; then its last counts are recorded, within `drain_ms`.

    `channel` leads to the usage service, by a Unix socket, and outlives the block. All
    processes of a host share `spool`, which is on a local disk. End whatever answers before the block ends.
    """
    record = record_by(channel, timeout_ms=collector.timeout_ms)
    async with (
        Collector(collector, spool=spool, record=record, clock=clock) as collecting,
        Ledger(ledger, spool=spool, clock=clock) as counting,
    ):
        with process_readings().reading(lambda: ledger_samples(counting, collecting, clock)):
            yield counting
