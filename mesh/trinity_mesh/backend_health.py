"""Client-side health checking: what each backend's grpc.health.v1 says of it, followed by Watch.

A server that is about to stop says NOT_SERVING first; its clients move away, and then it stops. A server without a
health service counts as well. A stream that is lost counts as unwell, until a new one says otherwise.
"""

from __future__ import annotations

import asyncio
import random
from typing import Final

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from trinity_core.backoff import Backoff
from trinity_mesh.balancing import Backend
from trinity_mesh.clock import Clock

_AGAIN_MS: Final = 50
_AGAIN_MS_MAX: Final = 1_000


async def follow_health(backend: Backend, *, clock: Clock, rng: random.Random) -> None:
    """Keep `backend.healthy` up to date until cancelled."""
    stub = health_pb2_grpc.HealthStub(backend.channel)
    backoff = Backoff(first_ms=_AGAIN_MS, cap_ms=_AGAIN_MS_MAX, rng=rng)
    while True:
        call = stub.Watch(health_pb2.HealthCheckRequest(service=""))
        try:
            async for response in call:
                backend.healthy = response.status == health_pb2.HealthCheckResponse.SERVING
                backoff.succeeded()
            backend.healthy = False
        except grpc.aio.AioRpcError as error:
            backend.healthy = False
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                backend.healthy = True
                return
        finally:
            call.cancel()
        await clock.sleep(backoff.failed_s())


async def ended(task: asyncio.Task[None]) -> None:
    """End a task and wait for its end."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
