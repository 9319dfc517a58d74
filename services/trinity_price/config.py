"""Settings of the price service; every one has a row in docs/configuration.md."""

from __future__ import annotations

from dataclasses import dataclass, field

from trinity_admission.public_server import PublicConfig
from trinity_core.book_settings import BookSettings
from trinity_mesh.tls_config import TlsConfig


@dataclass(frozen=True, slots=True)
class MirrorConfig:
    """The copy of the prices in Valkey, for the next run of the service. A cache: losing it loses nothing."""

    url: str = ""
    """"redis://host:port/0", "rediss://…" or "unix:///path"; empty for no mirror."""
    flush_ms: int = 250
    """Time between two stores of what changed."""
    ttl_ms: int = 120_000
    """How long a stored price lives."""
    timeout_ms: int = 250
    """Longest that the mirror may take for a store or a read."""
    pause_ms: int = 1_000
    """How long a mirror that failed to be read is left alone."""
    batch_max: int = 500
    """Most prices in one store."""

    def __post_init__(self) -> None:
        _between("mirror.flush_ms", self.flush_ms, 10, 60_000)
        _between("mirror.ttl_ms", self.ttl_ms, 1_000, 86_400_000)
        _between("mirror.timeout_ms", self.timeout_ms, 1, 10_000)
        _between("mirror.pause_ms", self.pause_ms, 0, 60_000)
        _between("mirror.batch_max", self.batch_max, 1, 10_000)


@dataclass(frozen=True, slots=True)
class LiveConfig:
    """Quotes read from venues by REST for what the book lacks."""

    timeout_ms: int = 3_000
    """Longest that one attempt may take, whoever waits for it."""
    wait_ms: int = 2_500
    """Longest that one caller waits for an attempt; a nearer deadline wins."""
    again_after_ms: int = 1_000
    """How long an attempt, good or bad, stands for the callers after it."""
    remembered_max: int = 1_000
    """Most attempts whose outcome is remembered."""

    def __post_init__(self) -> None:
        _between("live.timeout_ms", self.timeout_ms, 10, 60_000)
        _between("live.wait_ms", self.wait_ms, 10, 60_000)
        _between("live.again_after_ms", self.again_after_ms, 10, 60_000)
        _between("live.remembered_max", self.remembered_max, 1, 100_000)


@dataclass(frozen=True, slots=True)
class PriceConfig:
    """The price service.

    Raises ValueError, naming the setting, when a value makes no sense.
    """

    listen: str = "127.0.0.1:50051"
    """Where it serves: "unix:/path" or "host:port"."""
    feeds: tuple[str, ...] = ("127.0.0.1:50061",)
    """Addresses of the feed workers."""
    feed_silence_ms: int = 3_000
    """Silence after which a feed worker's stream counts as lost; workers speak once a second."""
    ready_wait_ms: int = 5_000
    """Longest that the service waits for the feeds' snapshots before it says it serves."""
    flush_ms: float = 3.0
    """Shortest time between two batches of a price stream."""
    streams_max: int = 1_000
    """Most price streams open at once."""
    snapshot_prices_max: int = 64
    """Most prices in one batch of a stream's snapshot."""
    lookups_max: int = 32
    """Most prices of one batch request that are looked for beyond the book at once."""
    wall_step_ms: int = 500
    """How far the machine's wall clock may stray before the times shown follow it."""
    drain_ms: int = 2_000
    """How long calls under way may take to finish once the service stops."""
    book: BookSettings = field(default_factory=BookSettings)
    mirror: MirrorConfig = field(default_factory=MirrorConfig)
    live: LiveConfig = field(default_factory=LiveConfig)
    tls: TlsConfig = field(default_factory=TlsConfig)
    public: PublicConfig = field(default_factory=PublicConfig)

    def __post_init__(self) -> None:
        if not self.feeds or len(set(self.feeds)) != len(self.feeds) or not all(self.feeds):
            raise ValueError("feeds must name at least one feed worker, each once")
        if not self.listen:
            raise ValueError('listen must be an address such as "127.0.0.1:50051" or "unix:/run/trinity/price.sock"')
        _between("feed_silence_ms", self.feed_silence_ms, 1_100, 60_000)
        _between("ready_wait_ms", self.ready_wait_ms, 0, 60_000)
        _between("flush_ms", self.flush_ms, 0, 1_000)
        _between("streams_max", self.streams_max, 1, 100_000)
        _between("snapshot_prices_max", self.snapshot_prices_max, 1, 2_000)
        _between("lookups_max", self.lookups_max, 1, 200)
        _between("wall_step_ms", self.wall_step_ms, 1, 60_000)
        _between("drain_ms", self.drain_ms, 0, 60_000)


def _between(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}; it must lie between {low} and {high}")
