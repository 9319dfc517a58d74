"""A process that answers as a gateway does, and counts each answer in a ledger before it leaves.

    python ledger_gateway.py VARIANT SOCKET SPOOL USAGE POSTGRES READY SEED

A request is one byte, the number of what is asked for; its answer is the same byte. Three variants:

- ledger      as gateways are
- deltas      the collector sends what was added since, and a table adds it up: must bill twice
- no-adoption nobody looks at what dead processes left: must lose

Time runs `SPEED` times as fast, so that hours turn, files fill and hours close while it runs. The way
to the usage service loses answers and repeats messages.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from pathlib import Path
from typing import Any

import asyncpg
import uvloop

from trinity.usage.v1 import usage_pb2
from trinity_admission.collector import Collector
from trinity_admission.ledger import Ledger, Slot
from trinity_admission.ledger_config import CollectorConfig, LedgerConfig
from trinity_admission.recording import Record, record_by
from trinity_admission.spool import Spool
from trinity_core.errors import Reason, TrinityError
from trinity_mesh.channels import open_channel
from trinity_mesh.clock import SystemClock
from trinity_mesh.process import write_json

KINDS = 8
SPEED = 14_400
DAYS_AGO = 10
LOST = 0.1
"""Part of the answers of the usage service that never arrive."""
REPEATED = 0.1
"""Part of the messages that are sent twice."""


class FastClock(SystemClock):
    """The machine's clock, with a wall clock that began ten days ago and runs fast."""

    def __init__(self) -> None:
        self._start_ns = super().unix_ns() - DAYS_AGO * 86_400 * 10**9
        self._since_ns = super().monotonic_ns()

    def unix_ns(self) -> int:
        return self._start_ns + (super().monotonic_ns() - self._since_ns) * SPEED


class Answering(asyncio.Protocol):
    """One connection: what comes is counted, one by one, and then goes back."""

    def __init__(self, ledger: Ledger, slots: list[Slot]) -> None:
        self._count = ledger.count
        self._slots = slots
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        count, slots = self._count, self._slots
        for asked in data:
            count(slots[asked])
        self._transport.write(data)


def unreliable(record: Record, dice: random.Random) -> Record:
    """The same, over a bad line."""

    async def sometimes(request: usage_pb2.RecordUsageRequest) -> usage_pb2.RecordUsageResponse:
        response = await record(request)
        if dice.random() < REPEATED:
            response = await record(request)
        if dice.random() < LOST:
            raise TrinityError(Reason.DEADLINE_EXCEEDED, "the answer was lost on its way")
        return response

    return sometimes


def adding_up(postgres_url: str) -> Record:
    """What a service would do that is sent differences: exact as long as nothing ever goes wrong."""
    sent: dict[tuple[str, int], int] = {}

    async def record(request: usage_pb2.RecordUsageRequest) -> usage_pb2.RecordUsageResponse:
        try:
            connection = await asyncpg.connect(postgres_url, timeout=5)
            try:
                rows = [(c.asset, c.count - sent.get((request.incarnation, c.slot), 0)) for c in request.counters]
                await connection.executemany(
                    "INSERT INTO deltas AS d VALUES ($1, $2) ON CONFLICT (asset) DO UPDATE SET n = d.n + EXCLUDED.n",
                    rows,
                )
            finally:
                connection.terminate()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise TrinityError(Reason.STORE_UNAVAILABLE, str(error)) from error
        for counter in request.counters:
            sent[request.incarnation, counter.slot] = counter.count
        return usage_pb2.RecordUsageResponse(recorded=len(request.counters))

    return record


async def main(variant: str, address: str, spool: Path, usage: str, postgres: str, ready: Path, seed: int) -> None:
    dice, clock = random.Random(seed), FastClock()
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    own: set[str] = set()
    if variant == "no-adoption":
        all_files = Spool.files
        Spool.files = lambda self: [path for path in all_files(self) if path.stem in own]  # type: ignore[method-assign]
    async with open_channel(usage) as channel:
        record = adding_up(postgres) if variant == "deltas" else record_by(channel, timeout_ms=5_000)
        config = CollectorConfig(flush_ms=100, lock_ms=100, backoff_ms_max=200, resend_s=3, drain_ms=20_000)
        collector = Collector(config, spool=spool, record=unreliable(record, dice), clock=clock)
        async with collector, Ledger(LedgerConfig(slots_per_file=3 * KINDS), spool=spool, clock=clock) as ledger:
            slots = [ledger.slot(variant, 1, "GetPrice", f"A{number}", 1) for number in range(KINDS)]
            server = await asyncio.get_running_loop().create_unix_server(lambda: Answering(ledger, slots), address)
            write_json(ready, {})
            while not stopping.is_set():
                own.update(ledger.incarnations)
                await clock.sleep(0.02)
            server.close()


if __name__ == "__main__":
    name, address, spool, usage, postgres, ready, seed = sys.argv[1:]
    Path(address).unlink(missing_ok=True)  # left by a life that was killed
    uvloop.run(main(name, address, Path(spool), usage, postgres, Path(ready), int(seed)))
