"""Price services that answer with their own name, in this process or in one that can be stopped and killed.

python tests/mesh/price_backends.py unix:/run/a.sock a      serve until killed; a line "ready" when it does
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from trinity.price.v1 import price_pb2, price_service_pb2, price_service_pb2_grpc
from trinity_mesh.clock import SystemClock
from trinity_mesh.deadline_budget import left_s
from trinity_mesh.server import MeshServer, ServerLimits, Service

SERVICE = price_service_pb2.DESCRIPTOR.services_by_name["PriceService"]
HERE = Path(__file__)


class Named(price_service_pb2_grpc.PriceServiceServicer):
    """Answers with its name as the price's source; holds answers back while `closed`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked = 0
        self.metadata: list[dict[str, Any]] = []
        self.left_s: list[float | None] = []
        self.open = asyncio.Event()
        self.open.set()

    async def GetPrice(self, request: price_pb2.GetPriceRequest, context: Any) -> price_pb2.GetPriceResponse:
        self.asked += 1
        self.metadata.append(dict(context.invocation_metadata() or ()))
        self.left_s.append(left_s(SystemClock()))
        await self.open.wait()
        return price_pb2.GetPriceResponse(price=price_pb2.Price(asset=request.asset, price="1", sources=[self.name]))

    async def WatchPrices(self, request: price_pb2.WatchPricesRequest, context: Any) -> AsyncIterator[Any]:
        yield price_pb2.WatchPricesResponse(sequence=1, epoch=1 + (self.name == "b"))
        await self.open.wait()


def backend(address: str, servicer: price_service_pb2_grpc.PriceServiceServicer, **limits: Any) -> MeshServer:
    """A server of the mesh that serves it."""

    def add(server: Any) -> None:
        price_service_pb2_grpc.add_PriceServiceServicer_to_server(servicer, server)

    return MeshServer(
        address=address,
        services=[Service(SERVICE, add)],
        limits=ServerLimits(**{"drain_ms": 500, "linger_ms": 100, **limits}),
    )


async def serve(address: str, name: str) -> None:
    """Serve until killed."""
    async with backend(address, Named(name)) as server:
        await server.set_serving(serving=True)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


class Process:
    """A backend of its own process."""

    def __init__(self, address: str, name: str) -> None:
        self.address = address
        self._name = name
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, str(HERE), self.address, self._name, stdout=asyncio.subprocess.PIPE
        )
        assert self._process.stdout is not None
        assert await self._process.stdout.readline() == b"ready\n"

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def kill(self) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
