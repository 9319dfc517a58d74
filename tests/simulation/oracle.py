"""What the book may say, from the truth alone: kept another way than the book keeps it, and checked against it.

Nothing here is shared with the code under test but the values that pass between the two.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from decimal import Decimal

from simulation.faulty_market import TABLE, Event, Facts
from trinity_core.book import BookSettings
from trinity_core.prices import Price, State
from trinity_core.ticks import Tick
from trinity_core.venues import Venue

MS = 1_000_000
NEVER = -1
LIVE = (State.FRESH, State.DIVERGENT)
HAIR = 1e-9
"""What binary fractions may err by here, as a part of a price: the book's own arithmetic is tested elsewhere."""

Range = tuple[float, float]


@dataclass(slots=True)
class Said:
    """A quote that came in its order."""

    t: int
    value: float
    honest: bool


@dataclass(slots=True)
class Pair:
    """What one venue said of one asset."""

    quote: str
    key: tuple[int, int] = (0, 0)
    """Connection and order of the newest tick of all."""
    valid: tuple[int, int] = (0, 0)
    """Of the newest that is a quote."""
    receive: int = NEVER
    spoiled: int | None = None
    """When the first tick after that was received that is none."""
    recent: deque[Said] = field(default_factory=lambda: deque(maxlen=64))


