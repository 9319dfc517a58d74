"""When a read is asked of a second backend: after the time in which nearly all answers come. No sockets, no clock."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

_SAMPLES_MAX: Final = 256
_SAMPLES_MIN: Final = 32
_EVERY: Final = 16


@dataclass(frozen=True, slots=True)
class HedgeSettings:
    """When reads are asked of a second backend. Raises ValueError for a setting out of its bounds."""

    after_ms: int = 0
    """Wait this long for the first answer; 0: the 95th percentile of the latest answers, within the bounds below."""
    first_ms: int = 50
    """As long as there are too few answers to know the percentile."""
    min_ms: int = 10
    """Shortest wait."""
    max_ms: int = 250
    """Longest wait."""
    enabled: bool = True
    """Whether reads are hedged at all; it takes two backends."""

    def __post_init__(self) -> None:
        if not 0 <= self.after_ms <= 60_000 or not 1 <= self.min_ms <= self.first_ms <= self.max_ms <= 60_000:
            raise ValueError("after_ms must be from 0 to 60000, and 1 <= min_ms <= first_ms <= max_ms <= 60000")


class Latencies:
    """How long the latest answers to one method took, and when it is time to ask a second backend."""

    __slots__ = ("_max_s", "_min_s", "_new", "_settings", "_took", "after_s")

    def __init__(self, settings: HedgeSettings) -> None:
        self._settings = settings
        self._min_s, self._max_s = settings.min_ms / 1_000, settings.max_ms / 1_000
        self._took: deque[float] = deque(maxlen=_SAMPLES_MAX)
        self._new = 0
        self.after_s = (settings.after_ms or settings.first_ms) / 1_000
        """How long to wait for the first answer."""

    def answered(self, seconds: float) -> None:
        """An answer came after this long, from the first or the second."""
        if self._settings.after_ms:
            return
        self._took.append(seconds)
        self._new += 1
        if self._new >= _EVERY and len(self._took) >= _SAMPLES_MIN:
            self._new = 0
            ordered = sorted(self._took)
            self.after_s = min(self._max_s, max(self._min_s, ordered[len(ordered) * 95 // 100]))
