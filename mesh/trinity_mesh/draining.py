"""A server's health service that knows who watches it, so that an end can wait for those who do."""

from __future__ import annotations

import asyncio
from typing import Any

from grpc_health.v1 import health, health_pb2

from trinity_mesh.clock import Clock, SystemClock


class WatchedHealth(health.aio.HealthServicer):  # type: ignore[misc]
    """grpc.health.v1 whose watchers are told of the end, given time to go elsewhere, and then let go."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        super().__init__()
        self._clock = clock or SystemClock()
        self._open: set[asyncio.Task[None]] = set()
        self._over = False

    @property
    def watchers(self) -> int:
        """Streams open now."""
        return len(self._open)

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> None:  # noqa: N802 - the contract's
        """The status, and each that follows, until the end."""
        watching = asyncio.ensure_future(super().Watch(request, context))
        self._open.add(watching)
        try:
            await watching
        except asyncio.CancelledError:
            if not self._over:
                raise
        finally:
            self._open.discard(watching)
            watching.cancel()

    async def drain(self, linger_s: float) -> None:
        """Say NOT_SERVING for good, and give those who watch the time to hear it and go elsewhere."""
        await self.enter_graceful_shutdown()
        if self._open:
            await self._clock.sleep(linger_s)
        self._over = True
        for watching in tuple(self._open):
            watching.cancel()
