"""Outlier ejection after gRFC A50: backends that fail far more than they should are left out, a share of all at most.

No sockets; time is an argument. Failures are counted in intervals; at the end of one a backend with enough calls
and too large a share of failures is ejected, for longer each time. A circuit breaker sees failures in a row;
this sees a backend that answers now and then.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_MS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class EjectionSettings:
    """When a backend is left out. Raises ValueError for a setting out of its bounds."""

    interval_ms: int = 1_000
    """How long failures are counted before backends are judged."""
    calls_min: int = 10
    """A backend with fewer calls in an interval is not judged."""
    failures_percent: int = 30
    """Share of failures from which a backend is ejected."""
    base_ms: int = 2_000
    """How long it is ejected, times how often it was."""
    max_ms: int = 30_000
    """How long it is ejected at most."""
    share_percent: int = 50
    """Share of the backends that may be ejected at once."""

    def __post_init__(self) -> None:
        if self.interval_ms < 1 or self.calls_min < 1 or not 1 <= self.base_ms <= self.max_ms:
            raise ValueError("interval_ms and calls_min must be 1 or more, and 1 <= base_ms <= max_ms")
        if not 1 <= self.failures_percent <= 100 or not 0 <= self.share_percent <= 100:
            raise ValueError("failures_percent must be from 1 to 100, share_percent from 0 to 100")


class Record:
    """What is known of one backend."""

    __slots__ = ("bad", "good", "times", "until_ns")

    def __init__(self) -> None:
        self.good = 0
        """Answers in this interval."""
        self.bad = 0
        """Failures in this interval."""
        self.times = 0
        """How often it was ejected, less one for each good interval since."""
        self.until_ns = 0
        """Until when it is ejected."""

    def ejected(self, now_ns: int) -> bool:
        """Whether it is left out now."""
        return now_ns < self.until_ns


class Ejection:
    """Judges the backends of one channel with each other."""

    def __init__(self, settings: EjectionSettings, *, now_ns: int) -> None:
        self._settings = settings
        self._next_ns = now_ns + settings.interval_ms * _MS
        self.ejections = 0
        """How many there were."""

    def due(self, now_ns: int) -> bool:
        """Whether an interval is over; then `judge` is to be called."""
        return now_ns >= self._next_ns

    def judge(self, records: Iterable[Record], now_ns: int) -> None:
        """End the interval: eject the worst ones, as far as the share allows, and count anew."""
        settings = self._settings
        self._next_ns = now_ns + settings.interval_ms * _MS
        every = tuple(records)
        out = sum(record.ejected(now_ns) for record in every)
        # One backend is never left out: then there would be none.
        room = min(len(every) * settings.share_percent // 100, len(every) - 1) - out
        for record in sorted(every, key=_failing, reverse=True):
            calls = record.good + record.bad
            failing = calls >= settings.calls_min and record.bad * 100 >= calls * settings.failures_percent
            if failing and room > 0 and not record.ejected(now_ns):
                room -= 1
                record.times += 1
                record.until_ns = now_ns + min(settings.max_ms, settings.base_ms * record.times) * _MS
                self.ejections += 1
            elif not failing and record.times and not record.ejected(now_ns):
                record.times -= 1
            record.good = record.bad = 0


def _failing(record: Record) -> float:
    return record.bad / (record.good + record.bad) if record.bad else 0.0
