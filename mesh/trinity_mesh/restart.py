"""How soon a child that ended is started again."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Restart:
    """When a child that ended is started again.

    The n-th restart in a row waits `first_ms` · 2^(n-1), at most `cap_ms`, times a random
    half to one. A run that served for `healthy_ms` begins the row anew.
    """

    first_ms: int = 100
    cap_ms: int = 10_000
    healthy_ms: int = 10_000
    attempts_to_serve: int = 3
    """A child that ended so often without ever having served fails the start; afterwards it is restarted for ever."""


class Backoff:
    """How long to wait before the next restart of one child."""

    def __init__(self, restart: Restart, rng: random.Random) -> None:
        """`rng` makes the jitter, so that a seed repeats it."""
        self._restart = restart
        self._rng = rng
        self._in_a_row = 0

    def next_ms(self, served_ms: int) -> int:
        """Milliseconds to wait after a run that served for `served_ms`."""
        if served_ms >= self._restart.healthy_ms:
            self._in_a_row = 0
        bound = min(self._restart.cap_ms, self._restart.first_ms << min(self._in_a_row, 30))
        self._in_a_row += 1
        return int(bound * (0.5 + self._rng.random() / 2))
