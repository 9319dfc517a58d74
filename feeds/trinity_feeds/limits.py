"""How often a venue may be asked, and when to stop asking: a token bucket and a circuit breaker, both pure.

Neither reads time: every method is given the monotonic time, in nanoseconds. Waiting
times are answered in nanoseconds, 0 meaning "now". The bucket is the generic cell rate
algorithm (ITU-T I.371), which needs one number instead of a counter and a timer.
"""

from __future__ import annotations

import math
import random
from enum import IntEnum
from typing import Final

_NS: Final = 1_000_000_000
_MS: Final = 1_000_000
_JITTER: Final = 0.2
"""An open circuit lasts up to this share longer than asked, so that workers do not probe in step."""


class TokenBucket:
    """A rate with a burst; a refusal says when to come back."""

    __slots__ = ("_interval_ns", "_paused_until_ns", "_slack_ns", "_theoretical_ns")

    def __init__(self, *, rate_per_s: float, burst: int) -> None:
        """`rate_per_s` tokens a second, at most `burst` of them at once; both above 0."""
        if rate_per_s <= 0 or burst < 1:
            raise ValueError(f"a bucket needs a rate above 0 and a burst of at least 1, not {rate_per_s} and {burst}")
        self._interval_ns = math.ceil(_NS / rate_per_s)
        self._slack_ns = self._interval_ns * (burst - 1)
        self._theoretical_ns: int | None = None
        self._paused_until_ns: int | None = None

    @classmethod
    def within(cls, *, calls: int, window_ms: float) -> TokenBucket:
        """A bucket that never gives more than `calls` tokens in any `window_ms`: half at once, half spread out."""
        burst = max(1, calls // 2)
        return cls(rate_per_s=(calls - burst + 1) * 1_000 / window_ms, burst=burst)

    def wait_ns(self, now_ns: int) -> int:
        """Nanoseconds until a token can be taken; 0 when one can be taken now. Takes none."""
        wait = 0
        if self._theoretical_ns is not None:
            wait = self._theoretical_ns - self._slack_ns - now_ns
        if self._paused_until_ns is not None:
            wait = max(wait, self._paused_until_ns - now_ns)
        return max(0, wait)

    def take(self, now_ns: int) -> int:
        """Take a token and return 0, or take none and return the nanoseconds until there is one."""
        wait = self.wait_ns(now_ns)
        if wait:
            return wait
        start = now_ns if self._theoretical_ns is None else max(now_ns, self._theoretical_ns)
        self._theoretical_ns = start + self._interval_ns
        return 0

    def pause(self, until_ns: int) -> None:
        """Give no token before `until_ns`: the venue said so. An earlier end never shortens a later one."""
        if self._paused_until_ns is None or until_ns > self._paused_until_ns:
            self._paused_until_ns = until_ns


class Circuit(IntEnum):
    """State of a circuit breaker; numbers as in trinity.feed.v1.CircuitState."""

    CLOSED = 1
    OPEN = 2
    HALF_OPEN = 3


class CircuitBreaker:
    """Refuses calls after repeated failures, then lets one through to probe.

    closed --failures_max failures in a row--> open --open_ms--> half-open: one call at a
    time; its success closes the circuit, its failure opens it for twice as long, at most
    `open_ms_max`. Whoever was allowed MUST report `succeeded`, `failed` or `abandoned`.
    """

    __slots__ = (
        "_failures",
        "_failures_max",
        "_open_ms",
        "_open_ms_max",
        "_open_until_ns",
        "_opened",
        "_probing",
        "_random",
    )

    def __init__(self, *, failures_max: int, open_ms: int, open_ms_max: int, random_source: random.Random) -> None:
        """`random_source` spreads the end of an open circuit; seed it to repeat a run."""
        if failures_max < 1 or not 0 < open_ms <= open_ms_max:
            raise ValueError(
                "a circuit needs failures_max >= 1 and 0 < open_ms <= open_ms_max, "
                f"not {failures_max}, {open_ms} and {open_ms_max}"
            )
        self._failures_max = failures_max
        self._open_ms = open_ms
        self._open_ms_max = open_ms_max
        self._random = random_source
        self._failures = 0
        self._opened = 0
        self._open_until_ns: int | None = None
        self._probing = False

    def state(self, now_ns: int) -> Circuit:
        """The state at `now_ns`."""
        if self._open_until_ns is None:
            return Circuit.CLOSED
        return Circuit.OPEN if now_ns < self._open_until_ns else Circuit.HALF_OPEN

    def allow(self, now_ns: int) -> int:
        """Return 0 when a call may go through, else the nanoseconds until it is worth asking again."""
        if self._open_until_ns is None:
            return 0
        if now_ns < self._open_until_ns:
            return self._open_until_ns - now_ns
        if self._probing:
            return self._open_ms * _MS
        self._probing = True
        return 0

    def succeeded(self) -> None:
        """An allowed call got its answer."""
        self._failures = 0
        self._opened = 0
        self._open_until_ns = None
        self._probing = False

    def failed(self, now_ns: int) -> None:
        """An allowed call failed in a way that speaks of the venue."""
        self._failures += 1
        if self._probing or (self._open_until_ns is None and self._failures >= self._failures_max):
            lasts_ms = min(self._open_ms << min(self._opened, 32), self._open_ms_max)
            spread = 1 + _JITTER * self._random.random()
            self._open_until_ns = now_ns + round(lasts_ms * spread * _MS)
            self._opened += 1
            self._failures = 0
        self._probing = False

    def abandoned(self) -> None:
        """An allowed call ended without telling anything of the venue: cancelled, or refused before it left."""
        self._probing = False
