"""Counts the calls of a server: an interceptor, first in its list, and a last handler for the unknown."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeAlias

import grpc
import grpc.aio

from trinity_mesh.interceptors import wrapped
from trinity_mesh.telemetry import switch, tracing
from trinity_mesh.telemetry.calls import OTHER, CallCounts, Calls, method_of, process_calls, size_of, status_of


class ServerTelemetry:
    """Counts calls, and opens a span for each that is traced."""

    name = "telemetry"

    def __init__(self, counts: CallCounts | None = None) -> None:
        """`counts` are this process's by default."""
        self._counts = counts or process_calls()

    def around(self, method: str, handler: Any) -> Any:
        """Count what the handler does."""
        if not switch.looked_at():
            return handler
        calls = self._counts.served(method_of(method))
        return wrapped(
            handler, lambda inner: _stream(inner, calls) if inspect.isasyncgenfunction(inner) else _unary(inner, calls)
        )


CountedQuick: TypeAlias = Callable[[bytes, grpc.aio.ServicerContext[Any, Any]], bytes | None]
"""A quick answer that counts itself, where it is given."""


def counted_quick(method: str, quick: Callable[[bytes], bytes | None]) -> CountedQuick:
    """What counts the quick answers to a method; where there is none, the long way counts the call."""
    if not switch.looked_at():
        return lambda request, _: quick(request)
    calls = process_calls().served(method)
    now_ns, end = calls.now_ns, calls.end

    def counted(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes | None:
        began_ns = now_ns()
        found = quick(request)
        if found is not None:
            calls.started += 1
            end("OK", began_ns, len(found), len(request))
            if tracing.on and (span := tracing.served(method, context)) is not None:
                span.end()
        return found

    return counted


class UnknownCalls(grpc.GenericRpcHandler):
    """Counts calls of methods that the server does not have, all as one; to be added as the last handler."""

    def __init__(self, counts: CallCounts | None = None) -> None:
        """`counts` are this process's by default."""
        self._calls = (counts or process_calls()).served(OTHER)

    def service(self, handler_call_details: Any) -> None:
        """None: there is no such method, and grpc says so."""
        calls = self._calls
        calls.started += 1
        calls.end("UNIMPLEMENTED", calls.now_ns())


def _unary(inner: Any, calls: Calls) -> Any:
    now_ns, end = calls.now_ns, calls.end

    async def counted(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        calls.started += 1
        began_ns = now_ns()
        span = tracing.served(calls.labels[0], context) if tracing.on else None
        status = "UNKNOWN"
        sent = -1
        try:
            response = await inner(request, context)
            status, sent = status_of(context.code()), size_of(response)
        except asyncio.CancelledError:
            status = "CANCELLED"
            raise
        except grpc.aio.AbortError:
            status = status_of(context.code())
            raise
        finally:
            end(status, began_ns, sent, size_of(request))
            if span is not None:
                span.end(status)
        return response

    return counted


def _stream(inner: Any, calls: Calls) -> Any:
    now_ns, end = calls.now_ns, calls.end

    async def counted_stream(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
        calls.started += 1
        began_ns = now_ns()
        span = tracing.served(calls.labels[0], context) if tracing.on else None
        status = "UNKNOWN"
        sent = 0
        try:
            async for response in inner(request, context):
                sent += len(response) if type(response) is bytes else 0
                yield response
            status = status_of(context.code())
        except (asyncio.CancelledError, GeneratorExit):
            status = "CANCELLED"
            raise
        except grpc.aio.AbortError:
            status = status_of(context.code())
            raise
        finally:
            end(status, began_ns, sent or -1, size_of(request))
            if span is not None:
                span.end(status)

    return counted_stream
