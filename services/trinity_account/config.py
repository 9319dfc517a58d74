"""Settings of the account service; every one has a row in docs/configuration.md."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from trinity_admission.public_server import PublicConfig
from trinity_mesh.tls_config import TlsConfig
from trinity_storage.postgres import PostgresConfig
from trinity_storage.valkey import ValkeyConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheConfig:
    """Copies of keys and shared settings in Valkey. A cache: losing it loses nothing."""

    flush_ms: int = 500
    """Time between two stores of what changed."""
    renew_ms: int = 6 * 3_600_000
    """How often every copy is stored anew; a copy lives for a day."""

    def __post_init__(self) -> None:
        _between("cache.flush_ms", self.flush_ms, 10, 60_000)
        _between("cache.renew_ms", self.renew_ms, 1_000, 12 * 3_600_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountConfig:
    """The account service.

    Raises ValueError, naming the setting, when a value makes no sense.
    """

    listen: str = "127.0.0.1:50052"
    """Where it serves: "unix:/path", whose peers are parts of the mesh, or "host:port"."""
    secrets_file: str = "secrets.json"
    """File with the secrets that the parts of the mesh share, mode 0600."""
    env: str = "live"
    """Where keys are valid, as their text says it: `tbk_live_…`; 2 to 8 lower-case letters."""
    poll_ms: int = 250
    """How often the database is asked for changes whose announcement was missed."""
    gather_ms: int = 20
    """How long announced changes are gathered before they are read."""
    silence_ms: int = 5_000
    """How long the database may be silent before key streams end, so that replicas know that they may be old."""
    copies_ms: int = 900_000
    """How long, while the database is away, a replica that has no keys at all is given those known last."""
    heartbeat_ms: int = 500
    """Longest silence on a key stream."""
    streams_max: int = 200
    """Most key streams open at once."""
    batch_keys_max: int = 256
    """Most keys in one batch of a stream."""
    ended_keys_max: int = 10_000
    """Most ended keys remembered so that replicas can resume; older ones make them begin anew."""
    ready_wait_ms: int = 10_000
    """Longest that the service waits for the keys before it says it serves."""
    drain_ms: int = 2_000
    """How long calls under way may take to finish once the service stops."""
    postgres: PostgresConfig = field(default_factory=PostgresConfig)
    valkey: ValkeyConfig = field(default_factory=ValkeyConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)
    tls: TlsConfig = field(default_factory=TlsConfig)
    public: PublicConfig = field(default_factory=PublicConfig)

    def __post_init__(self) -> None:
        for name in ("listen", "secrets_file"):
            if not getattr(self, name):
                raise ValueError(f"{name} must not be empty")
        if not re.fullmatch("[a-z]{2,8}", self.env):
            raise ValueError("env must be 2 to 8 lower-case letters")
        _between("poll_ms", self.poll_ms, 10, 10_000)
        _between("gather_ms", self.gather_ms, 0, 1_000)
        _between("silence_ms", self.silence_ms, 1_000, 3_600_000)
        _between("copies_ms", self.copies_ms, 0, 86_400_000)
        _between("heartbeat_ms", self.heartbeat_ms, 50, 1_000)
        _between("streams_max", self.streams_max, 1, 10_000)
        _between("batch_keys_max", self.batch_keys_max, 1, 1_000)
        _between("ended_keys_max", self.ended_keys_max, 0, 1_000_000)
        _between("ready_wait_ms", self.ready_wait_ms, 0, 60_000)
        _between("drain_ms", self.drain_ms, 0, 60_000)


def _between(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}; it must lie between {low} and {high}")
