"""A server stream under way: read one message at a time, end it for a reason, keep it bounded.

The next message is asked for only after the one before has left. What waits in between
waits at the service, which folds it (newest wins) or holds it back by HTTP/2's windows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from enum import Enum
from typing import Any, Final

import grpc.aio

from trinity_core.errors import Reason, TrinityError

CHANNEL_OPTIONS: Final[Sequence[tuple[str, Any]]] = (
    # Without the probe windows do not grow with a slow client's distance: old messages would pile up in them.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 64 << 10),
)
"""Options for a channel whose streams should bring few, new messages to a slow reader."""


class Pause(Enum):
    """What `next` returns instead of a message."""

    SILENCE = "nothing came in time"
    END = "the stream is done"
    GONE = "the client is gone; nobody is there to be told"


class Upstream:
    """One call that streams responses."""

    def __init__(self, call: Any, *, patience_s: float | None = None) -> None:
        """`patience_s` is how long the service may be silent before it counts as lost; None for as long as it likes."""
        self._call = call
        self._patience_s = patience_s
        self._silent_s = 0.0
        self._reading: asyncio.Task[Any] | None = None
        self._why: TrinityError | Pause | None = None

    async def next(self, wait_s: float) -> bytes | Pause:
        """The next response, or why there is none within `wait_s` seconds.

        Raises grpc.aio.AioRpcError when the call fails, TrinityError when it was ended for that reason.
        """
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._call.read())
        if self._patience_s is not None:
            wait_s = min(wait_s, self._patience_s - self._silent_s)
        done, _ = await asyncio.wait((self._reading,), timeout=wait_s)
        if not done:
            self._silent_s += wait_s
            if self._patience_s is None or self._silent_s < self._patience_s:
                return Pause.SILENCE
            self.end(_LOST)
            await asyncio.wait((self._reading,))
        else:
            self._silent_s = 0.0
        reading, self._reading = self._reading, None
        if self._why is not None:
            _taken(reading)
            if isinstance(self._why, TrinityError):
                raise self._why
            return self._why
        if reading.cancelled():
            raise TrinityError(Reason.CANCELLED, "the stream was given up")
        response = reading.result()
        if response is grpc.aio.EOF:
            return Pause.END
        assert isinstance(response, bytes)
        return response

    async def initial(self, *, wait: bool) -> Sequence[tuple[str, str | bytes]]:
        """The call's initial metadata; unless `wait` nothing where it has not come yet.

        With a message, or the end, it has come.
        """
        if wait:
            return tuple(await self._call.initial_metadata())
        asking = asyncio.ensure_future(self._call.initial_metadata())
        await asyncio.wait((asking,), timeout=0)
        if not asking.done():
            asking.cancel()
            await asyncio.wait((asking,))
        if asking.cancelled() or asking.exception() is not None:
            return ()
        return tuple(asking.result())

    async def trailing(self) -> Sequence[tuple[str, str | bytes]]:
        """The trailing metadata of a stream that is done."""
        return tuple(await self._call.trailing_metadata())

    def end(self, why: TrinityError | Pause) -> None:
        """End the call; `next` then says why. The first reason counts."""
        if self._why is None:
            self._why = why
        self._call.cancel()

    async def close(self) -> None:
        """End the call if it still runs, and let what reads from it finish."""
        self.end(Pause.GONE)
        if self._reading is not None:
            await asyncio.wait((self._reading,))
            _taken(self._reading)
            self._reading = None


_LOST: Final = TrinityError(
    Reason.BACKEND_UNAVAILABLE, "the service fell silent; open the stream again", retry_after_ms=1_000
)


def _taken(task: asyncio.Task[Any]) -> None:
    """Look at a result nobody wants, so that asyncio does not warn of it."""
    if not task.cancelled():
        task.exception()
