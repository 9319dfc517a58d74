"""Who a part of the mesh is, and how it meets its peers on other hosts: mutual TLS, from files that are looked after.

    async with Identity(config.tls, service="price", clock=clock) as identity:
        MeshServer(address=config.listen, services=[…], security=identity)
        open_channel("10.0.0.7:50053", security=identity, service="usage")

Within a host parts meet on Unix sockets, which only their owner may open; there is no TLS there.
A server asks every peer on another host for a certificate that a CA of the mesh vouches for, and looks in
the table of the contracts whether the service that it names may make the call. A client asks for a server whose
certificate has the DNS name of the service that it wants: that a CA vouches for it is not enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol, Self

import grpc
import grpc.aio

from trinity_mesh.certificates import Certificates, Files
from trinity_mesh.clock import Clock
from trinity_mesh.config import ConfigError
from trinity_mesh.interceptors import Errors, Interceptor
from trinity_mesh.mesh_callers import MeshCallers
from trinity_mesh.renewal import Renewal
from trinity_mesh.renewing_channel import RenewingChannel
from trinity_mesh.spiffe import is_service_name, server_name
from trinity_mesh.tls_config import PublicTlsConfig, TlsConfig, is_local

OPERATOR: Final = "operator"
"""Names the certificate of a person who runs the mesh; it stands in the tables beside the services."""


_CONNECT: Final = "grpc.min_reconnect_backoff_ms"
"""Despite its name the shortest time that an attempt to connect is given, its handshake included."""
_CONNECT_MS: Final = 2_000
"""Several ways there and back between distant hosts, and the work of a handshake on a busy one."""


class Security(Protocol):
    """What a server asks of those who connect to one of its addresses."""

    @property
    def listen(self) -> str:
        """A second address, for peers on other hosts; empty for none."""
        ...

    def credentials(self, address: str) -> grpc.ServerCredentials | None:
        """TLS for an address; None for none. Raises ConfigError where the address must not be served without."""
        ...

    def around(self, interceptors: Sequence[Interceptor]) -> tuple[Interceptor, ...]:
        """A server's list with what belongs there for an address with TLS."""
        ...


