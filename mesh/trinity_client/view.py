"""One price as a replica holds it: the service's message, judged by our own clock."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

import msgspec

from trinity.price.v1 import price_pb2
from trinity_core.prices import Method, State, Tier
from trinity_core.transit import Transit
from trinity_core.venues import Venue
from trinity_mesh.clock import Clock

_NS: Final = 1_000_000_000
_STATES: Final = {state.value: state for state in State}
_HOLDING: Final = frozenset({State.FRESH.value, State.DIVERGENT.value})
_FINAL: Final = frozenset({State.STALE.value, State.HALTED.value})
_NEVER_NS: Final = 1 << 62
_VENUES: Final = {venue.value: venue for venue in Venue}


class Timeline:
    """The monotonic clock of one run of the price service, told from ours."""

    __slots__ = ("clock", "offset_ns", "transit")

    def __init__(self, *, clock: Clock, clock_id: str) -> None:
        """`clock_id` names the clock that `clock.monotonic_ns` reads."""
        self.clock = clock
        self.transit = Transit(clock_id=clock_id)
        self.offset_ns = 0
        """Our monotonic time minus the service's; as good as the fastest message so far."""

    def observe(self, *, clock_id: str, sent_mono_ns: int, now_ns: int) -> int:
        """Take note of a message; its transit, nanoseconds."""
        transit_ns = self.transit.observe(clock_id=clock_id, sent_mono_ns=sent_mono_ns, now_ns=now_ns)
        self.offset_ns = self.transit.local(0)
        return transit_ns


class PriceView(msgspec.Struct, gc=False, eq=False):
    """One price, as it was when it last changed, with its state judged whenever you ask.

    Made once a change and never altered; what is computed is computed on demand.
    """

    message: price_pb2.Price
    """The service's own message; its `state` is the one judged last, `state` below is the one now. Do not alter it."""
    sequence: int
    """The message's sequence."""
    timeline: Timeline
    wall_to_mono_ns: int
    """Service's monotonic time minus its wall time, as of the batch that carried the message."""
    _fresh_ns: int = 0
    _stale_ns: int = 0
    _turns_ns: int = 0

    @property
    def asset(self) -> str:
        """Asset id, upper case."""
        return self.message.asset

    @property
    def price(self) -> Decimal:
        """The price in USD, exactly as computed."""
        return Decimal(self.message.price)

    @property
    def confidence(self) -> Decimal:
        """Half-width that covers every kept quote, USD."""
        return Decimal(self.message.confidence)

    @property
    def spread_bps(self) -> Decimal:
        """Highest minus lowest kept quote in basis points of the price."""
        return Decimal(self.message.spread_bps)

    @property
    def sources(self) -> tuple[Venue, ...]:
        """Venues whose quote was kept; ids that this version does not know are left out."""
        return tuple(_VENUES[source] for source in self.message.sources if source in _VENUES)

    @property
    def method(self) -> Method:
        """How the price was made."""
        return Method(self.message.method)

    @property
    def tier(self) -> Tier:
        """Where the service had it from."""
        return Tier(self.message.tier)

    @property
    def epoch(self) -> int:
        """Run of the book that the sequence belongs to."""
        return self.message.epoch

    @property
    def sandbox(self) -> bool:
        """The price is simulated and must not be used as a market price."""
        return self.message.sandbox

    @property
    def receive_time(self) -> datetime:
        """When the newest kept quote was received, on the service's wall clock, UTC."""
        return _datetime(self.message.receive_time.seconds, self.message.receive_time.nanos)

    @property
    def venue_time(self) -> datetime | None:
        """Newest time that a kept venue put on its quote; None where none gives a time."""
        message = self.message
        if not message.HasField("venue_time"):
            return None
        return _datetime(message.venue_time.seconds, message.venue_time.nanos)

    @property
    def state(self) -> State:
        """How far the price can be trusted now."""
        return self.state_at(self.timeline.clock.monotonic_ns())

    def state_at(self, now_ns: int) -> State:
        """How far the price can be trusted at a time of our monotonic clock, nanoseconds.

        Never better than the service judged. A state number that this version does not know
        counts as STALE.
        """
        judged = _STATES.get(self.message.state, State.STALE)
        if judged is State.STALE or judged is State.HALTED:
            return judged
        if now_ns >= self.stale_at_ns:
            return State.STALE
        if now_ns >= self.fresh_until_ns:
            return State.DELAYED
        return judged

    def holds(self, now_ns: int) -> bool:
        """Whether the state is certainly still the message's; where it is not certain, `state_at` says what it is."""
        if not self._stale_ns:
            self._deadlines()
        return now_ns < self._turns_ns + self.timeline.offset_ns

    def message_at(self, now_ns: int) -> price_pb2.Price:
        """The message with the state that holds at a time of our monotonic clock, nanoseconds.

        The quickest way to a true answer: until the state turns it is `message` itself, the
        same object each time.
        """
        if self.holds(now_ns):
            return self.message
        state = self.state_at(now_ns)
        return self.message if state.value == self.message.state else self.judged(state).message

    @property
    def age_ms(self) -> float:
        """Time since the newest kept quote was received, milliseconds, at least 0."""
        received = self.message.receive_time
        mono_ns = received.seconds * _NS + received.nanos + self.wall_to_mono_ns
        return max(0, self.timeline.clock.monotonic_ns() - self.timeline.offset_ns - mono_ns) / 1e6

    @property
    def fresh_until_ns(self) -> int:
        """Until when the state holds if nothing more arrives; our monotonic clock, nanoseconds."""
        if not self._stale_ns:
            self._deadlines()
        return self._fresh_ns + self.timeline.offset_ns

    @property
    def stale_at_ns(self) -> int:
        """From when on the price is STALE if nothing more arrives; our monotonic clock, nanoseconds."""
        if not self._stale_ns:
            self._deadlines()
        return self._stale_ns + self.timeline.offset_ns

    def turns_at_ns(self, now_ns: int) -> int | None:
        """When the state turns next if nothing more arrives, our monotonic clock; None when it never will.

        Whoever keeps something rendered from the message may show it until then.
        """
        match self.state_at(now_ns):
            case State.FRESH | State.DIVERGENT:
                return self.fresh_until_ns
            case State.DELAYED:
                return self.stale_at_ns
            case _:
                return None

    def judged(self, state: State) -> PriceView:
        """The same price with another state in its message."""
        message = price_pb2.Price()
        message.CopyFrom(self.message)
        message.state = state.value  # type: ignore[assignment]
        return PriceView(message, self.sequence, self.timeline, self.wall_to_mono_ns)

    def _deadlines(self) -> None:
        # Most prices are replaced before anybody asks: their deadlines are never computed.
        fresh, stale, state = self.message.fresh_until, self.message.stale_at, self.message.state
        self._fresh_ns = fresh.seconds * _NS + fresh.nanos + self.wall_to_mono_ns
        self._stale_ns = stale.seconds * _NS + stale.nanos + self.wall_to_mono_ns
        if state in _HOLDING:
            self._turns_ns = min(self._fresh_ns, self._stale_ns)
        elif state == State.DELAYED.value:
            self._turns_ns = self._stale_ns
        elif state in _FINAL:
            self._turns_ns = _NEVER_NS


def _datetime(seconds: int, nanos: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=nanos // 1_000)
