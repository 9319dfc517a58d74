"""How long to wait before a lost stream is opened again: exponential, capped, with full jitter."""

from __future__ import annotations

import random


class Backoff:
    """The waits of one stream.

    The upper bound doubles with each failure; the wait is drawn evenly between zero and the
    bound, so that a thousand clients that lost one server do not come back at one moment.
    """

    def __init__(self, *, first_ms: int = 50, cap_ms: int = 2_000, rng: random.Random | None = None) -> None:
        """`first_ms` bounds the first wait, `cap_ms` every wait; `rng` makes the jitter, a seed repeats it."""
        if not 0 < first_ms <= cap_ms:
            raise ValueError(f"first_ms {first_ms} must be positive and at most cap_ms {cap_ms}")
        self._first_ms = first_ms
        self._cap_ms = cap_ms
        self._rng = rng or random.Random()  # noqa: S311 - jitter keeps no secret
        self.failures = 0
        """Failures since the last success."""

    def succeeded(self) -> None:
        """Data came: the next wait starts small again."""
        self.failures = 0

    def failed_s(self) -> float:
        """Take note of a failure and return the wait before the next attempt, seconds."""
        bound_ms = min(self._cap_ms, self._first_ms << min(self.failures, 20))
        self.failures += 1
        return self._rng.random() * bound_ms / 1_000
