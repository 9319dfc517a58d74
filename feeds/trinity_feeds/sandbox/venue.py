"""What all six sandbox venues share: their markets, and a connection without its socket.

Protocol logic here has no sockets and reads no clock. A session is told what arrived, what changed and what
time it is, and leaves frames in `out`; whoever holds the socket sends them. The frames are those of the real
venue: nothing in them says that the prices are simulated.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar

import msgspec

from trinity_core.assets import AssetTable
from trinity_core.venues import Venue
from trinity_feeds.sandbox.board import Active, FaultBoard
from trinity_feeds.sandbox.quotes import Quote
from trinity_feeds.sandbox.rest import Answer, Bucket, Request
from trinity_feeds.sandbox.settings import SandboxSettings
from trinity_feeds.sandbox.stamps import SECOND, Moment


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One WebSocket message on its way out."""

    data: bytes
    asset: str = ""
    """Asset whose price it carries; empty for everything that is not data."""
    binary: bool = False


@dataclass(frozen=True, slots=True)
class Close:
    """The end of a connection, from the venue's side."""

    code: int | None
    """None: the socket just ends, without a close frame."""
    reason: str = ""


def message(value: Any) -> Frame:
    """A frame that is not data, in JSON."""
    return Frame(msgspec.json.encode(value))


def parse(text: str | bytes) -> Any:
    """What a client sent, decoded; None when it is not JSON."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


def strings(value: Any, limit: int = 2000) -> list[str]:
    """The value as a list of strings; empty when it is anything else, cut at `limit`."""
    return [each for each in value[:limit] if isinstance(each, str)] if isinstance(value, list) else []


class SandboxVenue(ABC):
    """One venue: its markets, its REST answers, and the limits all its connections share."""

    venue: ClassVar[Venue]
    ws_path: ClassVar[str]
    message_bytes_max: ClassVar[int] = 1024 * 1024
    rest_limit: ClassVar[tuple[float, float]]
    """REST calls a second, and at once."""
    connect_limit: ClassVar[tuple[float, float]]
    """Connection attempts a second, and at once."""

    def __init__(self, *, table: AssetTable, settings: SandboxSettings, faults: FaultBoard, random: Random) -> None:
        self.settings = settings
        self.timers = settings.timers
        self.faults = faults
        self.random = random
        gone = {market.partition(":")[2] for market in settings.delisted if market.startswith(f"{self.venue}:")}
        chosen = frozenset(settings.assets) or frozenset(table.ids)
        listed = {symbol: asset for symbol, (asset, _) in table.symbols(self.venue).items() if asset in chosen}
        self.markets: Mapping[str, str] = {symbol: asset for symbol, asset in listed.items() if asset not in gone}
        """Asset of each symbol that trades."""
        self.delisted: Mapping[str, str] = {symbol: asset for symbol, asset in listed.items() if asset in gone}
        self._newest: dict[str, Quote] = {}
        self._frames: dict[tuple[str, int], Frame] = {}
        self._rest = Bucket(*self.rest_limit)
        self._connects = Bucket(*self.connect_limit)

    @abstractmethod
    def session(self, now: Moment) -> Session:
        """A new connection."""

    @abstractmethod
    def answer(self, request: Request, now: Moment) -> Answer:
        """The answer to a GET; unknown paths included."""

    @abstractmethod
    def too_many(self) -> Answer:
        """The answer to a GET beyond the limit."""

    @abstractmethod
    def render(self, channel: str, quote: Quote, now: Moment) -> bytes:
        """One quote as this venue's frame on a channel."""

    def take(self, quotes: Sequence[Quote]) -> None:
        """Remember what changed, for snapshots and REST."""
        self._frames.clear()
        for quote in quotes:
            self._newest[quote.symbol] = quote

    def frame(self, channel: str, quote: Quote, now: Moment) -> Frame:
        """The quote's frame, made once for all connections."""
        key = (channel, quote.sequence)
        frame = self._frames.get(key)
        if frame is None:
            frame = self._frames[key] = Frame(self.render(channel, quote, now), quote.asset)
        return frame

    def shown(self, symbol: str, now: Moment) -> Quote | None:
        """The market's newest quote as REST shows it; None for a symbol that does not trade."""
        if symbol not in self.markets:
            return None
        quote = self._newest.get(symbol)
        return None if quote is None else self.faults.bent(quote, now.mono_ns)

    def shown_all(self, now: Moment) -> list[Quote]:
        """Every market's newest quote as REST shows it."""
        return [quote for symbol in self.markets if (quote := self.shown(symbol, now)) is not None]

    def snapshot(self, symbol: str, now: Moment) -> Quote | None:
        """The quote that a new subscriber gets at once; None where data is frozen."""
        quote = self.shown(symbol, now)
        return None if quote is None or self.faults.frozen(self.venue, quote.asset, now.mono_ns) else quote

    def rest(self, request: Request, now: Moment) -> Answer:
        """The answer to a GET, within the venue's limit."""
        if self.settings.rate_limits and not self._rest.take(now.mono_ns):
            return self.too_many()
        return self.answer(request, now)

    def may_connect(self, now: Moment) -> bool:
        """A connection attempt is within the venue's limit."""
        return not self.settings.rate_limits or self._connects.take(now.mono_ns)

    def hex(self, length: int) -> str:
        """A random id as venues put into their frames, from the seed."""
        return f"{self.random.getrandbits(4 * length):0{length}x}"


class Session(ABC):
    """One connection to a venue, without its socket."""

    def __init__(self, *, now: Moment) -> None:
        self.out: list[Frame] = []
        """Frames to send, in order; the socket's holder takes them away."""
        self.end: Close | None = None
        """Set once, when the venue ends the connection; sent after `out`."""
        self.ping_due = False
        """A protocol ping is to be sent."""
        self.opened = now
        self.heard_ns = now.mono_ns
        """When the client last sent something."""
        self.sent_ns = now.mono_ns
        """When something was last sent."""

    @abstractmethod
    def received(self, text: str | bytes, now: Moment) -> None:
        """A message came from the client. Anything may come; nothing may raise."""

    @abstractmethod
    def offer(self, quotes: Sequence[Quote], now: Moment) -> None:
        """Markets of this venue changed; send what is subscribed."""

    @abstractmethod
    def subscriptions(self) -> int:
        """How many there are, for the statistics."""

    @abstractmethod
    def poll(self, now: Moment) -> None:
        """Time passed; called every few milliseconds."""

    def maintenance(self, active: Active, now: Moment) -> None:
        """Maintenance was started. Most venues say nothing and close."""
        self.close(1001)

    def close(self, code: int | None, reason: str = "") -> None:
        """End the connection from the venue's side."""
        if self.end is None:
            self.end = Close(code, reason)

    def quiet_for(self, now: Moment, *, strict: bool) -> float:
        """Seconds without a message: in either direction, or (strict) from the client."""
        last = self.heard_ns if strict else max(self.heard_ns, self.sent_ns)
        return (now.mono_ns - last) / SECOND