class Oracle:
    """Collects what is wrong in `wrong`; empty means that the book kept its word."""

    def __init__(self, settings: BookSettings) -> None:
        self._fresh = settings.fresh_ms * MS
        self._quiet = settings.quiet_ms * MS
        self._memory = (settings.confirm_ms + 300) * MS
        self._alive: dict[int, int] = {}
        self._pairs = {
            (asset.asset, listing.venue): Pair(listing.quote) for asset in TABLE.assets for listing in asset.listings
        }
        self._sequence = 0
        self._ranged: dict[str, Decimal] = {}
        self.checked: dict[str, int] = {}
        self.wrong: list[str] = []

    def hear(self, event: Event) -> None:
        """Take what reaches the book now."""
        if event.life is not None and event.life.connected:
            newest = max(self._alive.get(event.connection, NEVER), event.life.alive_mono_ns)
            self._alive[event.connection] = newest
        if event.tick is not None and event.facts is not None:
            self._hear_tick(event.t, event.tick, event.facts)

    def _hear_tick(self, t: int, tick: Tick, facts: Facts) -> None:
        pair = self._pairs[tick.asset, tick.venue]
        key = (facts.connection, facts.order)
        if key <= pair.key:
            return
        pair.key = key
        if not facts.valid:
            if pair.spoiled is None:
                pair.spoiled = tick.receive_mono_ns
            return
        assert tick.price is not None
        pair.valid, pair.receive, pair.spoiled = key, tick.receive_mono_ns, None
        pair.recent.append(Said(t, float(tick.price), facts.honest))

    def ends(self, asset: str, venue: Venue) -> int:
        """Until when the venue's quote is fresh in its own currency."""
        pair = self._pairs[asset, venue]
        if pair.receive == NEVER:
            return NEVER
        shown = min(self._alive.get(pair.valid[0], NEVER), pair.receive + self._quiet)
        if pair.spoiled is not None:
            shown = min(shown, pair.spoiled)
        return max(pair.receive, shown) + self._fresh

    def ends_in_usd(self, asset: str, venue: Venue) -> int:
        """The same in USD: no later than the rate."""
        own = self.ends(asset, venue)
        return own if self._pairs[asset, venue].quote == "USD" else min(own, self.rate_ends())

    def rate_ends(self) -> int:
        """Until when some venue's quote of USDT is fresh."""
        return max(self.ends("USDT", listing.venue) for listing in TABLE.by_id["USDT"].listings)

    def lasts(self, asset: str) -> int:
        """Until when some venue's quote in USD is fresh."""
        return max(self.ends(asset, listing.venue) for listing in TABLE.by_id[asset].listings if listing.quote == "USD")

    def published(self, price: Price, t: int) -> None:
        """The book published a price."""
        self._count("published")
        if price.sequence != self._sequence + 1:
            self._blame(t, price, f"sequence after {self._sequence}")
        self._sequence = price.sequence
        if price.state not in LIVE:
            return
        ends = [self.ends_in_usd(price.asset, venue) for venue in price.sources]
        if min(ends) < t:
            self._blame(t, price, "made of quotes that ended")
        newest = max(ends)
        if price.fresh_until_mono_ns > newest:
            self._blame(t, price, f"promises to be fresh {(price.fresh_until_mono_ns - newest) / 1e9} s too long")
        if price.price != self._ranged.get(price.asset):
            self._ranged[price.asset] = price.price
            self._check_range(price, t)

    def shown(self, price: Price, state: State, t: int, *, by: str, late_ns: int = 0) -> None:
        """Somebody shows this price in this state now; clocks between us may differ by `late_ns`."""
        self._count(f"shown by {by} as {state.name}")
        if state in LIVE and all(self.ends_in_usd(price.asset, venue) + late_ns < t for venue in price.sources):
            self._blame(t, price, f"{by} shows a price as {state.name} though every quote in it ended")

    def missed(self, asset: str, state: State | None, t: int, *, by: str) -> None:
        """Somebody does not show as fresh what has been fresh for a while."""
        self._count(f"live at {by}")
        if state not in LIVE:
            self.wrong.append(f"{t / 1e9:.3f} {asset}: {by} shows {state and state.name}, though a quote is fresh")

    def _check_range(self, price: Price, t: int) -> None:
        """Where fewer than half of the quotes can be lies, the price lies where the honest ones do."""
        rate = self._rate_range(t)
        honest: list[Range] = []
        liars = certain = 0
        for listing in TABLE.by_id[price.asset].listings:
            if self.ends(price.asset, listing.venue) < t:
                continue
            values = self._values(price.asset, listing.venue, t)
            converted = listing.quote != "USD"
            if values is None or (converted and rate is None):
                liars += 1
                continue
            low, high = min(values), max(values)
            if converted and rate is not None:
                low, high = low * rate[0], high * rate[1]
            else:
                certain += 1
            honest.append((low, high))
        if liars and (liars >= certain or liars + certain < 3):
            return
        self._count("range")
        low, high = min(low for low, _ in honest), max(high for _, high in honest)
        width = high - low if liars else 0
        if not (low - width) * (1 - HAIR) <= float(price.price) <= (high + width) * (1 + HAIR):
            self._blame(t, price, f"{liars} lie, and honest quotes lie between {low} and {high}")

    def _rate_range(self, t: int) -> Range | None:
        """Bounds of the rate that counts now, be it up to a grid point old; None where too many may lie."""
        honest: list[float] = []
        liars = certain = 0
        for listing in TABLE.by_id["USDT"].listings:
            ends = self.ends("USDT", listing.venue)
            if ends < t - 200 * MS:
                continue
            values = self._values("USDT", listing.venue, t)
            liars += values is None
            certain += values is not None and ends >= t
            honest += values or []
        if not honest or (liars and (liars >= certain or liars + certain < 3)):
            return None
        low, high = min(honest), max(honest)
        width = high - low if liars else 0
        return low - width, high + width

    def _values(self, asset: str, venue: Venue, t: int) -> list[float] | None:
        """Every quote that may count now: while a jump waits, the one before it; None where one is a lie."""
        found = []
        for said in reversed(self._pairs[asset, venue].recent):
            if not said.honest:
                return None
            found.append(said.value)
            if said.t < t - self._memory:
                break
        return found

    def _blame(self, t: int, price: Price, what: str) -> None:
        sources = ",".join(price.sources)
        self.wrong.append(f"{t / 1e9:.3f} {price.asset} {price.price} {price.state.name} of {sources}: {what}")

    def _count(self, what: str) -> None:
        self.checked[what] = self.checked.get(what, 0) + 1
