"""Settings of the usage service; every one has a row in docs/configuration.md."""

from __future__ import annotations

from dataclasses import dataclass, field

from trinity_admission.public_server import PublicConfig
from trinity_mesh.tls_config import TlsConfig
from trinity_storage.postgres import PostgresConfig


@dataclass(frozen=True, slots=True)
class LeaseConfig:
    """How quotas are shared out."""

    ttl_s: int = 60
    """How long a lease holds without being renewed; what a crashed gateway has not used comes back after it."""
    share: int = 4
    """A lease is at most this part of what is left of a quota: one in so many."""
    least: int = 100
    """Answers of a lease that are given even where they are more than that part, if they are left."""

    def __post_init__(self) -> None:
        _between("lease.ttl_s", self.ttl_s, 1, 3_600)
        _between("lease.share", self.share, 1, 1_000)
        _between("lease.least", self.least, 1, 1_000_000)


@dataclass(frozen=True, slots=True)
class UsageConfig:
    """The usage service. Raises ValueError, naming the setting, when a value makes no sense."""

    listen: str = "127.0.0.1:50053"
    """Where it serves: "unix:/path" or "host:port". Gateways are believed on a Unix socket, and by mutual TLS."""
    postgres: PostgresConfig = field(default_factory=PostgresConfig)
    waiting_max: int = 64
    """Most messages of collectors that wait for their turn to be written; more are sent away to come again."""
    close_after_h: int = 3
    """Hours after the end of an hour when its counters are packed tightly. What comes later still counts, once."""
    final_after_days: int = 62
    """Days after which an hour is final: its counters are forgotten, and none is taken any more. Its sums stay."""
    tidy_s: int = 60
    """Time between two looks for hours to close."""
    drain_ms: int = 5_000
    """How long calls under way may take to finish once the service stops."""
    lease: LeaseConfig = field(default_factory=LeaseConfig)
    tls: TlsConfig = field(default_factory=TlsConfig)
    public: PublicConfig = field(default_factory=PublicConfig)

    def __post_init__(self) -> None:
        if not self.listen:
            raise ValueError('listen must be an address such as "unix:/run/trinity/usage.sock"')
        _between("waiting_max", self.waiting_max, 1, 10_000)
        _between("close_after_h", self.close_after_h, 1, 1_000)
        _between("final_after_days", self.final_after_days, 8, 36_500)
        _between("tidy_s", self.tidy_s, 1, 86_400)
        _between("drain_ms", self.drain_ms, 0, 60_000)


def _between(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}; it must lie between {low} and {high}")
