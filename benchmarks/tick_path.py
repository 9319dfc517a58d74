"""From a frame in a feed worker to a price in a gateway's replica: five processes, one host, all clocks the same.

    sandbox venues ─ws─► feed worker ─StreamTicks─► price service ─WatchPrices─► PriceBook in this script's reader

Measured is the time between the feed worker's receipt of the frame (`receive_time` of the price,
told by CLOCK_MONOTONIC) and the moment the replica shows the price that the tick made. Only prices
that a tick made are counted: the worker holds the four venues with US dollar markets, because a
price that changes with the rate of USDT carries an older tick's time, and a price whose
deadlines alone were extended is left out and counted apart.

    python benchmarks/tick_path.py [--seconds 30] [--ticks-per-s 5000]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc.aio
import uvloop

from trinity.feed.v1 import feed_pb2, feed_service_pb2_grpc
from trinity.price.v1 import price_pb2
from trinity_client import PriceBook
from trinity_mesh.wire import unstamp

HERE = Path(__file__).resolve().parent
VENUES = ("coinbase", "kraken", "cryptocom", "gemini")
TICKS = os.sysconf("SC_CLK_TCK")
GOAL_MS = 20.0


def main() -> int:
    """Run the chain once and print what it gave; 1 when the goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--warm-s", type=float, default=8.0)
    parser.add_argument("--ticks-per-s", type=float, default=5_000.0)
    parser.add_argument("--reader", metavar="ADDRESS", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.reader:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            print(json.dumps(runner.run(_read(arguments.reader, arguments.warm_s, arguments.seconds))))
        return 0
    return _measure(arguments)


def _measure(arguments: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="tick-path-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        processes: dict[str, subprocess.Popen[bytes]] = {}

        def start(role: str, *command: str, **environ: str) -> dict[str, Any]:
            ready = folder / f"{role}.json"
            with (folder / f"{role}.log").open("wb") as errors:
                processes[role] = stack.enter_context(
                    _ended(
                        subprocess.Popen(
                            [sys.executable, *(part.replace("READY", str(ready)) for part in command)],
                            env={**os.environ, **environ},
                            stderr=errors,
                        )
                    )
                )
            return _ready(ready, processes[role], folder / f"{role}.log")

        # The generator spreads its quotes over six venues' markets; the worker listens to four of them.
        rate = arguments.ticks_per_s * 755 / 479
        sandbox = start(
            "sandbox", "-m", "trinity_feeds.sandbox", "--ready-file", "READY", "--rate", f"{rate:.0f}", "--seed", "7"
        )
        start(
            "feed worker",
            "-m",
            "trinity_feeds",
            "READY",
            TRINITY_FEEDS_LISTEN=f"unix:{folder}/feed.sock",
            TRINITY_FEEDS_MODE="sandbox",
            TRINITY_FEEDS_VENUES=json.dumps(VENUES),
            TRINITY_FEEDS_WS_URLS=json.dumps({venue: sandbox[venue]["ws"] for venue in VENUES}),
            TRINITY_FEEDS_REST_URLS=json.dumps({venue: sandbox[venue]["rest"] for venue in VENUES}),
        )
        address = f"unix:{folder}/price.sock"
        start(
            "price service",
            "-m",
            "trinity_price",
            "READY",
            TRINITY_PRICE_LISTEN=address,
            TRINITY_PRICE_FEEDS=json.dumps([f"unix:{folder}/feed.sock"]),
        )
        reader = stack.enter_context(
            _ended(
                subprocess.Popen(
                    [
                        *(sys.executable, __file__, "--reader", address),
                        *("--warm-s", str(arguments.warm_s), "--seconds", str(arguments.seconds)),
                    ],
                    stdout=subprocess.PIPE,
                )
            )
        )
        processes["replica"] = reader
        time.sleep(arguments.warm_s)
        before, ticks_before, began = _use(processes), _ticks(folder), time.monotonic()
        time.sleep(arguments.seconds)
        after, ticks_after, took = _use(processes), _ticks(folder), time.monotonic() - began
        output, _ = reader.communicate(timeout=60)
        seen = json.loads(output)
    use = {role: {what: (after[role][what] - before[role][what]) / took for what in after[role]} for role in processes}
    return _report(seen, use, (ticks_after - ticks_before) / took, arguments)


async def _read(address: str, warm_s: float, seconds: float) -> dict[str, Any]:
    """A gateway-like process: a replica, and for each change the time since its tick was received."""
    latencies = array("q")
    last: dict[str, tuple[int, tuple[Any, ...]]] = {}
    extended = 0
    counting = False

    def on_change(message: price_pb2.Price) -> None:
        nonlocal extended
        now_ns = time.monotonic_ns()
        asset = message.asset
        received = unstamp(message.receive_time)
        says = (message.price, message.confidence, message.spread_bps, message.state, message.source_count)
        known = last.get(asset)
        last[asset] = (received, says)
        if not counting or known is None:
            return
        if received == known[0] or says == known[1]:
            extended += 1
        else:
            latencies.append(now_ns - received - book.views[asset].wall_to_mono_ns)

    async with PriceBook(address, on_change=on_change) as book:
        await book.ready()
        gc.collect()
        gc.freeze()
        await asyncio.sleep(warm_s)
        counting = True
        skipped = book.connection.skipped
        await asyncio.sleep(seconds)
        counting = False
        skipped = book.connection.skipped - skipped
    values = sorted(latencies)
    return {
        "prices": len(values),
        "extended": extended,
        "folded": skipped,
        "assets": len(last),
        "ms": {
            label: values[min(len(values) - 1, int(len(values) * share))] / 1e6
            for label, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0))
        },
    }


