"""What servers do around a call: request ids, errors, validation; `trinity_mesh.standard` has the whole list.

The request id comes before errors so that an error can carry it; validation comes last so that what it refuses
is rendered like any error.

The list is put around each handler once, when its service is added to a server. grpc.aio's own
interceptors are asked anew at every call which handler it has, and cost each call a third of its time.
"""

from __future__ import annotations

import inspect
import logging
import os
import random
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextvars import ContextVar
from typing import Any, Final, Protocol, cast

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

Context = grpc.aio.ServicerContext[Any, Any]
Handler = Callable[[Any, Context], Any]


class Interceptor(Protocol):
    """Stands around the handlers of a server. Its place is that of its name in `trinity_mesh.ordering`."""

    name: str

    def around(self, method: str, handler: Any) -> Any:
        """A handler (grpc.RpcMethodHandler) like the given one with its behaviour changed; or the same.

        `method` is its path, as in "/trinity.price.v1.PriceService/GetPrice".
        """
        ...


class RequestIds:
    """Gives every call a request id: the caller's when it is printable and short, else a new one."""

    name = "request_ids"

    def __init__(self) -> None:
        self._bits = random.Random(os.urandom(32)).getrandbits  # noqa: S311 - an id is no secret

    def around(self, method: str, handler: Any) -> Any:
        """Set the id for the duration of the call."""
        return wrapped(handler, self._named)

    def _named(self, inner: Handler) -> Handler:
        if inspect.isasyncgenfunction(inner):

            async def named_stream(request: Any, context: Context) -> AsyncIterator[Any]:
                request_id.set(self._id(context))
                async for response in inner(request, context):
                    yield response

            return named_stream

        async def named(request: Any, context: Context) -> Any:
            request_id.set(self._id(context))
            return await inner(request, context)

        return named

    def _id(self, context: Context) -> str:
        for key, value in context.invocation_metadata() or ():
            if (
                key == REQUEST_ID_KEY
                and isinstance(value, str)
                and 0 < len(value) <= _ID_LENGTH_MAX
                and value.isprintable()
            ):
                return value
        return f"{self._bits(128):032x}"


class Errors:
    """Turns TrinityError into a status with details, and anything unforeseen into INTERNAL without detail."""

    name = "errors"

    def around(self, method: str, handler: Any) -> Any:
        """Catch what the handler raises."""
        return wrapped(handler, _guard)


class Validation:
    """Judges requests by the rules of their contract before the servicer sees them."""

    name = "validation"

    def around(self, method: str, handler: Any) -> Any:
        """Wrap handlers that take one request; streams of requests are judged by their servicer."""
        return handler if handler.request_streaming else wrapped(handler, _judge)


def composed(interceptors: Sequence[Interceptor], method: str, handler: Any) -> Any:
    """A handler with all of a list around it, the first outermost; one that the servicer lacks says UNIMPLEMENTED."""
    if _inner(handler).__module__.endswith(_GENERATED):
        handler = _replaced(handler, _lacking_stream if handler.response_streaming else _lacking)
    for interceptor in reversed(interceptors):
        handler = interceptor.around(method, handler)
    return handler


def wrapped(handler: Any, around: Callable[[Handler], Handler]) -> Any:
    """A handler like the given one with its behaviour put inside `around`.

    `around` gets an async function (unary answer) or an async generator function (stream)
    and returns one of the same kind. Raises TypeError for a streaming handler of another kind.
    """
    inner = _inner(handler)
    if handler.response_streaming and not inspect.isasyncgenfunction(inner):
        raise TypeError(f"{inner} must be an async generator function")
    if not handler.response_streaming and not inspect.iscoroutinefunction(inner):
        raise TypeError(f"{inner} must be an async function")
    return _replaced(handler, around(inner))


def _kind(handler: Any) -> str:
    requests = "stream" if handler.request_streaming else "unary"
    return f"{requests}_{'stream' if handler.response_streaming else 'unary'}"


def _inner(handler: Any) -> Handler:
    return cast("Handler", getattr(handler, _kind(handler)))


def _replaced(handler: Any, behaviour: Handler) -> Any:
    """A handler of the same kind that does something else."""
    make = getattr(grpc, f"{_kind(handler)}_rpc_method_handler")
    return make(
        behaviour,
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )


async def _lacking(request: Any, context: Context) -> Any:
    raise TrinityError(Reason.UNIMPLEMENTED, "this server does not have this method")


async def _lacking_stream(request: Any, context: Context) -> AsyncIterator[Any]:
    yield await _lacking(request, context)


_GENERATED: Final = "_pb2_grpc"
"""Ends the names of modules that protoc makes."""


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

        async def guarded_stream(request: Any, context: Context) -> AsyncIterator[Any]:
            try:
                async for response in inner(request, context):
                    yield response
            except Exception as error:
                await _abort(error, context)

        return guarded_stream

    async def guarded(request: Any, context: Context) -> Any:
        try:
            return await inner(request, context)
        except Exception as error:
            await _abort(error, context)

    return guarded


async def _abort(error: Exception, context: Context) -> None:
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
