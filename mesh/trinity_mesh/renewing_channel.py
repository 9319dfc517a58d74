"""A channel that goes on with new credentials when there are any, without a call failing for it.

gRPC binds credentials to a channel for its whole life. So there is a channel for each generation of them:
a call is made on the newest, and a channel that is no longer the newest is closed when its last call has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import grpc.aio

_RETIRED_MAX: Final = 8
"""Most channels of former credentials that are kept for long streams; of more the oldest is closed under its calls,
which their callers open again."""


@dataclass(eq=False, slots=True)
class _Generation:
    number: int
    channel: grpc.aio.Channel
    calls: int = 0
    methods: dict[_Method, Any] = field(default_factory=dict)
    """How to call, on this channel; as many as stubs have methods."""


class RenewingChannel(grpc.aio.Channel):
    """See the module."""

    def __init__(self, opened: Callable[[], grpc.aio.Channel], *, generation: Callable[[], int]) -> None:
        """`opened` makes a channel with the credentials of now, whose number `generation` tells."""
        self._opened = opened
        self._generation = generation
        self._current: _Generation | None = None
        self._retired: list[_Generation] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    async def __aenter__(self) -> RenewingChannel:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        """Close every generation; see grpc.aio.Channel."""
        self._closed = True
        held = [*self._retired, *([self._current] if self._current is not None else [])]
        self._retired = []
        await asyncio.gather(*(each.channel.close(grace) for each in held), *self._closing)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """State of the newest."""
        return self._newest().channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait for the newest."""
        await self._newest().channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until the newest is connected."""
        await self._newest().channel.channel_ready()

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        """See grpc.aio.Channel."""
        return _Method(self, "unary_unary", args, kwargs)

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        """See grpc.aio.Channel."""
        return _Method(self, "unary_stream", args, kwargs)

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        """See grpc.aio.Channel."""
        return _Method(self, "stream_unary", args, kwargs)

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        """See grpc.aio.Channel."""
        return _Method(self, "stream_stream", args, kwargs)

    @property
    def channels(self) -> int:
        """Channels that are open: the newest, and those whose calls have not ended."""
        return len(self._retired) + (self._current is not None)

    def _newest(self) -> _Generation:
        number, current = self._generation(), self._current
        if current is not None and (current.number == number or self._closed):
            return current
        self._current = _Generation(number, self._opened())
        if current is not None:
            self._retire(current)
        return self._current

    def _called(self, method: _Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        held = self._newest()
        how = held.methods.get(method)
        if how is None:
            how = held.methods[method] = getattr(held.channel, method.kind)(*method.args, **method.kwargs)
        call = how(*args, **kwargs)
        held.calls += 1
        call.add_done_callback(lambda _: self._ended(held))
        return call

    def _ended(self, held: _Generation) -> None:
        held.calls -= 1
        if not held.calls and held in self._retired:
            self._retired.remove(held)
            self._close(held)

    def _retire(self, held: _Generation) -> None:
        if not held.calls:
            self._close(held)
            return
        self._retired.append(held)
        if len(self._retired) > _RETIRED_MAX:
            self._close(self._retired.pop(0))

    def _close(self, held: _Generation) -> None:
        # The task is kept: a loop knows tasks only weakly.
        task = asyncio.ensure_future(held.channel.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


@dataclass(frozen=True, eq=False, slots=True)
class _Method:
    """A method as a stub holds it; each call of it goes to the newest channel."""

    owner: RenewingChannel
    kind: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.owner._called(self, args, kwargs)  # noqa: SLF001 - one class in two
