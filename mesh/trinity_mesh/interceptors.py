"""What every server does around a call, as a named, ordered list.

Order: request id, errors, validation. The request id comes first so that an error can
carry it; validation comes last so that what it refuses is rendered like any error.
"""

from __future__ import annotations

import inspect
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextvars import ContextVar
from typing import Any, Final, cast

import grpc
import grpc.aio
from google.protobuf.message import Message

from trinity_core.errors import Reason, TrinityError
from trinity_mesh.status import DETAILS_KEY, GRPC_CODE, to_status
from trinity_mesh.validate import validate

log = logging.getLogger(__name__)

REQUEST_ID_KEY: Final = "x-request-id"
"""Metadata key of the request id, taken from the caller or made, and sent back."""

_ID_LENGTH_MAX: Final = 64
request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Id of the request under way, for logs."""

Handler = Callable[[Any, grpc.aio.ServicerContext[Any, Any]], Any]
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]


class RequestIds(grpc.aio.ServerInterceptor):
    """Gives every call a request id: the caller's when it is printable and short, else a new one."""

    async def intercept_service(
        self,
        continuation: Continuation,
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Set the id for the duration of the call."""
        given = ""
        for key, value in handler_call_details.invocation_metadata:
            if (
                key == REQUEST_ID_KEY
                and isinstance(value, str)
                and len(value) <= _ID_LENGTH_MAX
                and value.isprintable()
            ):
                given = value
        request_id.set(given or uuid.uuid4().hex)
        return await continuation(handler_call_details)


class Errors(grpc.aio.ServerInterceptor):
    """Turns TrinityError into a status with details, and anything unforeseen into INTERNAL without detail."""

    async def intercept_service(
        self,
        continuation: Continuation,
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wrap the handler; unknown methods pass through to grpc's own UNIMPLEMENTED."""
        return wrapped(await continuation(handler_call_details), _guard)


class Validation(grpc.aio.ServerInterceptor):
    """Judges requests by the rules of their contract before the servicer sees them."""

    async def intercept_service(
        self,
        continuation: Continuation,
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wrap handlers that take one request; streams of requests are judged by their servicer."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.request_streaming:
            return handler
        return wrapped(handler, _judge)


def standard() -> tuple[grpc.aio.ServerInterceptor, ...]:
    """The list every server of the mesh starts with, outermost first."""
    return (RequestIds(), Errors(), Validation())


def wrapped(handler: Any, around: Callable[[Handler], Handler]) -> Any:
    """A handler like the given one with its behaviour put inside `around`; None stays None.

    `around` gets an async function (unary answer) or an async generator function (stream)
    and returns one of the same kind. Raises TypeError for a streaming handler of another kind.
    """
    if handler is None:
        return None
    kind = ("stream" if handler.request_streaming else "unary", "stream" if handler.response_streaming else "unary")
    inner = cast("Handler", getattr(handler, "_".join(kind)))
    if handler.response_streaming and not inspect.isasyncgenfunction(inner):
        raise TypeError(f"{inner} must be an async generator function")
    make = getattr(grpc, f"{kind[0]}_{kind[1]}_rpc_method_handler")
    return make(
        around(inner),
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )


def _judge(inner: Handler) -> Handler:
    if inspect.isasyncgenfunction(inner):

        async def judged_stream(request: Message, context: Any) -> AsyncIterator[Any]:
            validate(request)
            async for response in inner(request, context):
                yield response

        return judged_stream

    async def judged(request: Message, context: Any) -> Any:
        validate(request)
        return await inner(request, context)

    return judged


def _guard(inner: Handler) -> Handler:
    if inspect.isasyncgenfunction(inner):

        async def guarded_stream(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            try:
                async for response in inner(request, context):
                    yield response
            except Exception as error:
                await _abort(error, context)

        return guarded_stream

    async def guarded(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        try:
            return await inner(request, context)
        except Exception as error:
            await _abort(error, context)

    return guarded


async def _abort(error: Exception, context: grpc.aio.ServicerContext[Any, Any]) -> None:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if not isinstance(error, TrinityError):
        log.error("unforeseen error in a call, request %s", request_id.get(), exc_info=error)
        error = TrinityError(Reason.INTERNAL, "something went wrong on our side; the request id leads to the details")
    status = to_status(error, request_id=request_id.get())
    details: Iterable[tuple[str, str | bytes]] = (
        *(context.trailing_metadata() or ()),
        (DETAILS_KEY, status.SerializeToString()),
        (REQUEST_ID_KEY, request_id.get()),
    )
    await context.abort(GRPC_CODE[status.code], status.message, tuple(details))
