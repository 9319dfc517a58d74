"""How venue quotes become one price. Pure: quotes in, a price and its evidence out.

What is promised when a minority of three or more fresh quotes lies, whatever it says: the
median and the mean by volume stay within the honest quotes' range widened by its own width
on either side (docs/decisions/0004 has the argument, the tests search for a counter-example).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from operator import attrgetter

import msgspec

from trinity_core import exact
from trinity_core.exact import EXACT, ZERO
from trinity_core.ticks import Tick

MAD_SCALE = Decimal("1.4826")
"""Makes the median absolute deviation of a normal distribution its standard deviation."""

_by_value = attrgetter("value")


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One fresh quote in USD, as it was when it entered a price."""

    value: Decimal
    """USD."""
    rank: int
    """Place of its market in the asset's priority."""
    tick: Tick
    volume: Decimal | None
    """24-hour volume that can weigh, units of the asset."""
    receive: int
    """Monotonic time of receipt, nanoseconds, never after its arrival in the book."""
    suspect: bool
    """Its venue time is suspect."""
    until: int
    """Fresh up to and including this monotonic time, by what was known."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of BookSettings as factors of a price."""

    deviations: Decimal
    """Median absolute deviations, unscaled, that a quote may lie from the median."""
    floor: Decimal
    divergence_bps: Decimal


class Consolidated(msgspec.Struct, frozen=True, gc=False):
    """The median price of some fresh quotes, and what became of each."""

    price: Decimal
    """USD."""
    confidence: Decimal
    """Half-width that covers the kept quotes, USD."""
    spread_bps: Decimal
    divergent: bool
    """The kept quotes lie too far apart, or are no more than half of all."""
    kept: tuple[Entry, ...]
    """In ascending order of value."""
    fresh: tuple[Entry, ...]
    """All, likewise."""


@dataclass(frozen=True, slots=True)
class Band:
    """What may be kept: everything within `threshold` of `median`."""

    median: Decimal
    mad: Decimal
    threshold: Decimal


def band(fresh: Sequence[Entry], limits: Limits) -> Band | None:
    """The band that three or more quotes in ascending order set; None for fewer."""
    if len(fresh) < 3:
        return None
    middle = exact.median([entry.value for entry in fresh])
    mad = exact.median(sorted([EXACT.subtract(entry.value, middle).copy_abs() for entry in fresh]))
    threshold = max(EXACT.multiply(mad, limits.deviations), EXACT.multiply(middle, limits.floor))
    return Band(middle, mad, threshold)


def consolidate(entries: Sequence[Entry], limits: Limits) -> Consolidated:
    """The median of the quotes that remain when outliers are set aside; at least one quote.

    Equal values stand in the order of `entries`.
    """
    fresh = kept = sorted(entries, key=_by_value)
    price = exact.median([entry.value for entry in fresh])
    width = EXACT.subtract(fresh[-1].value, fresh[0].value)
    # Quotes that lie within the floor of each other lie within it of their median: no need to look for outliers.
    if len(fresh) >= 3 and width > EXACT.multiply(price, limits.floor):
        kept = keep(fresh, limits)
        if len(kept) < len(fresh):
            price = exact.median([entry.value for entry in kept])
            width = EXACT.subtract(kept[-1].value, kept[0].value)
    spread_bps = exact.in_bps(width, price)
    return Consolidated(
        price,
        cover(price, kept),
        spread_bps,
        spread_bps > limits.divergence_bps or 2 * len(kept) <= len(fresh),
        tuple(kept),
        tuple(fresh),
    )


def keep(fresh: list[Entry], limits: Limits) -> list[Entry]:
    """The quotes, of some in ascending order, that are not set aside as outliers."""
    within = band(fresh, limits)
    if within is None:
        return fresh
    low = EXACT.subtract(within.median, within.threshold)
    high = EXACT.add(within.median, within.threshold)
    return [entry for entry in fresh if low <= entry.value <= high]


def cover(price: Decimal, kept: Sequence[Entry]) -> Decimal:
    """Half-width around the price that covers quotes in ascending order, USD."""
    if len(kept) == 1 and kept[0].value is price:
        return ZERO
    return max(EXACT.subtract(kept[-1].value, price), EXACT.subtract(price, kept[0].value))


def fence(fresh: Sequence[Entry]) -> tuple[Decimal, Decimal] | None:
    """Bounds that lie within the honest range widened by its width, whichever minority lies; None below three quotes.

    Of n quotes fewer than half, f, may lie. The quotes between the f + 1st lowest and the
    f + 1st highest are hemmed in by honest ones on both sides, and no n - f quotes lie closer
    together than the closest n - f do, the honest ones included.
    """
    count = len(fresh)
    if count < 3:
        return None
    lying = (count - 1) // 2
    honest = count - lying
    width = min(EXACT.subtract(fresh[i + honest - 1].value, fresh[i].value) for i in range(lying + 1))
    return (
        EXACT.subtract(fresh[lying].value, width),
        EXACT.add(fresh[count - lying - 1].value, width),
    )


def by_volume(kept: Sequence[Entry], fresh: Sequence[Entry]) -> tuple[Decimal, list[Entry]] | None:
    """Mean of the kept quotes by volume, drawn into the fence of the fresh ones, and the quotes that weigh in it.

    None where no kept quote has a volume.
    """
    weighing = [entry for entry in kept if entry.volume is not None]
    if not weighing:
        return None
    mean = exact.weighted_mean([entry.value for entry in weighing], volumes(weighing))
    bounds = fence(fresh)
    if bounds is not None:
        mean = min(max(mean, bounds[0]), bounds[1])
    return mean, weighing


def volumes(weighing: Sequence[Entry]) -> list[Decimal]:
    """The volumes of quotes that all have one."""
    return [entry.volume for entry in weighing if entry.volume is not None]


def first(kept: Sequence[Entry]) -> Entry:
    """The quote whose market comes first in the asset's priority."""
    return min(kept, key=attrgetter("rank"))
