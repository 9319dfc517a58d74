"""Three times as many calls as a server can answer: what is still answered in time, without and with shedding.

    python benchmarks/overload.py            8 seconds a row
    python benchmarks/overload.py 3          3 seconds a row

Two kinds of work: one that fills the processor for 4 ms, and one that waits 20 ms for one of 8 places, as for a
database's connections. Capacity is what a few callers get who ask again as soon as they are answered. Then calls
come at three times that rate, whoever answers them or not, each with a deadline of half a second. Goodput is what
was answered within it. The server is a process of its own; caller and server share the machine.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import uvloop

from trinity.price.v1 import price_pb2, price_service_pb2, price_service_pb2_grpc
from trinity_mesh.interceptors import Errors, RequestIds, Validation
from trinity_mesh.server import MeshServer, Service

HERE = Path(__file__).resolve()
DEADLINE_S = 0.5
CALLERS = 12
TIMES = 3
METHODS = {"processor": "GetPrice", "places": "ExplainPrice"}


class Work(price_service_pb2_grpc.PriceServiceServicer):
    """Two methods that cost something."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(8)

    async def GetPrice(self, request: Any, context: Any) -> Any:  # noqa: D102, N802 - the contract's name
        until = time.perf_counter() + 0.004
        while time.perf_counter() < until:
            pass
        return price_pb2.GetPriceResponse()

    async def ExplainPrice(self, request: Any, context: Any) -> Any:  # noqa: D102, N802 - the contract's name
        async with self._places:
            await asyncio.sleep(0.02)
        return price_pb2.ExplainPriceResponse()


async def serve(address: str, shedding: bool) -> None:
    """Serve until killed."""

    def add(server: Any) -> None:
        price_service_pb2_grpc.add_PriceServiceServicer_to_server(Work(), server)

    interceptors = None if shedding else (RequestIds(), Errors(), Validation())
    service = Service(price_service_pb2.DESCRIPTOR.services_by_name["PriceService"], add)
    async with MeshServer(address=address, services=[service], interceptors=interceptors):
        print("ready", flush=True)
        await asyncio.Event().wait()


async def capacity(ask: Any, seconds: float) -> float:
    """Answers a second for callers who wait for each."""
    answered, end = 0, time.perf_counter() + seconds

    async def caller() -> None:
        nonlocal answered
        while time.perf_counter() < end:
            await ask(timeout=10)
            answered += 1

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return answered / seconds


async def overload(ask: Any, rate: float, seconds: float) -> tuple[Counter[str], list[float], float]:
    """Calls at a rate, answered or not: how they ended, how long answers took, and the worst overrun of a deadline."""
    ended: Counter[str] = Counter()
    took: list[float] = []
    overrun = 0.0
    under_way: set[asyncio.Task[None]] = set()

    async def one() -> None:
        nonlocal overrun
        began = time.perf_counter()
        try:
            await ask(timeout=DEADLINE_S)
            ended["OK"] += 1
            took.append(time.perf_counter() - began)
        except grpc.aio.AioRpcError as error:
            ended[error.code().name] += 1
        overrun = max(overrun, time.perf_counter() - began - DEADLINE_S)

    begin = time.perf_counter()
    sent = 0
    while (now := time.perf_counter() - begin) < seconds:
        while sent < now * rate:
            task = asyncio.ensure_future(one())
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            sent += 1
        await asyncio.sleep(0.001)
    await asyncio.gather(*under_way)
    return ended, sorted(took), overrun


def started(*words: str) -> subprocess.Popen[bytes]:
    """Another process of this script, once it says that it serves."""
    process = subprocess.Popen([sys.executable, str(HERE), *words], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


async def row(kind: str, shedding: bool, seconds: float) -> dict[str, Any]:
    """One line of the table."""
    with tempfile.TemporaryDirectory() as folder:
        address = f"unix:{folder}/work.sock"
        process = started("serve", address, str(int(shedding)))
        try:
            async with grpc.aio.insecure_channel(address) as channel:
                stub = price_service_pb2_grpc.PriceServiceStub(channel)
                method = METHODS[kind]
                request = getattr(price_pb2, f"{method}Request")(asset="BTC")

                def ask(timeout: float) -> Any:
                    return getattr(stub, method)(request, timeout=timeout)

                can = await capacity(ask, 2.0)
                ended, took, overrun = await overload(ask, TIMES * can, seconds)
        finally:
            process.kill()
            process.wait()
    return {
        "work": kind,
        "shedding": shedding,
        "capacity_per_s": round(can),
        "offered_per_s": round(sum(ended.values()) / seconds),
        "goodput_per_s": round(ended["OK"] / seconds),
        "goodput_percent": round(100 * ended["OK"] / seconds / can),
        "p50_ms": round(took[len(took) // 2] * 1e3) if took else None,
        "p99_ms": round(took[len(took) * 99 // 100] * 1e3) if took else None,
        "refused": ended["RESOURCE_EXHAUSTED"],
        "too_late": ended["DEADLINE_EXCEEDED"],
        "overrun_ms_max": round(overrun * 1e3, 1),
    }


async def main(seconds: float) -> None:
    """Print the table and write the results."""
    rows = []
    for kind in METHODS:
        for shedding in (False, True):
            rows.append(await row(kind, shedding, seconds))
            line = rows[-1]
            print(
                f"{kind:<10} {'shedding' if shedding else 'without':<9} capacity {line['capacity_per_s']:>5}/s, offered"
                f" {line['offered_per_s']:>5}/s: in time {line['goodput_per_s']:>5}/s = {line['goodput_percent']:>3} %,"
                f" p50 {line['p50_ms']} ms, p99 {line['p99_ms']} ms; refused {line['refused']},"
                f" too late {line['too_late']}, worst overrun {line['overrun_ms_max']} ms",
                flush=True,
            )
    result = {"seconds": seconds, "deadline_ms": DEADLINE_S * 1e3, "times": TIMES, "rows": rows}
    result |= {"python": platform.python_version(), "grpcio": grpc.__version__, "cpus": os.cpu_count()}
    (HERE.parent / "results" / "overload.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        uvloop.run(serve(sys.argv[2], sys.argv[3] == "1"))
    else:
        uvloop.run(main(float(sys.argv[1]) if sys.argv[1:] else 8.0))
