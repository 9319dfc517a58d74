"""Settings of TLS: of the mesh's own, which is mutual, and of the port that callers with keys reach."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trinity_mesh.spiffe import check_trust_domain, is_service_name


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsConfig:
    """The identity of a part of the mesh, and what it asks of its peers on other hosts.

    Raises ValueError, naming the setting, for a wrong one.
    """

    cert_file: str = ""
    """File with this part's certificate, then those between it and the CA, PEM; empty: the part has no identity and
    speaks on Unix sockets and the loopback alone."""
    key_file: str = ""
    """File with the certificate's private key, PEM, which others than its owner and group must not read."""
    ca_file: str = ""
    """File with the certificates of the CAs that vouch for peers, PEM; two while one takes the other's place."""
    trust_domain: str = "trinity.internal"
    """The mesh's name: certificates say spiffe://<trust domain>/<service>, and <service>.<trust domain> as DNS name."""
    listen: str = ""
    """"host:port" where peers on other hosts reach the part, by mutual TLS, beside its own address; empty: nowhere."""
    allowed_peers: tuple[str, ...] = ()
    """Services that may call this one at all; empty: those that the contracts name for each call."""
    plaintext: bool = False
    """Speak to other hosts without TLS where there is no certificate. For a network that encrypts by itself; peers
    that come that way have no identity, so that calls only the mesh may make are refused."""
    check_ms: int = 1_000
    """How often the files are looked at; what is new in them is used for every connection made afterwards."""
    warn_h: int = 72
    """Hours before the end of a certificate when the log begins to tell of it."""

    def __post_init__(self) -> None:
        files = [name for name in ("cert_file", "key_file", "ca_file") if getattr(self, name)]
        if files and len(files) != 3:
            raise ValueError(f"tls needs cert_file, key_file and ca_file together; set are {', '.join(files)} alone")
        try:
            check_trust_domain(self.trust_domain)
        except ValueError as error:
            raise ValueError(f"tls.trust_domain: {error}") from None
        if self.listen.startswith("unix:"):
            raise ValueError("tls.listen must be host:port; a Unix socket is set as the part's own address")
        if self.listen and not (files or self.plaintext):
            raise ValueError("tls.listen needs cert_file, key_file and ca_file; `trinity certs` makes them")
        _check_services("tls.allowed_peers", self.allowed_peers)
        _between("tls.check_ms", self.check_ms, 10, 3_600_000)
        _between("tls.warn_h", self.warn_h, 0, 87_600)

    @property
    def enabled(self) -> bool:
        """Whether there is a certificate."""
        return bool(self.cert_file)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicTlsConfig:
    """TLS of a port for callers with keys: the server shows a certificate, callers show their key.

    Raises ValueError, naming the setting, for a wrong one.
    """

    cert_file: str = ""
    """File with the server's certificate and those between it and its CA, PEM; empty: the port is plain, for a balancer
    that ends TLS before it."""
    key_file: str = ""
    """File with the certificate's private key, PEM, which others than its owner and group must not read."""
    check_ms: int = 1_000
    """How often the files are looked at."""
    warn_h: int = 72
    """Hours before the end of the certificate when the log begins to tell of it."""

    def __post_init__(self) -> None:
        if bool(self.cert_file) != bool(self.key_file):
            raise ValueError("tls needs cert_file and key_file together")
        _between("tls.check_ms", self.check_ms, 10, 3_600_000)
        _between("tls.warn_h", self.warn_h, 0, 87_600)

    @property
    def enabled(self) -> bool:
        """Whether there is a certificate."""
        return bool(self.cert_file)


def is_local(address: str) -> bool:
    """Whether an address is of this host alone: a Unix socket, "localhost", or a literal address of the loopback.

    Of a list with commas: whether all of them are.
    """
    return all(map(_is_local, address.split(",")))


def _is_local(address: str) -> bool:
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    host = address.rpartition(":")[0].removeprefix("[").removesuffix("]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_services(name: str, services: Sequence[Any]) -> None:
    for service in services:
        if not is_service_name(service):
            raise ValueError(f"{name}: {str(service)[:80]!r} is no name of a service: write it like price")


def _between(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}; it must lie between {low} and {high}")
