"""Counts the calls of a client, and the attempts that each of them takes.

grpc.aio.insecure_channel(address, interceptors=[…, *attempt_interceptors(address)])   # nothing repeats
grpc.aio.insecure_channel(
    address, interceptors=[*call_interceptors(address), …, *attempt_interceptors(address, whole=False)]
)                                                                     # what stands between may repeat
CountedChannel(grpc.aio.insecure_channel(address), address)           # a channel without interceptors
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from typing import Any, Final

import grpc
import grpc.aio

from trinity_mesh.clock import SystemClock
from trinity_mesh.telemetry import switch, tracing
from trinity_mesh.telemetry.calls import CallCounts, Calls, method_of, process_calls, status_of

Details = grpc.aio.ClientCallDetails
Continuation = Callable[[Details, Any], Any]


def attempt_interceptors(
    target: str, *, whole: bool = True, counts: CallCounts | None = None
) -> Sequence[grpc.aio.ClientInterceptor]:
    """What counts attempts to call `target`; last in a channel's list, so that a retry is an attempt of its own.

    `whole` counts each as a call too, where nothing before them in the list makes several of one.
    """
    if not switch.looked_at():
        return ()
    counts = counts or process_calls()
    return (_Unary(target, counts, attempts=True, calls=whole), _Stream(target, counts, attempts=True, calls=whole))


def call_interceptors(target: str, counts: CallCounts | None = None) -> Sequence[grpc.aio.ClientInterceptor]:
    """What counts calls of `target`, however many attempts each takes; first in a channel's list."""
    if not switch.looked_at():
        return ()
    counts = counts or process_calls()
    return (_Unary(target, counts, attempts=False, calls=True), _Stream(target, counts, attempts=False, calls=True))


class _Counting:
    def __init__(self, target: str, counts: CallCounts, *, attempts: bool, calls: bool) -> None:
        self._target = target
        self._counts = counts
        self._attempts = attempts
        self._calls = calls
        self._kept: dict[str | bytes, _Count] = {}

    def count(self, path: str | bytes) -> _Count:
        """Where calls of a method are counted."""
        count = self._kept.get(path)
        if count is None:
            method = method_of(path)
            count = self._kept[path] = _Count(
                method,
                self._counts.attempts(method, self._target) if self._attempts else None,
                self._counts.called(method, self._target) if self._calls else None,
            )
        return count


class _Count:
    """One method's attempts, calls, or both."""

    __slots__ = ("attempts", "calls", "method", "now_ns")

    def __init__(self, method: str, attempts: Calls | None, calls: Calls | None) -> None:
        self.method = method
        self.attempts = attempts
        self.calls = calls
        self.now_ns = SystemClock.monotonic_ns

    def begin(self) -> int:
        """One begins."""
        if self.attempts is not None:
            self.attempts.started += 1
        return self.now_ns()

    def end(self, status: str, began_ns: int, sent: int, received: int = -1) -> None:
        """It is over."""
        if self.attempts is not None:
            self.attempts.end(status, began_ns, sent, received)
        if self.calls is not None:
            self.calls.end(status, began_ns)


class _Unary(_Counting, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Continuation, details: Details, request: Any) -> Any:
        """Make the attempt, and see it through."""
        count = self.count(details.method)
        began_ns = count.begin()
        span = None
        if tracing.on and self._attempts:
            span, details = tracing.calling(count.method, details)
        call: Any = None
        status, received = "UNKNOWN", -1
        try:
            call = await continuation(details, request)
            code = await call.code()
            status = code.name
            if code is grpc.StatusCode.OK and self._attempts:
                received = _size(await call)
        except asyncio.CancelledError:
            if call is not None:
                call.cancel()
            status = "CANCELLED"
            raise
        finally:
            count.end(status, began_ns, _size(request), received)
            if span is not None:
                span.end(status)
        return call


