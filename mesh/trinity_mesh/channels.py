"""How a client of the mesh opens a channel: bounded, kept alive, errors already renamed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, TypeVar

import grpc
import grpc.aio

from trinity_mesh.identity import Identity
from trinity_mesh.status import from_rpc_error

T = TypeVar("T")

DEADLINE_MS_DEFAULT: Final = 5_000
"""Deadline of a unary call whose caller names none."""


def open_channel(
    address: str,
    *,
    deadline_ms: int = DEADLINE_MS_DEFAULT,
    message_bytes_max: int = 16 << 20,
    identity: Identity | None = None,
    service: str = "",
) -> grpc.aio.Channel:
    """A channel to "unix:/path" or "host:port".

    A part of the mesh says who it is (`identity`) and whom it wants (`service`, as in "price"): on another host it
    meets that service by mutual TLS, or nobody (ConfigError without certificates). Without an identity the
    channel is plain: for tools on this host, and for clients with a key behind whatever ends TLS for them.

    Every unary call gets `deadline_ms` when its caller sets no timeout. The deadline is set
    here and not in a service config: a `timeout` of a second or less there fails every
    call at once (grpc/grpc issue 40633).
    """
    options: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", message_bytes_max),
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        # Channels of one process to one address must not share a connection: each lives its own life.
        ("grpc.use_local_subchannel_pool", 1),
        # Windows that grow with the distance would hold seconds of old prices for a reader that is slow.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", 256 << 10),
    ]
    interceptors = [DefaultDeadline(deadline_ms)]
    if identity is not None:
        return identity.channel(address, service=service, options=options, interceptors=interceptors)
    return grpc.aio.insecure_channel(address, options=options, interceptors=interceptors)


class DefaultDeadline(grpc.aio.UnaryUnaryClientInterceptor):
    """Gives a unary call without a timeout the default one."""

    def __init__(self, deadline_ms: int) -> None:
        self._timeout_s = deadline_ms / 1_000

    async def intercept_unary_unary(
        self,
        continuation: Callable[[grpc.aio.ClientCallDetails, Any], Awaitable[Any]],
        client_call_details: grpc.aio.ClientCallDetails,
        request: Any,
    ) -> Any:
        """Set the timeout where there is none."""
        details = client_call_details
        if details.timeout is None:
            details = grpc.aio.ClientCallDetails(
                details.method, self._timeout_s, details.metadata, details.credentials, details.wait_for_ready
            )
        return await continuation(details, request)


async def call(awaitable: Awaitable[T]) -> T:
    """Await a unary call; what fails is raised as TrinityError."""
    try:
        return await awaitable
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error


async def stream(responses: AsyncIterator[T]) -> AsyncIterator[T]:
    """Iterate a server stream; what fails is raised as TrinityError."""
    try:
        async for response in responses:
            yield response
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error
