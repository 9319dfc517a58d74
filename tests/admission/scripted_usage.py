"""A real gRPC server of UsageService that leases quotas out of a simple account, or fails as a test tells it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from price.virtual_clock import VirtualClock
from trinity.usage.v1 import usage_pb2, usage_service_pb2, usage_service_pb2_grpc
from trinity_core.errors import TrinityError
from trinity_mesh.server import MeshServer, ServerLimits, Service


class ScriptedUsage(usage_service_pb2_grpc.UsageServiceServicer):
    """Leases `quota` answers, at most `share` at a time. `release`, while it is not set, holds every answer up."""

    def __init__(self, clock: VirtualClock, *, quota: int = 10, share: int = 10**9) -> None:
        self.clock = clock
        self.quota = quota
        self.share = share
        self.error: TrinityError | None = None
        self.release = asyncio.Event()
        self.release.set()
        self.requests: list[usage_pb2.LeaseQuotaRequest] = []
        self.reset_s = clock.unix_ns() // 10**9 + 86_400

    async def LeaseQuota(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        await self.release.wait()
        if self.error is not None:
            raise self.error
        allowed = min(self.quota, request.used + min(self.share, request.wanted))
        response = usage_pb2.LeaseQuotaResponse(allowed=max(allowed, request.used))
        response.expire_time.FromNanoseconds(self.clock.unix_ns() + 60 * 10**9)
        response.reset_time.FromSeconds(self.reset_s)
        return response


def usage_server(servicer: ScriptedUsage, folder: Path) -> MeshServer:
    return MeshServer(
        address=f"unix:{folder}/usage.sock",
        services=[
            Service(
                descriptor=usage_service_pb2.DESCRIPTOR.services_by_name["UsageService"],
                add=lambda server: usage_service_pb2_grpc.add_UsageServiceServicer_to_server(servicer, server),
            )
        ],
        limits=ServerLimits(drain_ms=100),
    )
