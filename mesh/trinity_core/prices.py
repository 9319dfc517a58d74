"""A consolidated price and the words around it."""

from __future__ import annotations

from decimal import Decimal
from enum import IntEnum

import msgspec

from trinity_core.venues import Venue


class State(IntEnum):
    """How far a price can be trusted; numbers as in trinity.price.v1.State."""

    FRESH = 1
    DELAYED = 2
    STALE = 3
    DIVERGENT = 4
    HALTED = 5

    @property
    def letter(self) -> str:
        """One letter for text datagrams: F, D, S, V or H."""
        return _LETTERS[self]


_LETTERS = {State.FRESH: "F", State.DELAYED: "D", State.STALE: "S", State.DIVERGENT: "V", State.HALTED: "H"}


class Tier(IntEnum):
    """Where an answer came from; numbers as in trinity.price.v1.Tier."""

    LOCAL = 1
    CACHE = 2
    LIVE = 3


class Method(IntEnum):
    """How quotes become a price; numbers as in trinity.price.v1.Method."""

    MEDIAN = 1
    VWAP = 2
    PRIMARY = 3


class Exclusion(IntEnum):
    """Why a quote does not count; numbers as in trinity.price.v1.Exclusion."""

    NONE = 0
    NOT_FRESH = 1
    OUTLIER = 2
    UNCONFIRMED_JUMP = 3
    NO_CONVERSION = 4
    NOT_ASKED = 5


class Price(msgspec.Struct, frozen=True, gc=False):
    """One asset's consolidated price in USD; see trinity.price.v1.Price for each field.

    Times ending in `_mono_ns` are on the book's own monotonic clock, nanoseconds.
    """

    asset: str
    price: Decimal
    state: State
    confidence: Decimal
    """Half-width that covers every kept quote, USD."""
    spread_bps: Decimal
    """Highest minus lowest kept quote in basis points of the price, two places."""
    sources: tuple[Venue, ...]
    """Kept venues in alphabetical order of their ids."""
    method: Method
    tier: Tier
    venue_time_ns: int | None
    """Newest venue time of a kept quote, unix nanoseconds."""
    receive_time_ns: int
    """Unix time at which the newest kept quote was received, nanoseconds."""
    receive_mono_ns: int
    """Monotonic time of the same moment."""
    fresh_until_mono_ns: int
    """The state holds until then if nothing more arrives."""
    stale_at_mono_ns: int
    """STALE from then on if nothing more arrives."""
    sequence: int
    failover: bool = False


def plain(value: Decimal) -> str:
    """The decimal as a plain string, every digit kept and never an exponent."""
    return format(value, "f")
