"""What our channel and our server add to a call: processor time of each side, beside bare grpc.aio.

    python benchmarks/calls.py            4,000 calls a row and round
    python benchmarks/calls.py 1000       fewer

One caller after the other asks for a price over a Unix socket, eight at a time. First the caller's side: grpc's own
channel, the same with one grpc.aio interceptor that sets a deadline (what our channel was before), ours, and ours
with two backends. Then the server's: a bare grpc.aio server, ours with all of its interceptors, and ours where the
service has a quick answer. Rounds are interleaved and the best of five counts, since others use the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import uvloop

from trinity.price.v1 import price_pb2, price_service_pb2, price_service_pb2_grpc
from trinity_mesh.channels import open_channel
from trinity_mesh.server import MeshServer, Service

HERE = Path(__file__).resolve()
CALLERS = 8
ROUNDS = 5
ANSWER = price_pb2.GetPriceResponse(price=price_pb2.Price(asset="BTC", price="67000.10", sources=["coinbase"]))


class Prices(price_service_pb2_grpc.PriceServiceServicer):
    """Answers at once."""

    async def GetPrice(self, request: Any, context: Any) -> Any:  # noqa: D102, N802 - the contract's name
        return ANSWER


class Deadline(grpc.aio.UnaryUnaryClientInterceptor):
    """The least that an interceptor of grpc.aio does."""

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Set a deadline where there is none."""
        details = client_call_details
        if details.timeout is None:
            details = grpc.aio.ClientCallDetails(
                details.method, 5.0, details.metadata, details.credentials, details.wait_for_ready
            )
        return await continuation(details, request)


async def serve(kind: str, address: str) -> None:
    """Serve until killed."""

    def add(server: Any) -> None:
        price_service_pb2_grpc.add_PriceServiceServicer_to_server(Prices(), server)

    frame = ANSWER.SerializeToString()
    quick = {"GetPrice": lambda _: frame} if kind == "quick" else {}
    if kind == "bare":
        bare = grpc.aio.server()
        add(bare)
        bare.add_insecure_port(address)
        await bare.start()
        print("ready", flush=True)
        await bare.wait_for_termination()
    service = Service(price_service_pb2.DESCRIPTOR.services_by_name["PriceService"], add, quick=quick)
    async with MeshServer(address=address, services=[service]) as server:
        await server.set_serving(serving=True)
        print("ready", flush=True)
        await asyncio.Event().wait()


def started(kind: str, address: str) -> subprocess.Popen[bytes]:
    """A server in a process of its own."""
    process = subprocess.Popen([sys.executable, str(HERE), "serve", kind, address], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def cpu_s(pid: int) -> float:
    """Processor time that a process used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def asked(channel: Any, calls: int) -> None:
    """Make the calls, none of which names a deadline."""
    stub = price_service_pb2_grpc.PriceServiceStub(channel)
    request = price_pb2.GetPriceRequest(asset="BTC")

    async def caller() -> None:
        for _ in range(calls // CALLERS):
            await stub.GetPrice(request)

    await asyncio.gather(*(caller() for _ in range(CALLERS)))


async def main(calls: int) -> None:
    """Print the table and write the results."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as ending:
        servers = {}
        for kind in ("bare", "ours", "quick", "other"):
            address = f"unix:{folder}/{kind}.sock"
            servers[kind] = (address, started("ours" if kind == "other" else kind, address))
            ending.callback(servers[kind][1].wait)
            ending.callback(servers[kind][1].kill)
        where = {kind: address for kind, (address, _) in servers.items()}
        channels = {
            "grpc.aio's channel": grpc.aio.insecure_channel(where["bare"]),
            "with one interceptor": grpc.aio.insecure_channel(where["bare"], interceptors=[Deadline()]),
            "our channel": open_channel(where["bare"]),
            "our channel, two backends": open_channel(f"{where['ours']},{where['other']}"),
        }
        callers = {name: [] for name in channels}
        for _ in range(ROUNDS):
            for name, channel in channels.items():
                await asked(channel, 200)
                began = time.process_time()
                await asked(channel, calls)
                callers[name].append((time.process_time() - began) / calls * 1e6)
        for channel in channels.values():
            await channel.close()
        rows += [{"side": "caller", "row": name, "cpu_us": round(min(took), 1)} for name, took in callers.items()]
        names = {"bare": "grpc.aio's server", "ours": "our server", "quick": "our server, quick answer"}
        took_by = {kind: [] for kind in names}
        for _ in range(ROUNDS):
            for kind in names:
                async with grpc.aio.insecure_channel(where[kind]) as channel:
                    await asked(channel, 200)
                    pid = servers[kind][1].pid
                    began = cpu_s(pid)
                    await asked(channel, calls)
                    took_by[kind].append((cpu_s(pid) - began) / calls * 1e6)
        rows += [
            {"side": "server", "row": names[kind], "cpu_us": round(min(took), 1)} for kind, took in took_by.items()
        ]
    for line in rows:
        print(f"{line['side']:<7} {line['row']:<27} {line['cpu_us']:>7} us of processor a call")
    result = {"rows": rows, "calls": calls, "rounds": ROUNDS}
    result |= {"machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"}
    (HERE.parent / "results" / "calls.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        uvloop.run(serve(sys.argv[2], sys.argv[3]))
    else:
        uvloop.run(main(int(sys.argv[1]) if sys.argv[1:] else 4_000))
