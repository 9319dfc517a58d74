"""Settings of the webhook service; every one has a row in docs/configuration.md."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from trinity_admission.public_server import PublicConfig
from trinity_mesh.tls_config import TlsConfig
from trinity_storage.postgres import PostgresConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookConfig:
    """The webhook service.

    Raises ValueError, naming the setting, when a value makes no sense.
    """

    listen: str = "127.0.0.1:50055"
    """Where it serves: "unix:/path", whose peers are parts of the mesh, or "host:port"."""
    secrets_file: str = "secrets.json"
    """File with the secrets that the parts of the mesh share, mode 0600; one of them seals customers' secrets."""
    loopback: bool = False
    """Take endpoints on this machine, and http to them. For a sandbox; never where strangers may register endpoints."""
    refused_networks: tuple[str, ...] = ()
    """Networks in CIDR form that no endpoint may be in, besides those that never are: those of one's own servers."""
    endpoints_per_associate_max: int = 20
    """Endpoints that an associate may have."""
    subscriptions_per_endpoint_max: int = 100
    """Subscriptions that an endpoint may have."""
    asked_per_minute_max: int = 6
    """Challenges, and tests, that may be sent to one endpoint in a minute."""
    drain_ms: int = 2_000
    """How long calls under way may take to finish once the service stops."""
    postgres: PostgresConfig = field(default_factory=PostgresConfig)
    tls: TlsConfig = field(default_factory=TlsConfig)
    public: PublicConfig = field(default_factory=PublicConfig)

    def __post_init__(self) -> None:
        for name in ("listen", "secrets_file"):
            if not getattr(self, name):
                raise ValueError(f"{name} must not be empty")
        for text in self.refused_networks:
            try:
                ipaddress.ip_network(text)
            except ValueError:
                raise ValueError(f"refused_networks: {text[:64]!r} is no network such as 203.0.113.0/24") from None
        _between("endpoints_per_associate_max", self.endpoints_per_associate_max, 1, 10_000)
        _between("subscriptions_per_endpoint_max", self.subscriptions_per_endpoint_max, 1, 1_000)
        _between("asked_per_minute_max", self.asked_per_minute_max, 1, 1_000)
        _between("drain_ms", self.drain_ms, 0, 60_000)


def _between(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} must be between {low} and {high}")
