"""A venue's markets as one session sees them: by every spelling, and how each fares."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

_STRANGERS_MAX: Final = 4096
_WORDS_MAX: Final = 2_000
_WORD: Final = re.compile(r"[A-Za-z0-9]+(?:[-_/][A-Za-z0-9]+)*")


class Status(Enum):
    """Where a symbol stands on the present connection."""

    WAITING = "waiting"
    """To be asked for."""
    ASKED = "asked"
    ACTIVE = "active"
    """Acknowledged, or data came."""
    REFUSED = "refused"


@dataclass(slots=True, eq=False)
class Market:
    """One symbol of a venue and how it fares."""

    symbol: str
    """As we ask for it."""
    label: str
    """As the venue's data calls it."""
    asset: str
    quote: str
    status: Status = Status.WAITING
    data_ns: int | None = None
    """When data last came, on any connection; monotonic."""
    since_ns: int = 0
    """Silence before this does not count: it was acknowledged or subscribed anew then."""
    early: int = 2
    """Data frames still to be noted one by one: the first after subscribing may be a snapshot, the second is not."""
    asks: int = 0
    """Unanswered asks on this connection."""
    woken: bool = False
    """Subscribed anew because of silence, and silent since."""
    doublings: int = 0
    refused_ns: int = 0
    reason: str = ""
    """Why it was refused."""
    sequence: int = -1
    """Highest ordering number taken on this connection."""


class Markets(dict[str | None, Market | None]):
    """The wanted markets by the venue's spelling: as we ask for them, and as its data calls them.

    `markets[symbol]` is the market, or None where it is not wanted. A replay wants every
    spot market and adds the strangers it meets; a bounded number of them is remembered.
    """

    def __init__(
        self, markets: Iterable[Market], *, market_of: Callable[[str], tuple[str, str] | None], replay: bool
    ) -> None:
        """`market_of` tells asset and quote currency from a spelling, for a replay."""
        super().__init__()
        self._market_of = market_of
        self._replay = replay
        for market in markets:
            self[market.label] = self[market.symbol] = market

    def __missing__(self, symbol: str | None) -> Market | None:
        if not self._replay or symbol is None:
            return None
        found = self._market_of(symbol)
        if found is None:
            return None
        market = Market(symbol=symbol, label=symbol, asset=found[0], quote=found[1])
        if len(self) < _STRANGERS_MAX:
            self[symbol] = market
        return market

    def named_in(self, words: str) -> list[Market]:
        """Wanted markets that an error text names in the venue's spelling."""
        found = (self.get(word) for word in _WORD.findall(words[:_WORDS_MAX]))
        return [market for market in found if market is not None]
