"""A venue session: frames in, ticks and frames out, no socket and no clock.

One `Session` is one venue's side of one WebSocket connection, and lives on through the
connections that follow it. The caller owns the socket and the time:

    session.connecting(now)                      # before each attempt
    session.connected(now, unix_now)             # the socket is open
    for each frame:   ticks = session.receive(frame, now, unix_now)
    at deadline_ns(): session.on_time(now)
    after each of these calls: send what outgoing() holds; on a Close, close and connect again
    session.disconnected(now, code, reason)      # the socket is gone, whoever closed it

All `mono_ns` values are nanoseconds of one monotonic clock. A session that asks for a close
while `in_maintenance` is set was told of a cut in advance: it goes on reading until then.
`trinity_feeds.listener` has what the venues share, `trinity_feeds.venues` what each adds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from trinity_core.assets import Listing
from trinity_core.ticks import Tick
from trinity_core.venues import Venue
from trinity_feeds.terms import (
    Close,
    ConnectLimit,
    QuoteRequest,
    RateLimit,
    SessionCounts,
    SessionSettings,
    SessionState,
)

__all__ = [
    "Close",
    "ConnectLimit",
    "QuoteRequest",
    "RateLimit",
    "Session",
    "SessionCounts",
    "SessionSettings",
    "SessionState",
]


class Session(ABC):
    """One venue's protocol, without I/O."""

    venue: ClassVar[Venue]
    connect_url_default: ClassVar[str]
    """The venue's live WebSocket endpoint."""
    connect_limit: ClassVar[ConnectLimit]
    rest_url_default: ClassVar[str]
    """Scheme and host of the venue's live REST interface; paths of quote requests are appended."""
    rest_limit: ClassVar[RateLimit]
    subscriptions_max: ClassVar[int] = 1000
    """Symbols that one connection may hold."""

    def __init__(
        self, *, listings: Sequence[tuple[str, Listing]], settings: SessionSettings, replay: bool = False
    ) -> None:
        """`listings` are (asset id, listing) pairs, all of this venue; they are the symbols wanted.

        With `replay` the frames come from a file: every spot symbol makes ticks, wanted or not,
        and no frame is dropped for its sequence. Raises ValueError when there are more symbols
        than the venue allows on one connection.
        """
        if len(listings) > self.subscriptions_max:
            raise ValueError(f"{self.venue}: {len(listings)} symbols, at most {self.subscriptions_max} a connection")
        self.settings = settings
        self.replay = replay
        self.counts = SessionCounts()
        self.state = SessionState.CLOSED
        self.detail = ""
        """Newest error or notice in words; never a secret."""
        self.last_frame_mono_ns: int | None = None
        """When a frame of any kind last came, on any connection."""
        self.healthy_since_mono_ns: int | None = None
        """First tick of the present connection; None before it. A back-off resets on this, not on connecting."""
        self.in_maintenance = False
        """The venue said so on this connection or in closing it; the next attempt should not hurry."""

    # What the caller does, in order.

    @abstractmethod
    def connecting(self, mono_ns: int) -> None:
        """An attempt to open the socket begins."""

    @abstractmethod
    def connected(self, mono_ns: int, unix_ns: int) -> None:
        """The socket has just opened; `unix_ns` is for the requests that carry the time."""

    @abstractmethod
    def receive(self, frame: str | bytes, mono_ns: int, unix_ns: int) -> list[Tick]:
        """Take one frame; never raises, whatever it holds."""

    @abstractmethod
    def outgoing(self) -> list[str | Close]:
        """Text frames to send now, in order, each once; a Close comes last."""

    @abstractmethod
    def deadline_ns(self) -> int | None:
        """The next monotonic time at which `on_time` must be called; None while nothing is due."""

    @abstractmethod
    def on_time(self, mono_ns: int) -> None:
        """Do what is due: pings, subscriptions, retries, expiries. Harmless when called early."""

    @abstractmethod
    def disconnected(self, mono_ns: int, code: int | None, reason: str) -> None:
        """The socket is gone or could not be opened; `code` is the close code where there was one."""

    # What the caller may ask.

    @property
    @abstractmethod
    def wanted(self) -> int:
        """Symbols asked for."""

    @property
    @abstractmethod
    def subscribed(self) -> int:
        """Symbols acknowledged or with data on the present connection."""

    @property
    @abstractmethod
    def refused(self) -> tuple[str, ...]:
        """Symbols the venue refused, in its own spelling."""

    @property
    @abstractmethod
    def lag_ms(self) -> int | None:
        """Our time less the venue's at the newest tick that had one; negative where its clock is ahead."""

    @abstractmethod
    def fresh(self, mono_ns: int) -> int:
        """Symbols with data within `fresh_ms`."""

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

    @abstractmethod
    def read_answer(self, body: bytes, mono_ns: int, unix_ns: int) -> list[Tick]:
        """Ticks of a recorded REST answer whose shape tells that it holds tickers; never raises."""
