"""Certificates for tests: a CA of its own, and what it made, in the files of one folder."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import grpc.aio

from trinity_mesh.authority import Pair, issue, make_authority
from trinity_mesh.clock import SystemClock
from trinity_mesh.mesh_channel import MeshChannel
from trinity_mesh.telemetry.client_calls import CountedChannel
from trinity_mesh.tls_config import TlsConfig

DAY_NS = 86_400_000_000_000
DOMAIN = "mesh.test"


def first_backend(channel: grpc.aio.Channel) -> grpc.aio.Channel:
    """The channel that leads to the first backend of one of ours, as it was opened."""
    assert isinstance(channel, MeshChannel)
    counted = channel.balancer.backends[0].channel
    return counted.inner if isinstance(counted, CountedChannel) else counted


def now_ns() -> int:
    return SystemClock().unix_ns()


@dataclass
class Issuer:
    """A CA that writes certificates into a folder."""

    folder: Path
    pair: Pair = field(default_factory=lambda: make_authority(DOMAIN, days=365, now_ns=now_ns() - 30 * DAY_NS))

    def config(self, service: str, *, bundle: bytes = b"", begins_days: float = 0, days: int = 30) -> TlsConfig:
        """The settings of a service with a certificate of its own, made anew; `bundle` in place of this CA alone."""
        made = issue(self.pair, service, trust_domain=DOMAIN, days=days, now_ns=now_ns() + round(begins_days * DAY_NS))
        return self.written(service, made, bundle=bundle)

    def written(self, service: str, pair: Pair, *, bundle: bytes = b"") -> TlsConfig:
        self.folder.mkdir(exist_ok=True, parents=True)
        cert, key, ca = (self.folder / f"{service}{end}" for end in (".pem", ".key", ".ca.pem"))
        replace(ca, bundle or self.pair.cert_pem)
        replace(key, pair.key_pem)
        replace(cert, pair.cert_pem)
        return TlsConfig(cert_file=str(cert), key_file=str(key), ca_file=str(ca), trust_domain=DOMAIN)


def replace(path: Path, data: bytes) -> None:
    """Write a file beside and rename it, as whatever renews certificates should."""
    beside = path.with_name(f".{path.name}")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
    beside.replace(path)
