"""What a call is on its way out: its details, what may stand around it, and a call that was refused before it left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol, TypeAlias

import grpc
import grpc.aio

from trinity_core.errors import TrinityError
from trinity_mesh.status import DETAILS_KEY, GRPC_CODE, to_status

Metadata: TypeAlias = Sequence[tuple[str, str | bytes]]


@dataclass(slots=True)
class CallDetails:
    """How one call is to be made. Whoever stands around it may change it."""

    timeout: float | None = None
    """Seconds until its deadline; None for none."""
    metadata: Metadata | None = None
    credentials: Any = None
    wait_for_ready: bool | None = None
    compression: Any = None


Send: TypeAlias = Callable[[Any, CallDetails], Any]
"""Makes a call: the request (None or an iterator where it is a stream) and the details give the call object."""


@dataclass(frozen=True, slots=True)
class Method:
    """The method that a caller's stub is for."""

    path: str
    """As in "/trinity.price.v1.PriceService/GetPrice"."""
    kind: str
    """Its maker's name: unary_unary, unary_stream, stream_unary or stream_stream."""


class ClientInterceptor(Protocol):
    """Stands around the calls of a channel. Its `name` and place are judged when the channel is opened."""

    name: str

    def around(self, method: Method, send: Send) -> Send:
        """A way to make calls like the given one with its behaviour changed; or the same. Asked once a stub."""
        ...


def rpc_error(error: TrinityError) -> grpc.aio.AioRpcError:
    """The error as a caller would have it from a server."""
    status = to_status(error)
    trailing = grpc.aio.Metadata((DETAILS_KEY, status.SerializeToString()))
    return grpc.aio.AioRpcError(GRPC_CODE[status.code], grpc.aio.Metadata(), trailing, status.message)


def status_name(error: BaseException | None) -> str:
    """Name of the status with which a call ended for its caller; None for an answer."""
    if error is None:
        return "OK"
    if isinstance(error, grpc.aio.AioRpcError):
        return str(error.code().name)
    return "CANCELLED" if isinstance(error, asyncio.CancelledError) else "UNKNOWN"


class RefusedCall(
    grpc.aio.UnaryUnaryCall[Any, Any],
    grpc.aio.UnaryStreamCall[Any, Any],
    grpc.aio.StreamUnaryCall[Any, Any],
    grpc.aio.StreamStreamCall[Any, Any],
):
    """A call of any kind that was never made. Whatever is asked of it says why."""

    def __init__(self, error: TrinityError) -> None:
        self._error = rpc_error(error)

    @property
    def status(self) -> str:
        """Name of the refusal's status."""
        return status_name(self._error)

    def __await__(self) -> Generator[Any, None, Any]:
        return self._raise().__await__()

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> Any:
        await self._raise()

    async def read(self) -> Any:
        """Raises why."""
        await self._raise()

    async def write(self, request: Any) -> None:
        """Raises why."""
        await self._raise()

    async def done_writing(self) -> None:
        """Raises why."""
        await self._raise()

    async def wait_for_connection(self) -> None:
        """Raises why."""
        await self._raise()

    def cancelled(self) -> bool:
        """Never: it failed."""
        return False

    def done(self) -> bool:
        """Always."""
        return True

    def time_remaining(self) -> float | None:
        """None."""
        return None

    def cancel(self) -> bool:
        """It is over already."""
        return False

    def add_done_callback(self, callback: Any) -> None:
        """Called soon."""
        asyncio.get_running_loop().call_soon(callback, self)

    async def initial_metadata(self) -> Any:
        """Empty."""
        return self._error.initial_metadata()

    async def trailing_metadata(self) -> Any:
        """The details of the refusal."""
        return self._error.trailing_metadata()

    async def code(self) -> grpc.StatusCode:
        """The refusal's code."""
        return self._error.code()

    async def details(self) -> Any:
        """The refusal's text."""
        return self._error.details()

    async def _raise(self) -> NoReturn:
        raise self._error
