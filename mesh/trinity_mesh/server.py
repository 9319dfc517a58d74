"""A gRPC server with what every server of the mesh has: limits, health, reflection, a graceful end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeAlias, cast

import grpc
import grpc.aio
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from trinity_core.errors import Reason, TrinityError
from trinity_mesh.draining import WatchedHealth
from trinity_mesh.identity import Security, refuse_plaintext
from trinity_mesh.interceptors import Interceptor, composed
from trinity_mesh.ordering import SERVER_ORDER, checked
from trinity_mesh.shedding import SheddingSettings
from trinity_mesh.standard import standard
from trinity_mesh.telemetry.server_calls import CountedQuick, UnknownCalls, counted_quick
from trinity_mesh.telemetry.server_figures import follow_server


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Bounds of one server; see docs/configuration.md."""

    message_bytes_max: int = 1 << 20
    """Greatest message a caller may send."""
    metadata_bytes_max: int = 16 << 10
    """Greatest metadata (headers) of a call."""
    concurrent_streams_max: int = 1_000
    """HTTP/2 streams on one connection."""
    concurrent_rpcs_max: int = 20_000
    """Calls under way at once; more are refused as RESOURCE_EXHAUSTED."""
    drain_ms: int = 5_000
    """How long calls under way may take to finish once the server stops."""
    linger_ms: int = 200
    """How long new calls are still taken once the server says NOT_SERVING, where clients watch its health."""
    shedding: SheddingSettings = field(default_factory=SheddingSettings)


def public_limits(*, drain_ms: int = 5_000) -> ServerLimits:
    """Bounds of a server that strangers reach; benchmarks/floods.py shows what they are for.

    A call that its caller resets at once is still work, as much as one that is answered. The server counts it among
    the streams of its connection until that work is done, so that few streams are what bounds a flood of them.
    """
    return ServerLimits(drain_ms=drain_ms, concurrent_streams_max=64, metadata_bytes_max=8 << 10)


Quick: TypeAlias = Callable[[bytes], bytes | None]
"""The serialised response to a serialised request; None for the long way. MUST NOT block or raise."""


@dataclass(frozen=True, slots=True)
class Service:
    """One service to serve."""

    descriptor: ServiceDescriptor
    add: Callable[[grpc.aio.Server], None]
    """Registers the servicer with a server."""
    raw_responses: frozenset[str] = field(default_factory=frozenset)
    """Names of methods whose servicer yields serialised responses (bytes) itself."""
    quick: Mapping[str, Quick] = field(default_factory=dict)
    """By names of unary methods: what answers at once where it can, in bytes, before anything else is done.

    Only on a server with the standard list around its calls: a list that judges callers is never passed by."""


