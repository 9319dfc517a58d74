"""How often one key may ask: a token bucket, kept as one number. Pure; the clock is an argument.

The number is the time at which the bucket is full again (GCRA). Taking a token moves it by what one
token takes to flow in; it may never lie further ahead than a full bucket takes. Where the
number stands is up to the caller: in this process, or in memory that processes share.
"""

from __future__ import annotations

from typing import Final, Protocol

_S: Final = 1_000_000_000


class Cells(Protocol):
    """Numbers of 64 bits, signed: a list, or memory that processes share."""

    def __getitem__(self, index: int, /) -> int:
        """The number at a place."""
        ...

    def __setitem__(self, index: int, value: int, /) -> None:
        """Put a number there."""
        ...


class Bucket:
    """One key's bucket in one cell."""

    __slots__ = ("_at", "_cells", "burst", "burst_ns", "rate_per_s", "token_ns")

    def __init__(
        self,
        *,
        rate_per_s: float,
        burst: int,
        cells: Cells | None = None,
        at: int = 0,
    ) -> None:
        """`cells[at]` holds the number, 64 bits signed; None keeps it here."""
        self._cells: Cells = [0] if cells is None else cells
        self._at = at
        self.change(rate_per_s=rate_per_s, burst=burst)

    def change(self, *, rate_per_s: float, burst: int) -> None:
        """Another rate or burst from now on; what is in the bucket stays, as far as it fits."""
        if rate_per_s <= 0 or burst < 1:
            raise ValueError(f"a bucket cannot have {rate_per_s} tokens a second and hold {burst}")
        self.rate_per_s = rate_per_s
        self.burst = burst
        # Rounded up, so that never more than the rate flows in.
        self.token_ns = -int(-_S // rate_per_s)
        self.burst_ns = self.token_ns * burst

    def take(self, now_ns: int, count: int = 1) -> int:
        """Take a token, or `count`: 0, or how long to wait for them, nanoseconds, and none is taken.

        `now_ns` is monotonic time.
        """
        full_at = self._cells[self._at]
        if full_at < now_ns:
            full_at = now_ns
        elif full_at - now_ns > self.burst_ns:
            # The bucket was greater before, or its cell is older than the machine's clock.
            full_at = self._cells[self._at] = now_ns + self.burst_ns
        after = full_at + self.token_ns * count
        wait_ns = after - now_ns - self.burst_ns
        if wait_ns > 0:
            return wait_ns
        self._cells[self._at] = after
        return 0

    def take_told(self, now_ns: int) -> tuple[int, int] | None:
        """Take a token and tell what `standing` would now; None where there is none to take."""
        cells, at, burst_ns, token_ns = self._cells, self._at, self.burst_ns, self.token_ns
        lacks_ns = cells[at] - now_ns
        if lacks_ns < 0:
            lacks_ns = 0
        elif lacks_ns > burst_ns:
            lacks_ns = burst_ns
            cells[at] = now_ns + burst_ns  # As `take` leaves it, whether or not there is a token.
        lacks_ns += token_ns
        left_ns = burst_ns - lacks_ns
        if left_ns < 0:
            return None
        cells[at] = now_ns + lacks_ns
        return left_ns // token_ns, -(-lacks_ns // _S)

    def standing(self, now_ns: int) -> tuple[int, int]:
        """Tokens in the bucket, and whole seconds until it is full if nobody takes any, rounded up."""
        lacks_ns = self._cells[self._at] - now_ns
        if lacks_ns <= 0:
            return self.burst, 0
        if lacks_ns > self.burst_ns:
            lacks_ns = self.burst_ns
        return (self.burst_ns - lacks_ns) // self.token_ns, -(-lacks_ns // _S)
