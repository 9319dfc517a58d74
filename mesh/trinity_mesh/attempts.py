"""A call with one answer, made as often as it takes and may: retries, a hedge, and what that tells of the backends.

The first attempt leaves at once. Whoever awaits the call drives the rest: no task is started for a call that is
answered. All attempts together keep the deadline of the first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Generator
from dataclasses import replace
from typing import Any, Final

import grpc
import grpc.aio

from trinity_core.errors import TrinityError
from trinity_mesh.balancing import Attempt, Backend
from trinity_mesh.call_plan import CallPlan
from trinity_mesh.calling import CallDetails, RefusedCall, Send, status_name
from trinity_mesh.retrying import ATTEMPTS_KEY, Failure, judged, wait_s

_FOREVER_NS: Final = 1 << 62


def sends(plan: CallPlan) -> Send:
    """What makes calls by a plan; the first attempt of one is under way when it returns."""

    def send(request: Any, details: CallDetails) -> Any:
        try:
            first = plan.balancer.begin(plan.stub, request, details)
        except TrinityError as error:
            return RefusedCall(error)
        return AttemptedCall(plan, request, details, first)

    return send


class AttemptedCall(grpc.aio.UnaryUnaryCall[Any, Any]):
    """The call as its caller sees it: like grpc's own, of the attempt that counts."""

    def __init__(self, how: CallPlan, request: Any, details: CallDetails, first: Attempt) -> None:
        self._how = how
        self._request = request
        self._details = details
        self._latest = first
        """The attempt whose end is the call's, as far as one knows."""
        self._beside: Attempt | None = None
        """The other one, while two are under way."""
        self._until_ns = _FOREVER_NS if details.timeout is None else first.started_ns + int(details.timeout * 1e9)
        self._pausing: asyncio.Future[None] | None = None
        self._over: asyncio.Future[None] | None = None
        self._response: Any = None
        self._error: BaseException | None = None
        self._done = False
        self._callbacks: list[Callable[[Any], None]] = []

    def __await__(self) -> Generator[Any, None, Any]:
        return self._answer().__await__()

    def cancel(self) -> bool:
        """Give the call up, with all of its attempts."""
        if self._done:
            return False
        for attempt in (self._latest, self._beside):
            if attempt is not None:
                attempt.call.cancel()
        if self._pausing is not None:
            self._pausing.cancel()
        return True

    def cancelled(self) -> bool:
        """Whether it was given up."""
        return isinstance(self._error, asyncio.CancelledError) or bool(self._latest.call.cancelled())

    def done(self) -> bool:
        """Whether it is over."""
        return self._done or (bool(self._latest.call.done()) and not self._how.rule.idempotent)

    @property
    def status(self) -> str:
        """Name of the status that its caller saw; to be asked when it is over."""
        return status_name(self._error)

    def time_remaining(self) -> float | None:
        """Seconds until its deadline."""
        remaining: float | None = self._latest.call.time_remaining()
        return remaining

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Call it with this call when it is over; somebody must await the call."""
        if self._done:
            callback(self)
        else:
            self._callbacks.append(callback)

    async def initial_metadata(self) -> Any:
        """Of the attempt that counts."""
        await self._settled()
        return await self._latest.call.initial_metadata()

    async def trailing_metadata(self) -> Any:
        """Of the attempt that counts."""
        await self._settled()
        return await self._latest.call.trailing_metadata()

    async def code(self) -> Any:
        """Of the attempt that counts."""
        await self._settled()
        return await self._latest.call.code()

    async def details(self) -> Any:
        """Of the attempt that counts."""
        await self._settled()
        return await self._latest.call.details()

    async def wait_for_connection(self) -> None:
        """Until the first attempt has a connection."""
        await self._latest.call.wait_for_connection()

    async def _settled(self) -> None:
        try:
            await self._answer()
        except grpc.aio.AioRpcError:
            return

    async def _answer(self) -> Any:
        if not self._done:
            if self._over is None:
                return await self._driven()
            await asyncio.shield(self._over)
        if self._error is not None:
            raise self._error
        return self._response

    async def _driven(self) -> Any:
        """Be the one who awaits the attempts, and tell the others how it ended."""
        self._over = asyncio.get_running_loop().create_future()
        try:
            self._response = await self._attempted()
        except BaseException as error:
            self._error = error
            for attempt in (self._latest, self._beside):
                if attempt is not None:
                    attempt.call.cancel()
                    self._how.balancer.given_up(attempt)
            raise
        finally:
            self._done = True
            if not self._over.done():
                self._over.set_result(None)
            for callback in self._callbacks:
                callback(self)
        return self._response

    async def _attempted(self) -> Any:
        how, tried = self._how, [self._latest.backend]
        hedging = how.rule.read and how.hedge.enabled and len(how.balancer.backends) > 1
        while True:
            if hedging:
                await self._raced(tried)
                hedging = False
            attempt = self._latest
            try:
                response = await attempt.call
            except grpc.aio.AioRpcError as error:
                failure = self._failed(attempt, error)
                wait = self._wait_s(failure, len(tried))
                if wait is None:
                    raise
                await self._pause(wait)
                if not self._again(tried):
                    raise
                how.tally.retries += 1
            else:
                self._succeeded(attempt)
                return response

    def _wait_s(self, failure: Failure, made: int) -> float | None:
        how = self._how
        if not how.rule.idempotent:
            return None
        if failure.again:
            how.budget.failed()
        left_s = (self._until_ns - how.clock.monotonic_ns()) / 1e9
        wait = wait_s(how.retry, failure, attempts=made, left_s=left_s, rng=how.rng)
        return wait if wait is not None and how.allows_more() else None

    def _again(self, tried: list[Backend]) -> bool:
        """Make one more attempt, elsewhere where there is an elsewhere; False when nobody can be asked in time."""
        attempt = self._more(len(tried), tried)
        if attempt is None:
            return False
        self._latest = attempt
        tried.append(attempt.backend)
        return True

    def _more(self, made: int, avoid: Collection[Backend]) -> Attempt | None:
        how, details = self._how, self._details
        timeout = None
        if self._until_ns != _FOREVER_NS:
            timeout = (self._until_ns - how.clock.monotonic_ns()) / 1e9
            if timeout <= 0:
                return None
        metadata = (*(details.metadata or ()), (ATTEMPTS_KEY, str(made)))
        try:
            return how.balancer.begin(
                how.stub, self._request, replace(details, timeout=timeout, metadata=metadata), avoid
            )
        except TrinityError:
            return None

    async def _raced(self, tried: list[Backend]) -> None:
        """Let a second backend join in when the first is slow; afterwards `_latest` is the one that counts."""
        how, first = self._how, self._latest
        await self._ended((first,), within_s=how.latencies.after_s)
        if first.call.done():
            return
        if all(other is first.backend or other.healthy is False for other in how.balancer.backends):
            return
        if not how.allows_more():
            return
        second = self._more(1, tried)
        if second is None:
            return
        how.budget.failed()
        how.tally.hedges += 1
        tried.append(second.backend)
        self._beside = second
        await self._ended((first, second), within_s=None)
        winner, other = (first, second) if first.call.done() else (second, first)
        try:
            await winner.call
        except grpc.aio.AioRpcError as error:
            failure = judged(error)
            if failure.again or failure.backend:
                self._failed(winner, error)
                winner, other = other, winner
                self._latest, self._beside = winner, None
                return
        if other is first:
            # It had a start, and a second backend was faster all the same.
            how.tally.overtaken += 1
            how.balancer.failed(other)
        else:
            how.balancer.given_up(other)
        other.call.cancel()
        self._latest, self._beside = winner, None

    async def _ended(self, attempts: Collection[Attempt], *, within_s: float | None) -> None:
        """Return once one of them is over, or after a time."""
        loop = asyncio.get_running_loop()
        woken = loop.create_future()

        def wake(_: object = None) -> None:
            if not woken.done():
                woken.set_result(None)

        for attempt in attempts:
            attempt.call.add_done_callback(wake)
        timer = None if within_s is None else loop.call_later(within_s, wake)
        try:
            await woken
        finally:
            if timer is not None:
                timer.cancel()

    async def _pause(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        pausing = self._pausing = loop.create_future()

        def over() -> None:
            if not pausing.done():
                pausing.set_result(None)

        timer = loop.call_later(seconds, over)
        try:
            await pausing
        finally:
            timer.cancel()
            self._pausing = None

    def _succeeded(self, attempt: Attempt) -> None:
        how = self._how
        how.balancer.succeeded(attempt)
        if how.rule.idempotent:
            how.budget.succeeded()
            if how.rule.read:
                how.latencies.answered((how.clock.monotonic_ns() - attempt.started_ns) / 1e9)

    def _failed(self, attempt: Attempt, error: grpc.aio.AioRpcError) -> Failure:
        failure = judged(error)
        if not failure.backend:
            self._how.balancer.succeeded(attempt)
        else:
            timeout = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            self._how.balancer.failed(attempt, timeout=timeout)
        return failure
