"""How long to wait before the next connection: exponential, capped, with full jitter, reset by data only."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass

from trinity_feeds.session import ConnectLimit


@dataclass(frozen=True, slots=True, kw_only=True)
class BackoffSettings:
    """Bounds of the wait."""

    first_ms: int = 250
    """Upper bound of the wait after the first failure."""
    cap_ms: int = 30_000
    """Upper bound however many failures there were."""


class Backoff:
    """Waits of one venue's connection.

    The upper bound doubles with each attempt that brought no data; the wait is drawn evenly
    between zero and the bound (full jitter), then raised to what the venue allows: its
    attempts per window, and its floor during maintenance. Connecting alone resets nothing:
    a venue that accepts and drops is a venue that is down.
    """

    def __init__(self, *, limit: ConnectLimit, settings: BackoffSettings, rng: random.Random) -> None:
        """`limit` is the venue's; `rng` makes the jitter, so that a seed repeats it."""
        self._limit = limit
        self._settings = settings
        self._rng = rng
        self._failures = 0
        self._attempts: deque[int] = deque(maxlen=limit.attempts)

    @property
    def failures(self) -> int:
        """Attempts since data last came."""
        return self._failures

    def attempted(self, mono_ns: int) -> None:
        """A connection attempt begins at `mono_ns`."""
        self._attempts.append(mono_ns)
        self._failures += 1

    def got_data(self) -> None:
        """A tick came: the venue is well, the next wait starts small again."""
        self._failures = 0

    def wait_ns(self, mono_ns: int, *, maintenance: bool = False) -> int:
        """Nanoseconds to wait from `mono_ns` until the next attempt, at least 0.

        Zero before the first attempt ever. `maintenance` is the session's `in_maintenance`.
        """
        if not self._attempts:
            return 0
        doublings = min(self._failures, 30)
        bound_ms = min(self._settings.cap_ms, self._settings.first_ms << doublings)
        wait = int(self._rng.random() * bound_ms * 1_000_000)
        if maintenance:
            wait = max(wait, self._attempts[-1] + self._limit.maintenance_floor_ms * 1_000_000 - mono_ns)
        if len(self._attempts) == self._limit.attempts:
            wait = max(wait, self._attempts[0] + self._limit.window_ms * 1_000_000 - mono_ns)
        return max(0, wait)
