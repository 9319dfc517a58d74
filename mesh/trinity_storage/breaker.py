"""Silence after a failure, so that a store that is down is asked now and then, not by everybody always."""

from __future__ import annotations

import random
from typing import Final

from trinity_mesh.clock import Clock

_DOUBLINGS_MAX: Final = 30


class Breaker:
    """One store's. The n-th failure in a row is followed by `first_ms` · 2^(n-1) of silence, at most `cap_ms`.

    Each is shortened by a random part of its half, so that processes do not ask in step.
    """

    def __init__(self, *, clock: Clock, rng: random.Random, first_ms: int = 50, cap_ms: int = 1_000) -> None:
        """`rng` makes the jitter, so that a seed repeats it."""
        self._clock = clock
        self._rng = rng
        self._first_ms = first_ms
        self._cap_ms = cap_ms
        self._failures = 0
        self._silent_until_ns = 0

    def wait_ms(self) -> int:
        """Milliseconds until the store may be asked; 0: now."""
        left_ns = self._silent_until_ns - self._clock.monotonic_ns()
        return -(-left_ns // 1_000_000) if left_ns > 0 else 0

    @property
    def failing(self) -> bool:
        """Whether the last the store was asked, it could not be reached."""
        return self._failures > 0

    def failed(self) -> None:
        """The store could not be reached. Failures of calls that began before the silence count once."""
        if self.wait_ms():
            return
        bound_ms = min(self._cap_ms, self._first_ms << min(self._failures, _DOUBLINGS_MAX))
        self._failures += 1
        wait_ns = int(bound_ms * (0.5 + self._rng.random() / 2) * 1_000_000)
        self._silent_until_ns = self._clock.monotonic_ns() + wait_ns

    def succeeded(self) -> None:
        """The store answered."""
        self._failures = 0
        self._silent_until_ns = 0
