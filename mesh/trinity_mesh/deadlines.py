"""A server's interceptor that takes note of each call's deadline, and refuses work that comes too late."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from typing import Any, Final

from trinity_core.errors import Reason, TrinityError
from trinity_mesh.clock import Clock, SystemClock
from trinity_mesh.deadline_budget import FLOOR_MS, serve_within
from trinity_mesh.interceptors import Context, Handler, wrapped

_FLOOR_S: Final = FLOOR_MS / 1_000


class Deadlines:
    """Bounds what a call makes of others by what its caller left; see `trinity_mesh.deadline_budget`."""

    name = "deadlines"

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self.refused = 0
        """Calls refused so far because no time was left."""

    def around(self, method: str, handler: Any) -> Any:
        """Look at the deadline before the handler runs."""
        return wrapped(handler, self._bounded)

    def _bounded(self, inner: Handler) -> Handler:
        if inspect.isasyncgenfunction(inner):

            async def bounded_stream(request: Any, context: Context) -> AsyncIterator[Any]:
                self._begin(context)
                async for response in inner(request, context):
                    yield response

            return bounded_stream

        async def bounded(request: Any, context: Context) -> Any:
            self._begin(context)
            return await inner(request, context)

        return bounded

    def _begin(self, context: Context) -> None:
        left: float | None = context.time_remaining()
        if left is not None and left < _FLOOR_S:
            self.refused += 1
            raise TrinityError(Reason.DEADLINE_EXCEEDED, "the call came with no time left to answer it; allow more")
        serve_within(left, self._clock)
