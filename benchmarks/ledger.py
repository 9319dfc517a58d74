"""What it costs to count an answer so that kill -9 cannot lose it, beside counting in memory and by system call."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time

from trinity_admission.ledger import Ledger
from trinity_admission.ledger_config import Durability, LedgerConfig
from trinity_admission.ledger_file import LedgerReader
from trinity_mesh.clock import SystemClock

ROUNDS = 7
TIMES = 200_000
ASSETS = [f"A{number}" for number in range(64)]
GOAL_US = 0.5


def main() -> None:
    """Print microseconds a count; write benchmarks/results/ledger.json. Fails when the ledger misses its goal."""
    with tempfile.TemporaryDirectory() as folder:
        costs = asyncio.run(measure(Path(folder)))
        strict = asyncio.run(strict_rate(Path(folder) / "strict"))
    bare = costs["dict in memory: gone with the process"]
    rows = [{"name": name, "us": cost, "ratio": cost / bare} for name, cost in costs.items()]
    for row in rows:
        print(f"{row['name']:58} {row['us']:7.3f} us {row['ratio']:6.1f} x")
    for name, rate in strict.items():
        print(f"{name:58} {rate:10,.0f} answers/s")
    result = {
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "rows": rows,
        "strict_per_second": strict,
    }
    Path(__file__).with_name("results").mkdir(exist_ok=True)
    Path(__file__).with_name("results").joinpath("ledger.json").write_text(json.dumps(result, indent=2) + "\n")
    assert costs[KEPT] < GOAL_US, f"a count costs {costs[KEPT]:.3f} us, and should cost less than {GOAL_US}"


KEPT = "ledger, slot kept by the caller"


async def measure(folder: Path) -> dict[str, float]:
    """Microseconds of processor time a count, the fastest of some rounds; all in 64 different counters."""
    async with Ledger(LedgerConfig(), spool=folder / "spool", clock=SystemClock()) as ledger:
        slots = [ledger.slot("0c7bgy9rbydg", 1, "GetPrice", asset, 1) for asset in ASSETS]
        counts = dict.fromkeys(ASSETS, 0)
        fd = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        line = bytes(16)
        pairs = list(zip(slots, ASSETS, strict=True)) * (TIMES // len(ASSETS))

        def nothing() -> None:
            for _slot, _asset in pairs:
                pass

        def in_memory() -> None:
            for _slot, asset in pairs:
                counts[asset] += 1

        def kept() -> None:
            count = ledger.count
            for slot, _asset in pairs:
                count(slot)

        def found() -> None:
            count, slot_of = ledger.count, ledger.slot
            for _slot, asset in pairs:
                count(slot_of("0c7bgy9rbydg", 1, "GetPrice", asset, 1))

        def logged() -> None:
            for _slot, _asset in pairs:
                os.write(fd, line)

        loop = await cost(nothing)
        costs = {
            "dict in memory: gone with the process": await cost(in_memory) - loop,
            KEPT: await cost(kept) - loop,
            "ledger, slot looked up": await cost(found) - loop,
            "16 bytes appended to a file": await cost(logged) - loop,
        }
        os.close(fd)
    total = 0
    for path in (folder / "spool").glob("*.uctr"):
        reader = LedgerReader(path)
        total += sum(value for _, value in reader.changed())
        reader.close()
    assert total == 2 * ROUNDS * len(pairs), "every count is in the file"
    return costs


async def cost(work: Callable[[], None]) -> float:
    """Microseconds of processor time each."""
    rounds = []
    for _ in range(ROUNDS):
        began = process_time()
        work()
        rounds.append(process_time() - began)
        await asyncio.sleep(0.11)  # the disk gets its turn, as in a gateway
    return min(rounds) / (TIMES // len(ASSETS) * len(ASSETS)) * 1e6


async def strict_rate(folder: Path) -> dict[str, float]:
    """Answers a second when each waits until its count is on the disk, by the number of those under way."""
    rates = {}
    config = LedgerConfig(durability=Durability.STRICT)
    async with Ledger(config, spool=folder, clock=SystemClock()) as ledger:
        slot = ledger.slot("0c7bgy9rbydg", 1, "GetPrice", "BTC", 1)

        async def answers(times: int) -> None:
            for _ in range(times):
                ledger.count(slot)
                await ledger.committed()

        for many in (1, 32, 1_024):
            seconds = []
            for _ in range(3):
                began = perf_counter()
                await asyncio.gather(*(answers(40) for _ in range(many)))
                seconds.append(perf_counter() - began)
            rates[f"strict, {many} under way"] = many * 40 / statistics.median(seconds)
    return rates


if __name__ == "__main__":
    main()
