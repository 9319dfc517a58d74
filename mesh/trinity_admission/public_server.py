"""A service's second address, for callers that come directly with a key: judged, bounded and counted like all others.

    async with public_server(config.public, services=[…], clock=clock, drain_ms=2_000) as public:
        await public.set_serving(serving=True)

The service's own address is for the mesh: a Unix socket, or a network that only the mesh reaches.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from trinity_admission.admission_config import AdmissionConfig
from trinity_admission.client_address import ClientAddress
from trinity_admission.grpc_interceptor import with_admission
from trinity_admission.main import admission_part
from trinity_admission.networks import Networks
from trinity_core.assets import load_assets
from trinity_mesh.clock import Clock
from trinity_mesh.identity import Identity, PublicCertificate
from trinity_mesh.server import MeshServer, Service, public_limits
from trinity_mesh.tls_config import PublicTlsConfig


@dataclass(frozen=True, slots=True)
class PublicConfig:
    """Where callers with keys reach a service directly. Raises ValueError, naming the setting, for a wrong one."""

    listen: str = ""
    """"host:port" for gRPC callers that bring a key of their own; empty: none are served. Never a Unix socket."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks (CIDR) of proxies in front of this port whose X-Forwarded-For tells a caller's address."""
    tls: PublicTlsConfig = field(default_factory=PublicTlsConfig)
    admission: AdmissionConfig = field(default_factory=AdmissionConfig)

    def __post_init__(self) -> None:
        Networks(self.trusted_proxies)
        if self.listen.startswith("unix:"):
            raise ValueError(
                "public.listen must be host:port: peers on a Unix socket belong to the mesh and bring no key"
            )


class PublicServer:
    """The second address of a service, or none."""

    def __init__(self, server: MeshServer | None) -> None:
        self._server = server

    @property
    def address(self) -> str:
        """Where it listens; empty for none."""
        return "" if self._server is None else self._server.address

    async def set_serving(self, *, serving: bool) -> None:
        """Tell health checks."""
        if self._server is not None:
            await self._server.set_serving(serving=serving)


@contextlib.asynccontextmanager
async def public_server(
    config: PublicConfig,
    *,
    services: Sequence[Service],
    clock: Clock,
    drain_ms: int,
    identity: Identity | None = None,
) -> AsyncIterator[PublicServer]:
    """Serve callers with keys for as long as the block runs, if the settings say so.

    Args:
        config: the settings.
        services: what to serve.
        clock: the machine's.
        drain_ms: how long calls under way may take to finish at the end.
        identity: the service's own, by which it reads keys and records counts on other hosts.

    Raises TrinityError when the address cannot be bound, ConfigError when the mesh's secrets or the port's
    certificate cannot be read.
    """
    if not config.listen:
        yield PublicServer(None)
        return
    proxies = ClientAddress(config.trusted_proxies) if config.trusted_proxies else None
    async with (
        PublicCertificate(config.tls, clock=clock) as certificate,
        admission_part(config.admission, clock=clock, assets=load_assets().ids, identity=identity) as part,
        MeshServer(
            address=config.listen,
            services=services,
            limits=public_limits(drain_ms=drain_ms),
            interceptors=with_admission(part.admission, proxies),
            security=certificate,
        ) as server,
    ):
        await part.ready()
        yield PublicServer(server)
