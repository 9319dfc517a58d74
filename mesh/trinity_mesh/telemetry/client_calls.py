"""Counts the calls of a client, and the attempts that each of them takes.

A call is counted once, outermost around a channel of the mesh, with what its caller saw. An attempt is a call of
grpc's own channel to one backend, and is counted there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any, Final

import grpc
import grpc.aio

from trinity_mesh.attempts import AttemptedCall
from trinity_mesh.calling import CallDetails, Method, RefusedCall, Send
from trinity_mesh.telemetry import switch, tracing
from trinity_mesh.telemetry.calls import CallCounts, Calls, method_of, process_calls, size_of, status_of


class ClientTelemetry:
    """Counts each call of a channel once, however many attempts it takes; also one that was refused here."""

    name = "telemetry"

    def __init__(self, target: str, counts: CallCounts | None = None) -> None:
        """`target` is what the channel was opened to; `counts` are this process's by default."""
        self._target = target
        self._counts = counts

    def around(self, method: Method, send: Send) -> Send:
        """Count when a call ends: when its answer was awaited, or its stream is over."""
        if not switch.counting:
            return send
        calls = (self._counts or process_calls()).called(method_of(method.path), self._target)
        now_ns, end = calls.now_ns, calls.end

        def counted(request: Any, details: CallDetails) -> Any:
            began_ns = now_ns()
            call = send(request, details)
            if type(call) is RefusedCall:
                end(call.status, began_ns)
            else:
                call.add_done_callback(lambda done: end(_ended_status(done), began_ns))
            return call

        return counted


def counted_channel(channel: grpc.aio.Channel, target: str) -> grpc.aio.Channel:
    """A channel to one backend, counted; the channel itself where nothing is counted."""
    return CountedChannel(channel, target) if switch.looked_at() else channel


class CountedChannel(grpc.aio.Channel):
    """A channel to one backend, each of whose calls is one attempt: an interceptor of grpc's would cost more."""

    def __init__(self, channel: grpc.aio.Channel, target: str, *, counts: CallCounts | None = None) -> None:
        """`counts` are this process's by default."""
        self.inner = channel
        """The channel that is counted."""
        self._target = target
        self._counts = counts or process_calls()

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
        """As the channel has it; a call is counted when its answer was awaited, or it was given up."""
        invoke = self.inner.unary_unary(method, *rest, **named)
        called, attempts = self._attempts(method)

        def counted(request: Any, **named: Any) -> Any:
            attempts.started += 1
            began_ns = attempts.now_ns()
            span = None
            if tracing.on:
                span, named["metadata"] = tracing.calling(called, named.get("metadata"))
            return _CountedCall(invoke(request, **named), attempts, began_ns, size_of(request), span)

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
        called, attempts = self._attempts(method)

        def counted(*given: Any, **named: Any) -> Any:
            attempts.started += 1
            began_ns = attempts.now_ns()
            span = None
            if tracing.on:
                span, named["metadata"] = tracing.calling(called, named.get("metadata"))
            call = invoke(*given, **named)

            def ended(done: Any) -> None:
                status = _ended_status(done)
                attempts.end(status, began_ns, size_of(given[0]) if given else -1)
                if span is not None:
                    span.end(status)

            # A call and its callback refer to each other, which only the collector ends: not for unary calls.
            call.add_done_callback(ended)
            return call

        return counted

    def _attempts(self, path: str | bytes) -> tuple[str, Calls]:
        method = method_of(path)
        return method, self._counts.attempts(method, self._target)


class _CountedCall:
    """A unary call that is counted once, when its answer was awaited or it was given up; otherwise the call itself."""

    __slots__ = ("_attempts", "_began_ns", "_call", "_over", "_sent", "_span")

    def __init__(self, call: Any, attempts: Calls, began_ns: int, sent: int, span: tracing.Span | None) -> None:
        self._call = call
        self._attempts = attempts
        self._began_ns = began_ns
        self._sent = sent
        self._span = span
        self._over = False

    def __await__(self) -> Generator[Any, None, Any]:
        status, received = _UNTOLD, -1
        try:
            response = yield from self._call.__await__()
            status, received = "OK", size_of(response)
        except grpc.aio.AioRpcError as error:
            status = error.code().name
            raise
        except asyncio.CancelledError:
            status = "CANCELLED"
            raise
        finally:
            self._end(status, received)
        return response

    def cancel(self) -> bool:
        """Give it up; nobody need await it then."""
        given_up = bool(self._call.cancel())
        if given_up:
            self._end("CANCELLED", -1)
        return given_up

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def _end(self, status: str, received: int) -> None:
        if self._over:
            return
        self._over = True
        self._attempts.end(status, self._began_ns, self._sent, received)
        if self._span is not None:
            self._span.end(status)


def _ended_status(call: Any) -> str:
    """The status of a call that is done, asked for without waiting."""
    if type(call) is AttemptedCall:
        return call.status
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
