"""A real gRPC server of PriceService whose streams say what a test tells them to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from trinity.price.v1 import price_pb2, price_service_pb2, price_service_pb2_grpc
from trinity_core.errors import TrinityError
from trinity_mesh.server import MeshServer, ServerLimits, Service

END = object()


class ScriptedStream:
    """One stream a client opened: `request` is what it asked; `say` sends, `fail` and `end` end."""

    def __init__(self, request: price_pb2.WatchPricesRequest) -> None:
        self.request = request
        self.lines: asyncio.Queue[Any] = asyncio.Queue()
        self.closed = False

    def say(self, batch: price_pb2.WatchPricesResponse) -> None:
        self.lines.put_nowait(batch)

    def fail(self, error: TrinityError) -> None:
        self.lines.put_nowait(error)

    def end(self) -> None:
        self.lines.put_nowait(END)


class ScriptedPrices(price_service_pb2_grpc.PriceServiceServicer):
    """Hands each stream to the test; answers unary calls with `answers[method name]`."""

    def __init__(self) -> None:
        self.streams: list[ScriptedStream] = []
        self.answers: dict[str, Any] = {}
        self.requests: list[Any] = []

    async def WatchPrices(self, request: Any, context: Any) -> AsyncIterator[Any]:
        stream = ScriptedStream(request)
        self.streams.append(stream)
        try:
            while (line := await stream.lines.get()) is not END:
                if isinstance(line, TrinityError):
                    raise line
                yield line
        finally:
            stream.closed = True

    async def GetPrice(self, request: Any, context: Any) -> Any:
        return self._answer("GetPrice", request)

    async def BatchGetPrices(self, request: Any, context: Any) -> Any:
        return self._answer("BatchGetPrices", request)

    async def ListAssets(self, request: Any, context: Any) -> Any:
        return self._answer("ListAssets", request)

    async def ExplainPrice(self, request: Any, context: Any) -> Any:
        return self._answer("ExplainPrice", request)

    def _answer(self, name: str, request: Any) -> Any:
        self.requests.append(request)
        answer = self.answers[name]
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, TrinityError):
            raise answer
        return answer


def server(servicer: ScriptedPrices, folder: Path) -> MeshServer:
    return MeshServer(
        address=f"unix:{folder}/price.sock",
        services=[
            Service(
                descriptor=price_service_pb2.DESCRIPTOR.services_by_name["PriceService"],
                add=lambda grpc_server: price_service_pb2_grpc.add_PriceServiceServicer_to_server(
                    servicer, grpc_server
                ),
            )
        ],
        limits=ServerLimits(drain_ms=100),
    )
