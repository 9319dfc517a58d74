"""A gateway for anybody's service: `trinity gateway --descriptor-set X.pb --backend HOST:PORT --listen HOST:PORT`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import grpc
import grpc.aio

from trinity_core.errors import DOMAIN
from trinity_http.app import create_app
from trinity_http.auth import SettingsFileKeys
from trinity_http.contract import Contract, ContractError
from trinity_http.server import listen_http, serve_http
from trinity_http.settings import GatewaySettings, HttpLimits
from trinity_http.upstream import CHANNEL_OPTIONS
from trinity_mesh.clock import Clock
from trinity_mesh.config import ConfigError

MESSAGE_BYTES_MAX: Final = 16 << 20


async def run_foreign_gateway(
    *,
    descriptor_set: Path,
    backend: str,
    listen: str,
    stopping: asyncio.Event,
    clock: Clock,
    keys_file: Path | None = None,
    allow_unauthenticated: bool = False,
    ignore_unknown_fields: bool = False,
    version: str = "0",
    limits: HttpLimits | None = None,
    on_serving: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve every method of a descriptor set that has google.api.http, until `stopping` is set.

    Args:
        descriptor_set: as `protoc --include_imports --include_source_info --descriptor_set_out` writes it.
        backend: "host:port" or "unix:/path" of the gRPC server; plain text.
        listen: "host:port", "[host]:port" or "unix:/path"; port 0 picks a free one.
        stopping: set to stop.
        clock: the machine's.
        keys_file: keys that may call, as SettingsFileKeys reads them.
        allow_unauthenticated: without a keys file, let everybody call; Authorization is then
            passed on to the service.
        ignore_unknown_fields: take requests with names that the contract does not have.
        version: version of the OpenAPI document.
        limits: bounds of connections.
        on_serving: called with the address once it is listened on.

    Raises ConfigError for a descriptor set that cannot be served, or when nobody said who may
    call; TrinityError when the address cannot be bound.
    """
    if keys_file is None and not allow_unauthenticated:
        raise ConfigError("who may call? give a keys file, or allow unauthenticated calls explicitly")
    try:
        contract = Contract.of(await asyncio.to_thread(descriptor_set.read_bytes))
    except OSError as error:
        raise ConfigError(f"the descriptor set {descriptor_set} cannot be read: {error.strerror}") from error
    except ContractError as error:
        raise ConfigError(f"{descriptor_set}: {error}") from error
    services = [service.full_name for service in contract.services]
    settings = foreign_settings(
        contract, version=version, ignore_unknown_fields=ignore_unknown_fields, secured=keys_file is not None
    )
    options = [*CHANNEL_OPTIONS, ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX)]
    async with contextlib.AsyncExitStack() as stack:
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(backend, options=options))
        try:
            app = create_app(
                descriptor_set=contract,
                channels=dict.fromkeys(services, channel),
                settings=settings,
                authenticate=None if keys_file is None else SettingsFileKeys(keys_file, clock=clock),
                ready=lambda: _reasons(channel),
            )
        except ContractError as error:
            raise ConfigError(f"{descriptor_set}: {error}") from error
        listener = listen_http(listen)
        stack.callback(listener.close)
        await serve_http(
            app,
            sockets=[listener],
            stopping=stopping,
            clock=clock,
            limits=limits,
            on_serving=lambda _: on_serving(_address(listener.getsockname())),
        )


def foreign_settings(
    contract: Contract, *, version: str, ignore_unknown_fields: bool, secured: bool
) -> GatewaySettings:
    """The settings of a gateway for somebody's contract; without keys, Authorization is passed on to the service."""
    names = [service.name for service in contract.services]
    return GatewaySettings(
        title=", ".join(names)[:_TITLE_LENGTH_MAX] or DOMAIN,
        version=version,
        ignore_unknown_fields=ignore_unknown_fields,
        forward_headers=() if secured else ("authorization",),
    )


def _reasons(channel: grpc.aio.Channel) -> Sequence[str]:
    state = channel.get_state(try_to_connect=True)
    lost = state in (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN)
    return ("no connection to the service",) if lost else ()


def _address(name: object) -> str:
    if isinstance(name, tuple):
        host = f"[{name[0]}]" if ":" in name[0] else name[0]
        return f"{host}:{name[1]}"
    return f"unix:{name}"


_TITLE_LENGTH_MAX: Final = 80