class _Stream(_Counting, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(self, continuation: Continuation, details: Details, request: Any) -> Any:
        """Open the stream; it is counted when it ends."""
        count = self.count(details.method)
        began_ns = count.begin()
        span = None
        if tracing.on and self._attempts:
            span, details = tracing.calling(count.method, details)
        call = await continuation(details, request)

        def ended(done: Any) -> None:
            status = ended_status(done)
            count.end(status, began_ns, _size(request))
            if span is not None:
                span.end(status)

        call.add_done_callback(ended)
        return call


def counted_channel(channel: grpc.aio.Channel, target: str) -> grpc.aio.Channel:
    """A channel without interceptors, counted; the channel itself where nothing is counted."""
    return CountedChannel(channel, target) if switch.looked_at() else channel


class CountedChannel(grpc.aio.Channel):
    """A channel without interceptors, each of whose calls is one attempt: an interceptor would cost more."""

    def __init__(self, channel: grpc.aio.Channel, target: str, *, counts: CallCounts | None = None) -> None:
        """`channel` MUST have no interceptors that count."""
        self.inner = channel
        """The channel that is counted."""
        self._counting = _Counting(target, counts or process_calls(), attempts=True, calls=True)

    async def __aenter__(self) -> CountedChannel:
        await self.inner.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self.inner.__aexit__(*error)

    async def close(self, grace: float | None = None) -> None:
        """As the channel has it."""
        await self.inner.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """As the channel has it."""
        return self.inner.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """As the channel has it."""
        await self.inner.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """As the channel has it."""
        await self.inner.channel_ready()

    def unary_unary(self, method: Any, *rest: Any, **named: Any) -> Any:
        """As the channel has it; a call is counted when its answer was awaited."""
        invoke = self.inner.unary_unary(method, *rest, **named)
        count = self._counting.count(method)

        def counted(request: Any, **named: Any) -> Any:
            began_ns = count.begin()
            span = None
            if tracing.on:
                span, named["metadata"] = tracing.calling_with(count.method, named.get("metadata"))
            return _CountedCall(invoke(request, **named), count, began_ns, _size(request), span)

        return counted

    def unary_stream(self, method: Any, *rest: Any, **named: Any) -> Any:
        """As the channel has it, counted."""
        return self._counted(method, self.inner.unary_stream(method, *rest, **named))

    def stream_unary(self, method: Any, *rest: Any, **named: Any) -> Any:
        """As the channel has it, counted."""
        return self._counted(method, self.inner.stream_unary(method, *rest, **named))

    def stream_stream(self, method: Any, *rest: Any, **named: Any) -> Any:
        """As the channel has it, counted."""
        return self._counted(method, self.inner.stream_stream(method, *rest, **named))

    def _counted(self, method: Any, invoke: Any) -> Any:
        count = self._counting.count(method)

        def counted(*given: Any, **named: Any) -> Any:
            began_ns = count.begin()
            span = None
            if tracing.on:
                span, named["metadata"] = tracing.calling_with(count.method, named.get("metadata"))
            call = invoke(*given, **named)

            def ended(done: Any) -> None:
                status = ended_status(done)
                count.end(status, began_ns, _size(given[0]) if given else -1)
                if span is not None:
                    span.end(status)

            # A call and its callback refer to each other, which only the collector ends: not for unary calls.
            call.add_done_callback(ended)
            return call

        return counted


class _CountedCall:
    """A unary call that is counted when its answer was awaited; otherwise the call itself."""

    __slots__ = ("_began_ns", "_call", "_count", "_sent", "_span")

    def __init__(self, call: Any, count: _Count, began_ns: int, sent: int, span: tracing.Span | None) -> None:
        self._call = call
        self._count = count
        self._began_ns = began_ns
        self._sent = sent
        self._span = span

    def __await__(self) -> Generator[Any, None, Any]:
        status, received = "UNKNOWN", -1
        try:
            response = yield from self._call.__await__()
            status, received = "OK", _size(response)
        except grpc.aio.AioRpcError as error:
            status = error.code().name
            raise
        except asyncio.CancelledError:
            status = "CANCELLED"
            raise
        finally:
            self._count.end(status, self._began_ns, self._sent, received)
            if self._span is not None:
                self._span.end(status)
        return response

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)


def ended_status(call: Any) -> str:
    """The status of a call that is done, asked for without waiting."""
    asking = call.code()
    try:
        asking.send(None)
    except StopIteration as told:
        return status_of(told.value)
    except (asyncio.CancelledError, grpc.RpcError):
        return "CANCELLED"
    asking.close()
    return _UNTOLD


_UNTOLD: Final = "UNKNOWN"


def _size(message: Any) -> int:
    """Bytes of a message; -1 where that is not known."""
    if type(message) is bytes:
        return len(message)
    size = getattr(message, "ByteSize", None)
    return -1 if size is None else int(size())
