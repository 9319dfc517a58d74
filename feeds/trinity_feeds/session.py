"""A venue session: frames in, ticks and frames out, no socket and no clock.

One `Session` is one venue's side of one WebSocket connection, and lives on through the
connections that follow it. The caller owns the socket and the time:

    session.connecting(now)                      # before each attempt
    session.connected(now, unix_now)             # the socket is open
    for each frame:   ticks = session.receive(frame, now, unix_now)
    at deadline_ns(): session.on_time(now)
    after each of these calls: send what outgoing() holds; on a Close, close and connect again
    session.disconnected(now, code, reason)      # the socket is gone, whoever closed it

All `mono_ns` values are nanoseconds of one monotonic clock.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

import msgspec

from trinity_core.assets import Listing
from trinity_core.ticks import Tick
from trinity_core.venues import Venue


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


@dataclass(slots=True)
class SessionCounts:
    """What a session has seen since it was made; only ever grows."""

    frames: int = 0
    ticks: int = 0
    frames_invalid: int = 0
    frames_unknown: int = 0
    frames_ignored: int = 0
    """Frames of a known kind that carry no tick for us: acks, heartbeats, trades, derivatives."""
    venue_errors: int = 0
    sequence_gaps: int = 0
    frames_out_of_order: int = 0
    resubscriptions: int = 0


class Session(ABC):
    """One venue's protocol, without I/O. Every subclass has the same shape; see docs of the module."""

    venue: ClassVar[Venue]
    connect_url_default: ClassVar[str]
    """The venue's live WebSocket endpoint."""
    connect_limit: ClassVar[ConnectLimit]
    rest_url_default: ClassVar[str]
    """Scheme and host of the venue's live REST interface; paths of quote requests are appended."""
    rest_limit: ClassVar[RateLimit]

    def __init__(self, *, listings: Sequence[tuple[str, Listing]], settings: SessionSettings) -> None:
        """`listings` are (asset id, listing) pairs, all of this venue; they are the symbols wanted."""
        self.settings = settings
        self.counts = SessionCounts()
        self.state = SessionState.CLOSED
        self.detail = ""
        """Newest error or notice in words; never a secret."""
        self.last_frame_mono_ns: int | None = None
        self.lag_ms: int | None = None
        """Our time less the venue's at the newest tick that had one."""
        self.healthy_since_mono_ns: int | None = None
        """First tick of the present connection; None before it. A back-off resets on this, not on connecting."""

    # What the caller does, in order.

    def connecting(self, mono_ns: int) -> None:
        """An attempt to open the socket begins."""

    def connected(self, mono_ns: int, unix_ns: int) -> None:
        """The socket has just opened; `unix_ns` is for the requests that carry the time."""

    def receive(self, frame: str | bytes, mono_ns: int, unix_ns: int) -> list[Tick]:
        """Take one frame; never raises, whatever it holds."""
        return []

    def outgoing(self) -> list[str | Close]:
        """Text frames to send now, in order, each once; a Close comes last."""
        return []

    def deadline_ns(self) -> int | None:
        """The next monotonic time at which `on_time` must be called; None while nothing is due."""
        return None

    def on_time(self, mono_ns: int) -> None:
        """Do what is due: pings, subscriptions, retries, expiries. Harmless when called early."""

    def disconnected(self, mono_ns: int, code: int | None, reason: str) -> None:
        """The socket is gone or could not be opened; `code` is the close code where there was one."""

    # What the caller may ask.

    @property
    def wanted(self) -> int:
        """Symbols asked for."""
        return 0

    @property
    def subscribed(self) -> int:
        """Symbols acknowledged or with data on the present connection."""
        return 0

    @property
    def refused(self) -> tuple[str, ...]:
        """Symbols the venue refused, in its own spelling."""
        return ()

    def fresh(self, mono_ns: int) -> int:
        """Symbols with data within `fresh_ms`."""
        return 0

    @property
    def in_maintenance(self) -> bool:
        """The venue said so on this connection or in closing it; the next attempt should not hurry."""
        return False

    # REST, pure: what to ask, and what the answer says.

    @classmethod
    @abstractmethod
    def quote_request(cls, listing: Listing) -> QuoteRequest:
        """The call that reads one quote."""

    @classmethod
    @abstractmethod
    def parse_quote(
        cls,
        asset: str,
        listing: Listing,
        *,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        mono_ns: int,
        unix_ns: int,
    ) -> Tick:
        """The tick (`live` set) in a REST answer; `headers` has lower-case names.

        Raises TrinityError: VENUE_RATE_LIMITED (with `retry_after_ms`), NOT_LISTED when the
        venue does not know the symbol, VENUE_UNAVAILABLE for everything else.
        """