class Identity:
    """The identity of one process; without certificates it is one that never leaves its host."""

    def __init__(self, config: TlsConfig, *, service: str, clock: Clock) -> None:
        """Read the certificates. Raises ConfigError where they are not good, or not those of `service`."""
        if not is_service_name(service):
            raise ValueError(f"{service!r} is no name of a service")
        self._config = config
        self._service = service
        self._renewal: Renewal | None = None
        self._shown: tuple[int, grpc.ServerCertificateConfiguration] | None = None
        if config.enabled:
            self._renewal = Renewal(
                Files(Path(config.cert_file), Path(config.key_file), Path(config.ca_file)),
                clock=clock,
                check_ms=config.check_ms,
                warn_h=config.warn_h,
                judge=self._judge,
            )

    async def __aenter__(self) -> Self:
        if self._renewal is not None:
            await self._renewal.__aenter__()
        return self

    async def __aexit__(self, *ended: object) -> None:
        if self._renewal is not None:
            await self._renewal.__aexit__(*ended)

    @property
    def enabled(self) -> bool:
        """Whether there are certificates."""
        return self._renewal is not None

    @property
    def listen(self) -> str:
        """Where peers on other hosts reach this part; empty for nowhere."""
        return self._config.listen

    def check(self) -> None:
        """Look now whether the files have changed."""
        if self._renewal is not None:
            self._renewal.check()

    def credentials(self, address: str) -> grpc.ServerCredentials | None:
        """Mutual TLS for everything but Unix sockets; see `Security`."""
        if address.startswith("unix:"):
            return None
        if self._renewal is None:
            refuse_plaintext(address, "listen on", allowed=self._config.plaintext)
            return None
        name = server_name(self._config.trust_domain, self._service)
        if name not in self._renewal.current.dns_names:
            raise ConfigError(
                f"{self._config.cert_file} lacks the DNS name {name}, by which clients know this service; "
                "`trinity certs` makes certificates that have it"
            )
        return grpc.dynamic_ssl_server_credentials(self._now(), self._now, require_client_authentication=True)

    def around(self, interceptors: Sequence[Interceptor]) -> tuple[Interceptor, ...]:
        """The list with `MeshCallers` right within what renders errors."""
        place = next((number for number, each in enumerate(interceptors, 1) if isinstance(each, Errors)), 0)
        callers = MeshCallers(trust_domain=self._config.trust_domain, allowed=self._config.allowed_peers)
        return (*interceptors[:place], callers, *interceptors[place:])

    def channel(
        self,
        address: str,
        *,
        service: str,
        options: Sequence[tuple[str, Any]],
        interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
    ) -> grpc.aio.Channel:
        """A channel to `service` at an address, by mutual TLS where there are certificates and it is no Unix socket.

        Raises ConfigError for an address on another host without certificates, unless `plaintext` is set.
        """
        renewal = self._renewal
        if renewal is None or address.startswith("unix:"):
            refuse_plaintext(address, "connect to", allowed=self._config.plaintext)
            return grpc.aio.insecure_channel(address, options=list(options), interceptors=list(interceptors))
        if not is_service_name(service):
            raise ValueError(f"{service!r} is no name of a service: by which name shall {address} be known?")
        named = [
            *(option for option in options if option[0] != _CONNECT),
            (_CONNECT, _CONNECT_MS),
            ("grpc.ssl_target_name_override", server_name(self._config.trust_domain, service)),
        ]

        def opened() -> grpc.aio.Channel:
            now = renewal.current
            credentials = grpc.ssl_channel_credentials(now.ca_pem, now.key_pem, now.chain_pem)
            return grpc.aio.secure_channel(address, credentials, options=named, interceptors=list(interceptors))

        return RenewingChannel(opened, generation=lambda: renewal.generation)

    def _now(self) -> grpc.ServerCertificateConfiguration:
        """What the next handshake shows and asks for; called by threads of grpc."""
        assert self._renewal is not None
        generation, current = self._renewal.generation, self._renewal.current
        if self._shown is None or self._shown[0] != generation:
            pair = [(current.key_pem, current.chain_pem)]
            made = grpc.ssl_server_certificate_configuration(pair, root_certificates=current.ca_pem)
            self._shown = (generation, made)
        return self._shown[1]

    def _judge(self, found: Certificates) -> None:
        assert found.name is not None
        if found.name.trust_domain != self._config.trust_domain or found.name.service != self._service:
            raise ConfigError(
                f"{self._config.cert_file} is the certificate of {found.name}; "
                f"this is spiffe://{self._config.trust_domain}/{self._service}"
            )


class PublicCertificate:
    """TLS of a port for callers with keys, or a plain port; see `Security`."""

    listen = ""

    def __init__(self, config: PublicTlsConfig, *, clock: Clock) -> None:
        """Read the certificate. Raises ConfigError where it is not good."""
        self._renewal: Renewal | None = None
        if config.enabled:
            files = Files(Path(config.cert_file), Path(config.key_file), None)
            self._renewal = Renewal(files, clock=clock, check_ms=config.check_ms, warn_h=config.warn_h)

    async def __aenter__(self) -> Self:
        if self._renewal is not None:
            await self._renewal.__aenter__()
        return self

    async def __aexit__(self, *ended: object) -> None:
        if self._renewal is not None:
            await self._renewal.__aexit__(*ended)

    def credentials(self, address: str) -> grpc.ServerCredentials | None:
        """The server's certificate, where there is one. What the port takes is judged by keys."""
        if self._renewal is None:
            return None
        return grpc.dynamic_ssl_server_credentials(self._now(), self._now, require_client_authentication=False)

    def around(self, interceptors: Sequence[Interceptor]) -> tuple[Interceptor, ...]:
        """The list as it is."""
        return tuple(interceptors)

    def _now(self) -> grpc.ServerCertificateConfiguration:
        assert self._renewal is not None
        current = self._renewal.current
        return grpc.ssl_server_certificate_configuration([(current.key_pem, current.chain_pem)])


def refuse_plaintext(address: str, act: str, *, allowed: bool) -> None:
    """Raise ConfigError for an address of another host, or one that other hosts reach, unless that is allowed."""
    if not allowed and not is_local(address):
        raise ConfigError(
            f"will not {act} {address} without TLS: other hosts are met by mutual TLS alone. Set tls.cert_file, "
            "tls.key_file and tls.ca_file (`trinity certs` makes them), or tls.plaintext on a network that encrypts "
            "by itself"
        )
