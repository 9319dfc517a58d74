"""The bounds by which the book judges quotes: ages, distances, jumps."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class BookSettings:
    """Every bound of the book. Times in milliseconds, distances in basis points of a price.

    Raises ValueError, naming the setting, when a bound makes no sense.
    """

    fresh_ms: int = 10_000
    """Longest a quote is fresh after the venue last stood by it."""
    quiet_ms: int = 60_000
    """Longest after its receipt that signs of life on the connection stand by a quote."""
    stale_ms: int = 60_000
    """Age at which a price is stale: not answered unless a caller asks for such an age."""
    mad_k: Decimal = Decimal("3.5")
    """Outliers: how many scaled median absolute deviations a quote may lie from the median."""
    floor_bps: Decimal = Decimal(50)
    """Outliers: a distance that is never too far, however closely the others agree."""
    jump_bps: Decimal = Decimal(200)
    """A venue's move by more than this, alone, waits for confirmation."""
    confirm_ms: int = 2_000
    """How long such a move must stand to be believed without a second venue."""
    divergence_bps: Decimal = Decimal(200)
    """Kept quotes further apart than this make the price DIVERGENT."""
    future_ms: int = 5_000
    """A venue's time further ahead of ours than this is suspect."""
    past_ms: int = 300_000
    """A venue's time further behind ours than this is suspect."""
    live_lag_ms: int = 2_000
    """How much older than its receipt a quote read by REST is taken to be when quotes are put in order."""
    retry_ms: int = 1_000
    """When a caller who got no price is told to try again."""
    workers_max: int = 16
    """Most feed workers of one venue whose connections are remembered."""

    def __post_init__(self) -> None:
        _between("fresh_ms", self.fresh_ms, 200, DAY_MS)
        _between("quiet_ms", self.quiet_ms, 0, DAY_MS)
        _between("stale_ms", self.stale_ms, self.fresh_ms, DAY_MS)
        # Below 2.5 setting quotes aside could move a price further than the honest venues lie apart (decision 0004).
        _between("mad_k", self.mad_k, Decimal("2.5"), Decimal(1_000))
        _between("floor_bps", self.floor_bps, Decimal(0), Decimal(10_000))
        _between("jump_bps", self.jump_bps, Decimal(1), Decimal(1_000_000))
        _between("confirm_ms", self.confirm_ms, 100, self.fresh_ms)
        _between("divergence_bps", self.divergence_bps, Decimal(1), Decimal(20_000))
        _between("future_ms", self.future_ms, 0, DAY_MS)
        _between("past_ms", self.past_ms, 0, 366 * DAY_MS)
        _between("live_lag_ms", self.live_lag_ms, 0, DAY_MS)
        _between("retry_ms", self.retry_ms, 1, DAY_MS)
        _between("workers_max", self.workers_max, 1, 1_000)


def _between(name: str, value: int | Decimal, low: int | Decimal, high: int | Decimal) -> None:
    if (isinstance(value, Decimal) and not value.is_finite()) or not low <= value <= high:
        raise ValueError(f"book: {name} is {value}; it must lie between {low} and {high}")
