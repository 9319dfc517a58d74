"""Prices a second to one subscriber of WatchPrices: two processes, one Unix socket.

Every batch holds a new price of every asset, and the next is put only when the one before has
left, so that nothing is folded: this is what the stream carries, not what a market needs (150
assets flushed every 5 ms are at most 30,000 prices/s). Measured with batches of 150 prices,
as our asset table has, and of 1,000; each twice:

    ready   the frames were made before, as they are for every subscriber after the first
    anew    every price is also serialised, once

and read by a PriceBook, which parses, checks and keeps every price.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path

import uvloop

from trinity.price.v1 import price_service_pb2, price_service_pb2_grpc
from trinity_client import PriceBook
from trinity_core.prices import Method, Price, State, Tier
from trinity_core.venues import Venue
from trinity_mesh.clock import SystemClock, clock_id
from trinity_mesh.server import MeshServer, Service
from trinity_price.encoding import PriceEncoder
from trinity_price.publication import Publication
from trinity_price.wall import AnchoredWall
from trinity_price.watching import Watch, Watching

HERE = Path(__file__).resolve().parent
PRICES = 400_000
PRICES_ONCE = 200_000
SIZES = (150, 1_000)
RUNS = 3
GOAL = 500_000


def main() -> int:
    """Run both kinds and print their rates; 1 when the goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--serve", metavar="ADDRESS", help=argparse.SUPPRESS)
    parser.add_argument("--assets", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--prices", type=int, default=PRICES, help=argparse.SUPPRESS)
    parser.add_argument("--kind", choices=("ready", "anew"), default="ready", help=argparse.SUPPRESS)
    parser.add_argument(
        "--once", action="store_true", help="one run, ready, 1,000 a batch; print it as JSON and keep nothing"
    )
    arguments = parser.parse_args()
    if arguments.serve:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(arguments.serve, arguments.kind, arguments.assets, arguments.prices))
        return 0
    if arguments.once:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            rate, cpu_us = _once(runner, "ready", max(SIZES), prices=PRICES_ONCE)
        print(json.dumps({"per_second": rate, "cpu_us": cpu_us}))
        return 0
    # One event loop for all runs: grpc's poller outlives the loop it was first used on.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        rates = {
            f"{kind}, {assets} a batch": statistics.median(_once(runner, kind, assets)[0] for _ in range(RUNS))
            for kind in ("ready", "anew")
            for assets in SIZES
        }
    for name, rate in rates.items():
        print(f"{name:20} {rate:10,.0f} prices/s")
    best = max(rates.values())
    print(f"goal {GOAL:,} prices/s to one subscriber: {'met' if best >= GOAL else 'MISSED'}")
    result = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "rows": [{"name": name, "per_second": rate} for name, rate in rates.items()],
        "goal": {"per_second_min": GOAL, "met": best >= GOAL},
    }
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results/watch.json").write_text(json.dumps(result, indent=2) + "\n")
    return 0 if best >= GOAL else 1


def _once(runner: asyncio.Runner, kind: str, assets: int, *, prices: int = PRICES) -> tuple[float, float]:
    """Prices a second, and microseconds of the publishing process's CPU for each."""
    with tempfile.TemporaryDirectory(prefix="watch-") as name:
        address = f"unix:{name}/price.sock"
        server = subprocess.Popen(
            [
                sys.executable,
                __file__,
                "--serve",
                address,
                "--kind",
                kind,
                "--assets",
                str(assets),
                "--prices",
                str(prices),
            ]
        )
        try:
            return runner.run(_read(address, assets, server.pid, prices))
        finally:
            server.kill()
            server.wait()


async def _read(address: str, assets: int, server_pid: int, total: int) -> tuple[float, float]:
    async with PriceBook(address) as book:
        await book.ready()
        gc.collect()
        gc.freeze()
        # Looked at now and then: an event for each price would be part of what is measured.
        while book.connection.sequence <= assets * 2:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        first, began, used = book.connection.sequence, time.monotonic(), _cpu_s(server_pid)
        while book.connection.sequence < total // assets * assets:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        took, used = time.monotonic() - began, _cpu_s(server_pid) - used
        assert book.connection.skipped == 0, "something was folded: the rate would be too high"
        assert book.connection.replacements == 1
        prices = book.connection.sequence - first
        return prices / took, used / prices * 1e6


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _serve(address: str, kind: str, assets: int, total: int) -> None:
    clock = SystemClock()
    wall = AnchoredWall(clock=clock)
    publication = Publication(clock=clock, clock_id=clock_id(), wall=wall, epoch=1)
    watching = Watching(clock=clock, publication=publication, flush_ms=0, streams_max=1, snapshot_prices_max=2_000)
    rounds = _rounds([f"A{number}" for number in range(assets)], clock.monotonic_ns(), total)
    publication.put(rounds[0])
    taken = asyncio.Event()
    encoder = PriceEncoder(epoch=1)
    frames = [
        [encoder.frame(price, wall_offset_ns=wall.offset_ns, sandbox=False) for price in prices]
        for prices in (rounds if kind == "ready" else [])
    ]
    gc.collect()
    gc.freeze()

    class Servicer(price_service_pb2_grpc.PriceServiceServicer):
        async def WatchPrices(self, request, context):  # noqa: N802 - named by the contract
            async for batch in watching.stream(Watch()):
                taken.set()
                yield batch

    service = Service(
        descriptor=price_service_pb2.DESCRIPTOR.services_by_name["PriceService"],
        add=lambda server: price_service_pb2_grpc.add_PriceServiceServicer_to_server(Servicer(), server),
        raw_responses=frozenset({"WatchPrices"}),
    )
    async with MeshServer(address=address, services=[service]):
        waking = asyncio.create_task(watching.run())
        await taken.wait()
        await asyncio.sleep(0.3)
        for number, prices in enumerate(rounds[1:], start=1):
            cursor = publication.sequence
            taken.clear()
            publication.put(prices)
            if frames:
                for entry, frame in zip(publication.since(cursor), frames[number], strict=True):
                    entry.frame = frame
            watching.changed()
            await taken.wait()
        await asyncio.sleep(60)
        waking.cancel()


def _rounds(assets: list[str], now_ns: int, total: int) -> list[list[Price]]:
    """New prices of every asset, as the book makes them."""
    sources = tuple(sorted(Venue))
    sequence = 0
    rounds = []
    for number in range(total // len(assets)):
        prices = []
        for place, asset in enumerate(assets):
            sequence += 1
            prices.append(
                Price(
                    asset,
                    Decimal(6_700_010 + number + place) / 100,
                    State.FRESH,
                    Decimal("12.50"),
                    Decimal("1.25"),
                    sources,
                    Method.MEDIAN,
                    Tier.LOCAL,
                    None,
                    1,
                    now_ns + number * 1_000_003,
                    now_ns + 10**12 + number * 1_000_003,
                    now_ns + 10**13 + number * 1_000_003,
                    sequence,
                )
            )
        rounds.append(prices)
    return rounds


if __name__ == "__main__":
    sys.exit(main())
