"""A real gRPC server of AccountService whose WatchKeys streams say what a test tells them to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from trinity.account.v1 import account_pb2, account_service_pb2, account_service_pb2_grpc
from trinity_core.errors import TrinityError
from trinity_mesh.server import MeshServer, ServerLimits, Service

END = object()


class ScriptedStream:
    """One stream a replica opened: `resume` is where it resumes; `say` sends, `fail` and `end` end."""

    def __init__(self, request: account_pb2.WatchKeysRequest) -> None:
        self.resume = request.resume_version
        self.lines: asyncio.Queue[Any] = asyncio.Queue()
        self.closed = False

    def say(self, batch: account_pb2.WatchKeysResponse) -> None:
        self.lines.put_nowait(batch)

    def fail(self, error: TrinityError) -> None:
        self.lines.put_nowait(error)

    def end(self) -> None:
        self.lines.put_nowait(END)


class ScriptedAccount(account_service_pb2_grpc.AccountServiceServicer):
    """Hands each stream to the test. With `opening` set, each begins with that batch at once."""

    def __init__(self) -> None:
        self.streams: list[ScriptedStream] = []
        self.opening: account_pb2.WatchKeysResponse | None = None

    async def WatchKeys(self, request: Any, context: Any) -> AsyncIterator[Any]:
        stream = ScriptedStream(request)
        self.streams.append(stream)
        if self.opening is not None:
            yield self.opening
        try:
            while (line := await stream.lines.get()) is not END:
                if isinstance(line, TrinityError):
                    raise line
                yield line
        finally:
            stream.closed = True


def account_server(servicer: ScriptedAccount, folder: Path) -> MeshServer:
    return MeshServer(
        address=f"unix:{folder}/account.sock",
        services=[
            Service(
                descriptor=account_service_pb2.DESCRIPTOR.services_by_name["AccountService"],
                add=lambda server: account_service_pb2_grpc.add_AccountServiceServicer_to_server(servicer, server),
            )
        ],
        limits=ServerLimits(drain_ms=100),
    )