class MeshServer:
    """One listening server. `async with MeshServer(...) as server:` starts and drains it."""

    def __init__(
        self,
        *,
        address: str,
        services: Sequence[Service],
        limits: ServerLimits | None = None,
        interceptors: Sequence[Interceptor] | None = None,
        security: Security | None = None,
    ) -> None:
        """`address` is "unix:/path" (mode 0600) or "host:port"; port 0 picks a free one, see `address` after start.

        `security` says what is asked of peers, and of a second address for those on other hosts; without it there
        is no TLS, and an address that other hosts reach is refused.
        """
        self._asked = address
        self._security = security
        self._beside: MeshServer | None = None
        if security is not None and security.listen and security.listen != address:
            self._beside = MeshServer(
                address=security.listen, services=services, limits=limits, interceptors=interceptors, security=security
            )
        self._services = tuple(services)
        self._limits = limits or ServerLimits()
        self._health = WatchedHealth()
        self._judges = interceptors is not None
        shedding = self._limits.shedding
        self._interceptors = standard(shedding=shedding) if interceptors is None else tuple(interceptors)
        checked([each.name for each in self._interceptors], SERVER_ORDER, side="the server")
        self._server = grpc.aio.server(
            options=_options(self._limits),
            maximum_concurrent_rpcs=self._limits.concurrent_rpcs_max,
        )
        self.address = address
        """Where it listens; set when started."""
        self._unfollow: Callable[[], object] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen.

        Raises TrinityError BACKEND_UNAVAILABLE naming the address when it cannot be bound, ConfigError for one that
        must not be served without TLS.
        """
        credentials = self._credentials()
        if credentials is not None and self._security is not None:
            self._interceptors, self._judges = self._security.around(self._interceptors), True
        if self._beside is not None:
            await self._beside.start()
        try:
            await self._start(credentials)
        except BaseException:
            if self._beside is not None:
                await self._beside.stop()
            raise

    async def _start(self, credentials: grpc.ServerCredentials | None) -> None:
        for service in self._services:
            registrar = Registrar(self._server, service, self._interceptors, quick=not self._judges)
            service.add(cast("grpc.aio.Server", registrar))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = [service.descriptor.full_name for service in self._services]
        reflection.enable_server_reflection(
            [*names, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME], self._server
        )
        self._server.add_generic_rpc_handlers((UnknownCalls(),))
        self.address = self._bind(credentials)
        await self._server.start()
        self._unfollow = follow_server(self, self._interceptors)
        self._with_socket(lambda path: path.chmod(0o600))
        await self.set_serving(serving=False)

    @property
    def remote_address(self) -> str:
        """Where peers on other hosts reach it, once started; empty for nowhere."""
        return "" if self._beside is None else self._beside.address

    def _credentials(self) -> grpc.ServerCredentials | None:
        if self._security is not None:
            return self._security.credentials(self._asked)
        refuse_plaintext(self._asked, "listen on", allowed=False)
        return None

    def _bind(self, credentials: grpc.ServerCredentials | None) -> str:
        if self._asked.startswith("unix:"):
            Path(self._asked.removeprefix("unix:")).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._with_socket(Path.unlink)
        try:
            if credentials is None:
                port = self._server.add_insecure_port(self._asked)
            else:
                port = self._server.add_secure_port(self._asked, credentials)
        except RuntimeError as error:
            raise TrinityError(
                Reason.BACKEND_UNAVAILABLE,
                f"cannot listen on {self._asked}: the address is taken or not ours; choose another",
            ) from error
        if self._asked.startswith("unix:"):
            return self._asked
        return f"{self._asked.rpartition(':')[0]}:{port}"

    async def set_serving(self, *, serving: bool, names: Iterable[str] | None = None) -> None:
        """Tell grpc.health.v1: for `names`, or for every service and the server as a whole ("")."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        every = ("", *(service.descriptor.full_name for service in self._services))
        told = every if names is None else tuple(names)
        for name in told:
            await self._health.set(name, status)
        if self._beside is not None:
            await self._beside.set_serving(serving=serving, names=told)

    async def stop(self) -> None:
        """Say NOT_SERVING, let those who watch move away, let calls under way finish for `drain_ms`, then close."""
        await asyncio.gather(self._stop(), *([] if self._beside is None else [self._beside.stop()]))

    async def _stop(self) -> None:
        await self._health.drain(self._limits.linger_ms / 1_000)
        await self._server.stop(self._limits.drain_ms / 1_000)
        if self._unfollow is not None:
            self._unfollow()
        self._with_socket(Path.unlink)

    def _with_socket(self, act: Callable[[Path], None]) -> None:
        if self.address.startswith("unix:"):
            with contextlib.suppress(FileNotFoundError):
                act(Path(self.address.removeprefix("unix:")))


class Registrar:
    """Stands in for a server while a generated add_…_to_server runs, to put around the handlers what belongs there."""

    def __init__(
        self, server: grpc.aio.Server, service: Service, interceptors: Sequence[Interceptor], *, quick: bool = True
    ) -> None:
        """`quick` lets the service's quick answers pass by the interceptors."""
        self._server = server
        self._service = service
        self._interceptors = interceptors
        self._quick = service.quick if quick else {}

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Kept for the generated code: the handlers below carry everything."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Register the handlers, with a pass-through serializer for the raw ones."""
        made = {name: self._made(service, name, handler) for name, handler in handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, made),))

    def _made(self, service: str, name: str, handler: Any) -> Any:
        if name in self._service.raw_responses:
            handler = handler._replace(response_serializer=None)
        handler = composed(self._interceptors, f"/{service}/{name}", handler)
        quick = self._quick.get(name)
        return handler if quick is None else _quickened(handler, counted_quick(f"{service}/{name}", quick))


def _quickened(handler: Any, quick: CountedQuick) -> Any:
    """A unary handler that takes and gives bytes, and goes the long way only where there is no quick answer."""
    inner, parse, serialize = handler.unary_unary, handler.request_deserializer, handler.response_serializer

    async def answer(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        found = quick(request, context)
        if found is not None:
            return found
        try:
            message = parse(request)
        except DecodeError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the request is no message of this method")
        response: bytes = serialize(await inner(message, context))
        return response

    return grpc.unary_unary_rpc_method_handler(answer)


def _options(limits: ServerLimits) -> list[tuple[str, int]]:
    return [
        # Two servers on one TCP port would both start and share callers by chance: refuse instead.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", limits.message_bytes_max),
        ("grpc.max_metadata_size", limits.metadata_bytes_max),
        ("grpc.absolute_max_metadata_size", limits.metadata_bytes_max),
        ("grpc.max_concurrent_streams", limits.concurrent_streams_max),
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ("grpc.http2.max_ping_strikes", 3),
    ]
