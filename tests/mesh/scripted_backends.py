"""Backends in virtual time: channels that answer, fail or stay silent as a script says, and keep grpc's deadlines."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Generator
from typing import Any

import grpc
import grpc.aio

from jumping_time import JumpingClock

# Registers the contracts whose methods are called.
from trinity.account.v1 import account_service_pb2  # noqa: F401
from trinity.price.v1 import price_service_pb2  # noqa: F401
from trinity_core.errors import TrinityError
from trinity_mesh.addresses import Addresses
from trinity_mesh.calling import rpc_error
from trinity_mesh.mesh_channel import CallSettings, MeshChannel

READ = "/trinity.price.v1.PriceService/GetPrice"
WRITE = "/trinity.account.v1.AccountService/CreateKey"

Answer = Callable[[int], tuple[float, Any]]
"""By the number of a call at that backend: after how many seconds what comes: a value, an error, None for nothing."""


def lost() -> grpc.aio.AioRpcError:
    """What a call on a broken connection ends with."""
    return grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "reset")


def refusal(error: TrinityError, *pushback: tuple[str, str]) -> grpc.aio.AioRpcError:
    """What a server's refusal is for its caller."""
    made = rpc_error(error)
    trailing = grpc.aio.Metadata(*made.trailing_metadata(), *pushback)
    return grpc.aio.AioRpcError(made.code(), grpc.aio.Metadata(), trailing, made.details())


class ScriptedCall:
    """One call under way."""

    def __init__(self, within_s: float | None, after_s: float, outcome: Any) -> None:
        loop = asyncio.get_running_loop()
        self._result: asyncio.Future[Any] = loop.create_future()
        self._callbacks: list[Callable[[Any], None]] = []
        self.cancels = 0
        if outcome is not None:
            loop.call_later(after_s, self._end, outcome)
        if within_s is not None:
            late = grpc.aio.AioRpcError(
                grpc.StatusCode.DEADLINE_EXCEEDED, grpc.aio.Metadata(), grpc.aio.Metadata(), "Deadline Exceeded"
            )
            loop.call_later(within_s, self._end, late)

    def __await__(self) -> Generator[Any, None, Any]:
        outcome = yield from asyncio.shield(self._result)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def done(self) -> bool:
        return self._result.done()

    def cancelled(self) -> bool:
        return self.cancels > 0

    def cancel(self) -> bool:
        if self.done():
            return False
        self.cancels += 1
        self._end(asyncio.CancelledError())
        return True

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        if self.done():
            callback(self)
        self._callbacks.append(callback)

    def _end(self, outcome: Any) -> None:
        if not self.done():
            self._result.set_result(outcome)
            for callback in self._callbacks:
                callback(self)


class ScriptedChannel:
    """Stands where grpc's own channel to one backend would."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.calls: list[ScriptedCall] = []
        self.seen: list[dict[str, Any]] = []

    def unary_unary(self, path: str, *_: Any) -> Any:
        def call(request: Any, *, timeout: float | None, **how: Any) -> ScriptedCall:
            self.seen.append({"at_s": asyncio.get_running_loop().time(), "timeout": timeout, **how})
            made = ScriptedCall(timeout, *self.answer(len(self.seen)))
            self.calls.append(made)
            return made

        return call


class Scripted:
    """A mesh channel over scripted backends, all well."""

    def __init__(self, *answers: Answer, settings: CallSettings | None = None, seed: int = 1) -> None:
        self.backends = [ScriptedChannel(answer) for answer in answers]
        made = iter(self.backends)
        self.clock = JumpingClock()
        self.channel = MeshChannel(
            Addresses(tuple(f"unix:/{number}" for number in range(len(answers)))),
            make=lambda _: next(made),  # type: ignore[arg-type,return-value]
            interceptors=(),
            settings=settings,
            clock=self.clock,
            rng=random.Random(seed),
        )
        # Their health is told here instead of by a stream.
        self.channel._started = True
        for backend in self.channel.balancer.backends:
            backend.healthy = True

    def now_s(self) -> float:
        return asyncio.get_running_loop().time()


def always(after_s: float, outcome: Any) -> Answer:
    """The same for every call."""
    return lambda _: (after_s, outcome)
