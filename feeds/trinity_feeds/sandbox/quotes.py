"""What a market looks like at one moment, in whole units, and where such moments come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from trinity_core.venues import Venue


class Quote(msgspec.Struct, frozen=True, gc=False):
    """One market's state after a change. Prices are counted in 10^-decimals, sizes in 10^-size_decimals."""

    venue: Venue
    asset: str
    symbol: str
    """The venue's own spelling."""
    quote: str
    """Currency of the prices."""
    decimals: int
    size_decimals: int
    bid: int | None
    """None only where a fault took the side away; so for `ask` and `last`."""
    ask: int | None
    last: int | None
    bid_size: int
    ask_size: int
    last_size: int
    volume: int
    """Traded in 24 hours, in units of size."""
    open: int
    """Price 24 hours ago."""
    high: int
    low: int
    traded: bool
    """This change was a trade, not only a move of the book."""
    sequence: int
    """Rises by one with every change at the venue."""


class Drive(Protocol):
    """Where quotes come from. Implementations MUST NOT read time themselves."""

    def opening(self) -> Sequence[Quote]:
        """The state of every market before anything moved."""
        ...

    def until(self, elapsed_ns: int) -> Sequence[Quote]:
        """The changes since the last call, in order, up to a time since the start.

        MUST bound the work of one call: after a long pause it skips time, never piles it up.
        """
        ...

    def truth(self) -> Mapping[str, str]:
        """The true price of each asset in USD now, decimal strings."""
        ...