def _report(
    seen: dict[str, Any], use: dict[str, dict[str, float]], ticks_per_s: float, arguments: argparse.Namespace
) -> int:
    prices_per_s = seen["prices"] / arguments.seconds
    print(f"{ticks_per_s:,.0f} ticks/s in, {prices_per_s:,.0f} prices/s out over {seen['assets']} assets, ", end="")
    print(f"{seen['folded']} changes folded, {seen['extended']} extensions left out")
    print("frame received → price visible in the replica, ms:")
    print("  " + "  ".join(f"{label} {value:.2f}" for label, value in seen["ms"].items()))
    print("cores used: " + ", ".join(f"{role} {share['cores']:.2f}" for role, share in use.items()))
    print("waited for a core: " + ", ".join(f"{role} {share['waited']:.1%}" for role, share in use.items()))
    met = seen["ms"]["p99"] < GOAL_MS
    print(f"goal p99 < {GOAL_MS:g} ms: {'met' if met else 'MISSED'}")
    result = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "seconds": arguments.seconds,
        "ticks_per_s": round(ticks_per_s),
        "prices_per_s": round(prices_per_s),
        "changes_folded": seen["folded"],
        "latency_ms": seen["ms"],
        "use": use,
        "goal": {"p99_ms_max": GOAL_MS, "met": met},
    }
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results/tick_path.json").write_text(json.dumps(result, indent=2) + "\n")
    return 0 if met else 1


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _ready(path: Path, process: subprocess.Popen[bytes], log: Path) -> dict[str, Any]:
    for _ in range(3_000):
        if path.exists():
            facts: dict[str, Any] = json.loads(path.read_text())
            return facts
        if process.poll() is not None:
            break
        time.sleep(0.01)
    sys.exit(f"{path.stem} did not start:\n{log.read_text()}")


def _use(processes: dict[str, subprocess.Popen[bytes]]) -> dict[str, dict[str, float]]:
    """Processor seconds used so far, and seconds for which the event loop was runnable and had no core.

    Where the second is more than a little, others load the machine, and the latencies are theirs.
    """
    used = {}
    for role, process in processes.items():
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        waited_ns = int(Path(f"/proc/{process.pid}/schedstat").read_text().split()[1])
        used[role] = {"cores": (int(fields[11]) + int(fields[12])) / TICKS, "waited": waited_ns / 1e9}
    return used


def _ticks(folder: Path) -> int:
    """Ticks that the feed worker has made so far."""

    async def ask() -> int:
        async with grpc.aio.insecure_channel(f"unix:{folder}/feed.sock") as channel:
            stub = feed_service_pb2_grpc.FeedServiceStub(channel)
            answer = await stub.ListVenues(feed_pb2.ListVenuesRequest(), timeout=10)
            return sum(venue.ticks for venue in answer.venues)

    return asyncio.run(ask())


if __name__ == "__main__":
    sys.exit(main())
