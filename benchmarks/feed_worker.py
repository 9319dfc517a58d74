"""What one feed worker costs: six sandbox venues over real sockets, FeedService read over a Unix socket.

Each row starts a sandbox and a worker as processes of their own, lets them settle, and takes the worker's
CPU time from /proc over a few seconds. "No stream" is the cost of reading and decoding alone: sockets,
protocols, ticks; the rows with streams add serialising and gRPC. Ages are measured by the first stream's
reader, from the receipt of a frame to the tick in the reader's hands. Linux only.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trinity.feed.v1 import feed_pb2, feed_service_pb2_grpc
from trinity_mesh.channels import open_channel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROWS = ((1_000, 1), (5_000, 0), (5_000, 1), (5_000, 4), (10_000, 1))
"""Ticks a second that the sandbox is asked for, and streams."""
SETTLE_S = 4.0
MEASURE_S = 8.0


@contextmanager
def started(folder: Path, module: str, *arguments: str, environ: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """A process of ours, up to its ready file; ended by SIGTERM."""
    ready = folder / f"{module}.json"
    command = [sys.executable, "-m", module, *(argument.format(ready=ready) for argument in arguments)]
    with subprocess.Popen(command, env=os.environ | dict(environ), stderr=subprocess.DEVNULL) as process:
        try:
            while not ready.exists():
                if process.poll() is not None:
                    raise RuntimeError(f"{module} ended with {process.returncode}")
                time.sleep(0.02)
            yield json.loads(ready.read_text())
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=20)


def cpu_s(pid: int) -> float:
    """User and system time of a process, seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(facts: Mapping[str, Any], streams: int) -> dict[str, float]:
    """Ticks taken by the worker, its CPU, and how old ticks are when a stream's reader has them."""
    ages_ns: list[int] = []

    async def read(stub: Any, keep: bool) -> None:
        async for batch in stub.StreamTicks(feed_pb2.StreamTicksRequest()):
            now = time.monotonic_ns()
            if keep and not batch.snapshot:
                ages_ns.extend(now - tick.receive_monotonic_ns for tick in batch.ticks)

    async def ticks(stub: Any) -> int:
        return sum(venue.ticks for venue in (await stub.ListVenues(feed_pb2.ListVenuesRequest())).venues)

    async with open_channel(facts["address"]) as channel:
        stub = feed_service_pb2_grpc.FeedServiceStub(channel)
        readers = [asyncio.create_task(read(stub, number == 0)) for number in range(streams)]
        await asyncio.sleep(SETTLE_S)
        ages_ns.clear()
        before, cpu_before, began = await ticks(stub), cpu_s(facts["pid"]), time.monotonic()
        await asyncio.sleep(MEASURE_S)
        took, cpu, after = time.monotonic() - began, cpu_s(facts["pid"]) - cpu_before, await ticks(stub)
        for reader in readers:
            reader.cancel()
        await asyncio.wait(readers) if readers else None
    ages_ns.sort()
    ages = {f"age_p{rank}_ms": ages_ns[len(ages_ns) * rank // 100] / 1e6 for rank in (50, 99)} if ages_ns else {}
    return {
        "per_second": (after - before) / took,
        "core_percent": 100 * cpu / took,
        "cpu_us": 1e6 * cpu / (after - before),
        **ages,
    }


def row(rate: int, streams: int) -> dict[str, Any]:
    """One row of the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sandbox = started(folder, "trinity_feeds.sandbox", "--ready-file", "{ready}", "--rate", str(rate), environ={})
        with sandbox as facts:
            urls = {venue: each for venue, each in facts.items() if isinstance(each, dict)}
            environ = {
                "TRINITY_FEEDS_LISTEN": f"unix:{folder}/feeds.sock",
                "TRINITY_FEEDS_MODE": "sandbox",
                "TRINITY_FEEDS_WS_URLS": json.dumps({venue: each["ws"] for venue, each in urls.items()}),
                "TRINITY_FEEDS_REST_URLS": json.dumps({venue: each["rest"] for venue, each in urls.items()}),
            }
            with started(folder, "trinity_feeds", "{ready}", environ=environ) as worker:
                return {"name": f"{rate} asked, {streams} streams", **asyncio.run(measure(worker, streams))}


def main() -> None:
    """Print the table; write benchmarks/results/feed_worker.json."""
    print(f"{'ticks/s':>8} {'streams':>7} {'of a core':>9} {'µs/tick':>8} {'age p50':>8} {'age p99':>8}")
    rows = []
    for rate, streams in ROWS:
        made = row(rate, streams)
        rows.append(made)
        ages = "".join(f"{made[key]:6.1f}ms" if key in made else f"{'-':>8} " for key in ("age_p50_ms", "age_p99_ms"))
        core = f"{made['core_percent']:.0f} %"
        print(f"{made['per_second']:8.0f} {streams:7} {core:>9} {made['cpu_us']:8.0f} {ages}", flush=True)
    result = {"machine": f"{platform.machine()}, Python {platform.python_version()}", "rows": rows}
    folder = Path(__file__).with_name("results")
    folder.mkdir(exist_ok=True)
    folder.joinpath("feed_worker.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
