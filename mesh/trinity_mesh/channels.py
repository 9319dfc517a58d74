"""How a client of the mesh opens a channel: bounded, kept alive, errors already renamed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any, Final, TypeVar

import grpc
import grpc.aio

from trinity_mesh.addresses import parse_addresses
from trinity_mesh.deadline_budget import DeadlineBudget
from trinity_mesh.identity import Identity
from trinity_mesh.mesh_channel import CallSettings, MeshChannel
from trinity_mesh.status import from_rpc_error
from trinity_mesh.telemetry.channel_figures import follow_channel
from trinity_mesh.telemetry.client_calls import ClientTelemetry, counted_channel

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
    settings: CallSettings | None = None,
    options: Sequence[tuple[str, Any]] = (),
) -> grpc.aio.Channel:
    """A channel to "unix:/path", "host:port", a list of them with commas, or "dns:name:port".

    A part of the mesh says who it is (`identity`) and whom it wants (`service`, as in "price"): on another host it
    meets that service by mutual TLS, or nobody (ConfigError without certificates). Without an identity the
    channel is plain: for tools on this host, and for clients with a key behind whatever ends TLS for them.

    Every unary call gets `deadline_ms` when its caller sets no timeout. The deadline is set
    here and not in a service config: a `timeout` of a second or less there fails every
    call at once (grpc/grpc issue 40633). docs/calls.md says what else happens to a call.

    `options` are grpc's own, and win over those that stand here. Raises ConfigError for a wrong address.
    """
    chosen = [*({**dict(_OPTIONS), "grpc.max_receive_message_length": message_bytes_max, **dict(options)}).items()]

    def make(one: str) -> grpc.aio.Channel:
        if identity is not None:
            return counted_channel(identity.channel(one, service=service, options=chosen), one)
        return counted_channel(grpc.aio.insecure_channel(one, options=chosen), one)

    deadlines = DeadlineBudget(default_ms=deadline_ms)
    channel = MeshChannel(
        parse_addresses(address), make=make, interceptors=(ClientTelemetry(address), deadlines), settings=settings
    )
    channel.at_close = follow_channel(channel, address, deadlines)
    return channel


_OPTIONS: Final[Sequence[tuple[str, Any]]] = (
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
)


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
