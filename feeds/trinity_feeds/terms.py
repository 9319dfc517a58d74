"""The words of a venue session: its states, its limits, its settings and its counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum

import msgspec


class SessionState(Enum):
    """Where a session stands; names as in trinity.feed.v1.ConnectionState."""

    CONNECTING = "connecting"
    """The socket is being opened."""
    SUBSCRIBING = "subscribing"
    """The socket is open, no tick has come yet."""
    LIVE = "live"
    """Ticks are arriving."""
    MAINTENANCE = "maintenance"
    """The venue announced maintenance or restricted trading; ticks may still arrive."""
    CLOSED = "closed"
    """The connection ended; BACKING_OFF in the contract."""


class Close(msgspec.Struct, frozen=True):
    """The session asks for its connection to be closed and opened anew."""

    code: int
    """WebSocket close code to send."""
    reason: str
    """Why, in words for the log and the status."""


class QuoteRequest(msgspec.Struct, frozen=True):
    """One REST call: GET `rest_url_default` (or its stand-in) + path, with a query."""

    path: str
    params: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `calls` in any `window_ms`."""

    calls: int
    window_ms: int


@dataclass(frozen=True, slots=True)
class ConnectLimit:
    """How often a venue lets one address open a connection."""

    attempts: int
    window_ms: int
    maintenance_floor_ms: int = 0
    """Least wait between attempts while the venue is under maintenance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keepalive:
    """How a venue's connection shows that it lives."""

    silent_ms: int
    """A connection without any frame for so long is dead."""
    ping_ms: int | None = None
    """Longest time between two pings of ours; None where the protocol has none."""
    pong_ms: int = 10_000
    """An answer that takes longer is missed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """What may be set about every session."""

    frame_bytes_max: int = 1 << 20
    """Larger frames are counted invalid and not read; give it to the socket as well."""
    ack_ms: int = 10_000
    """A subscription that is neither acknowledged nor followed by data is sent again after this."""
    symbol_silent_ms: int = 120_000
    """A symbol without data for so long on a live connection is subscribed anew, then the connection is given up."""
    data_silent_ms: int = 60_000
    """A connection on which no symbol has data for so long is given up, heartbeats or not."""
    fresh_ms: int = 10_000
    """A symbol with data within this counts as fresh."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 1:
                raise ValueError(f"{field.name} must be at least 1, not {getattr(self, field.name)}")


@dataclass(slots=True)
class SessionCounts:
    """What a session has seen since it was made; only ever grows."""

    frames: int = 0
    ticks: int = 0
    frames_invalid: int = 0
    frames_unknown: int = 0
    frames_ignored: int = 0
    """Frames of a known kind that made no tick: acks, heartbeats, trades, derivatives, symbols not wanted."""
    venue_errors: int = 0
    sequence_gaps: int = 0
    frames_out_of_order: int = 0
    resubscriptions: int = 0
    """Symbols subscribed anew because of silence or a gap."""
