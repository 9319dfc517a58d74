"""The board of faults that hold now: started by script or command, asked by everything that sends."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from trinity_core.venues import Venue
from trinity_feeds.sandbox.faults import Fault, Kind
from trinity_feeds.sandbox.quotes import Quote
from trinity_feeds.sandbox.stamps import SECOND

_PRICES = (Kind.SPIKE, Kind.DRIFT, Kind.CROSSED, Kind.ZERO, Kind.NEGATIVE, Kind.NULL)
_ANNOUNCED = (Venue.KRAKEN, Venue.OKX)
"""Venues that give notice of maintenance; it begins at once at the others."""
_CLOSED = (Venue.COINBASE, Venue.GEMINI, Venue.GATEIO)
"""Venues that take no connections and calls in maintenance."""


@dataclass(frozen=True, slots=True)
class Active:
    """A fault that has begun."""

    number: int
    """Names it on the control endpoint."""
    fault: Fault
    since_ns: int
    """Monotonic time."""
    until_ns: int

    @property
    def noticed_ns(self) -> int:
        """When the maintenance that was announced begins."""
        return self.since_ns + int(self.fault.notice_s * SECOND)

    def concerns(self, asset: str) -> bool:
        """Data of this asset is affected."""
        return not self.fault.asset or self.fault.asset == asset


class FaultBoard:
    """Which faults hold at which venue. All times are monotonic nanoseconds."""

    def __init__(self, *, script: Iterable[Fault], started_ns: int) -> None:
        """`script` may be endless and must be in order of time."""
        self._script = iter(script)
        self._next = next(self._script, None)
        self._started_ns = started_ns
        self._numbers = itertools.count(1)
        self._active: dict[Venue, tuple[Active, ...]] = dict.fromkeys(Venue, ())
        self._begun: list[Active] = []

    def inject(self, fault: Fault, now_ns: int) -> Active:
        """Begin a fault now, whatever its `at_s`."""
        until_ns = now_ns if fault.momentary else now_ns + int(fault.for_s * SECOND)
        if fault.fault is Kind.MAINTENANCE and fault.venue in _ANNOUNCED:
            until_ns += int(fault.notice_s * SECOND)
        active = Active(next(self._numbers), fault, now_ns, until_ns)
        if not fault.momentary:
            self._active[fault.venue] += (active,)
        self._begun.append(active)
        return active

    def advance(self, now_ns: int) -> Sequence[Active]:
        """Begin what the script has due, end what is over; those that began since the last call."""
        while self._next is not None and self._started_ns + int(self._next.at_s * SECOND) <= now_ns:
            self.inject(self._next, now_ns)
            self._next = next(self._script, None)
        for venue, active in self._active.items():
            if active and any(each.until_ns <= now_ns for each in active):
                self._active[venue] = tuple(each for each in active if each.until_ns > now_ns)
        begun, self._begun = self._begun, []
        return begun

    def clear(self, venue: Venue | None = None) -> int:
        """End the faults that hold, at one venue or all; how many. The script goes on."""
        ended = 0
        for each in Venue if venue is None else (venue,):
            ended += len(self._active[each])
            self._active[each] = ()
        return ended

    def at(self, venue: Venue) -> tuple[Active, ...]:
        """Everything that holds at a venue."""
        return self._active[venue]

    def find(self, venue: Venue, kind: Kind) -> Active | None:
        """The newest fault of a kind at a venue."""
        return next((each for each in reversed(self._active[venue]) if each.fault.fault is kind), None)

    def silent(self, venue: Venue) -> bool:
        """Nothing may leave."""
        return self.find(venue, Kind.SILENCE) is not None

    def refusal(self, venue: Venue, now_ns: int) -> int | None:
        """HTTP status for new connections and REST calls; None where they go through."""
        refuse = self.find(venue, Kind.REFUSE)
        if refuse is not None:
            return refuse.fault.status
        return 503 if venue in _CLOSED and self.maintained(venue, now_ns) else None

    def maintained(self, venue: Venue, now_ns: int) -> bool:
        """Maintenance has begun."""
        active = self.find(venue, Kind.MAINTENANCE)
        return active is not None and (venue not in _ANNOUNCED or active.noticed_ns <= now_ns)

    def frozen(self, venue: Venue, asset: str, now_ns: int) -> bool:
        """No data of the asset may be sent."""
        if any(each.fault.fault is Kind.FREEZE and each.concerns(asset) for each in self._active[venue]):
            return True
        return venue is Venue.KRAKEN and self.maintained(venue, now_ns)  # the only venue that stays connected

    def pushed(self, quotes: Sequence[Quote], now_ns: int) -> Sequence[Quote]:
        """What subscribers of one venue get of its newest quotes: some held back, some bent."""
        if not quotes or not self._active[quotes[0].venue]:
            return quotes
        return [self.bent(quote, now_ns) for quote in quotes if not self.frozen(quote.venue, quote.asset, now_ns)]

    def bent(self, quote: Quote, now_ns: int) -> Quote:
        """The quote as a lying venue shows it."""
        for each in self._active[quote.venue]:
            if each.fault.fault in _PRICES and each.concerns(quote.asset):
                quote = _bend(quote, each, now_ns)
        return quote


def _bend(quote: Quote, active: Active, now_ns: int) -> Quote:
    fault = active.fault
    match fault.fault:
        case Kind.SPIKE:
            return _times(quote, fault.factor)
        case Kind.DRIFT:
            seconds = (now_ns - active.since_ns) / SECOND
            return _times(quote, max(1 + fault.bps_per_s * seconds / 10_000, 0.01))
        case Kind.CROSSED if quote.ask is not None:
            return msgspec.structs.replace(quote, bid=quote.ask + max(1, quote.ask // 500))
        case Kind.ZERO:
            return msgspec.structs.replace(quote, bid=0, ask=0, last=0)
        case Kind.NEGATIVE:
            return msgspec.structs.replace(
                quote, **{side: -abs(value) for side, value in _sides(quote).items() if value is not None}
            )
        case Kind.NULL:
            return msgspec.structs.replace(quote, bid=None, ask=None, last=None)
        case _:
            return quote


def _times(quote: Quote, factor: float) -> Quote:
    changed = {side: max(1, round(value * factor)) for side, value in _sides(quote).items() if value is not None}
    return msgspec.structs.replace(quote, **changed)


def _sides(quote: Quote) -> dict[str, int | None]:
    return {"bid": quote.bid, "ask": quote.ask, "last": quote.last}
