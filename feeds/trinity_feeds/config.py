"""Settings of a feed worker; docs/configuration.md has a row for each."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from trinity_core.venues import Venue
from trinity_feeds.backoff import BackoffSettings
from trinity_feeds.link import SocketSettings
from trinity_feeds.terms import SessionSettings
from trinity_feeds.venue_quotes import QuoteSettings
from trinity_mesh.server import ServerLimits
from trinity_mesh.tls_config import TlsConfig

_HEARTBEAT_MS_MAX: Final = 1_000
"""The contract promises a batch at least once a second."""


class Mode(StrEnum):
    """Whose prices these are."""

    LIVE = "live"
    """The exchanges' own."""
    SANDBOX = "sandbox"
    """Simulated; every batch and answer says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedsConfig:
    """Everything that may be set about one feed worker."""

    listen: str
    """Where FeedService is served: "unix:/path" or "host:port"."""
    mode: Mode = Mode.LIVE
    """Whose prices these are. In sandbox mode each venue held needs its own addresses below."""
    venues: tuple[Venue, ...] = tuple(Venue)
    """Venues this worker holds."""
    worker: str = "feeds"
    """First part of the worker's id; each start adds its own ending."""
    ws_urls: Mapping[Venue, str] = field(default_factory=dict)
    """WebSocket addresses in place of the venues' own."""
    rest_urls: Mapping[Venue, str] = field(default_factory=dict)
    """REST addresses in place of the venues' own, without the path of a call."""
    flush_ms: float = 3.0
    """Least time between two batches of one stream."""
    heartbeat_ms: int = 1_000
    """Most time between two batches of one stream."""
    streams_max: int = 64
    """Streams of ticks open at one time."""
    stagger_ms: int = 200
    """Wait between the first connections of two venues."""
    ready_wait_ms: int = 0
    """Longest wait for data of every venue before the worker says it is ready; calls are answered at once."""
    call_ms: int = 10_000
    """FetchQuote ends after this when its caller set no earlier deadline."""
    socket: SocketSettings = field(default_factory=SocketSettings)
    session: SessionSettings = field(default_factory=SessionSettings)
    backoff: BackoffSettings = field(default_factory=BackoffSettings)
    quotes: QuoteSettings = field(default_factory=QuoteSettings)
    server: ServerLimits = field(default_factory=ServerLimits)
    tls: TlsConfig = field(default_factory=TlsConfig)

    def __post_init__(self) -> None:
        if not self.venues:
            raise ValueError("venues: name at least one venue")
        if len(set(self.venues)) != len(self.venues):
            raise ValueError("venues: a venue stands in it twice")
        if not self.worker.isascii() or not 1 <= len(self.worker) <= 64:
            raise ValueError(f"worker: 1 to 64 ASCII characters are needed, not {self.worker[:80]!r}")
        if not 0.1 <= self.flush_ms <= 1_000:
            raise ValueError(f"flush_ms must be from 0.1 to 1000, not {self.flush_ms}")
        if not 10 <= self.heartbeat_ms <= _HEARTBEAT_MS_MAX:
            raise ValueError(f"heartbeat_ms must be from 10 to {_HEARTBEAT_MS_MAX}, not {self.heartbeat_ms}")
        if self.flush_ms > self.heartbeat_ms / 2:
            raise ValueError(f"flush_ms must be at most half of heartbeat_ms, {self.heartbeat_ms}, not {self.flush_ms}")
        if self.streams_max < 1:
            raise ValueError(f"streams_max must be at least 1, not {self.streams_max}")
        if self.stagger_ms < 0:
            raise ValueError(f"stagger_ms must be at least 0, not {self.stagger_ms}")
        if not 0 <= self.ready_wait_ms <= 60_000:
            raise ValueError(f"ready_wait_ms must be from 0 to 60000, not {self.ready_wait_ms}")
        if self.call_ms < 1:
            raise ValueError(f"call_ms must be at least 1, not {self.call_ms}")
        for name, urls, schemes in (
            ("ws_urls", self.ws_urls, ("wss", "ws")),
            ("rest_urls", self.rest_urls, ("https", "http")),
        ):
            self._check_urls(name, urls, schemes)

    def _check_urls(self, name: str, urls: Mapping[Venue, str], schemes: tuple[str, str]) -> None:
        if self.mode is Mode.SANDBOX and (missing := [venue for venue in self.venues if venue not in urls]):
            raise ValueError(f"{name}: in sandbox mode every venue needs an address; {', '.join(missing)} have none")
        for venue, url in urls.items():
            parts = urlsplit(url)
            if parts.scheme not in schemes or not parts.hostname:
                raise ValueError(f"{name}: {venue} needs an address that begins with {schemes[0]}://, not {url[:80]!r}")
            if self.mode is Mode.LIVE and (parts.scheme != schemes[0] or _is_local(parts.hostname)):
                raise ValueError(
                    f"{name}: {venue} in live mode needs {schemes[0]}:// and a public host, not {url[:80]!r}; "
                    "simulated prices must never be taken for real: set mode to sandbox"
                )


def _is_local(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return False
