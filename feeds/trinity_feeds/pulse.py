"""Whether a connection lives: pings and their answers, and the longest silence it may keep."""

from __future__ import annotations

from enum import Enum
from typing import Final

from trinity_feeds.terms import Keepalive

_MS: Final = 1_000_000
_NEVER_NS: Final = 1 << 63
_PING_SILENT_NS: Final = 5_000 * _MS
"""A connection silent for so long is pinged, so that it counts as alive well within the freshness bound."""


class Verdict(Enum):
    """What to do about a connection now."""

    NOTHING = "nothing"
    PING = "ping"
    """Send a ping."""
    DEAD = "dead"
    """Give the connection up."""


class Pulse:
    """One connection's signs of life. Two pings without an answer, or one and no other frame either, are its end."""

    def __init__(self, keepalive: Keepalive) -> None:
        """`keepalive` is the venue's."""
        self._silent_ns = keepalive.silent_ms * _MS
        self._ping_ns = None if keepalive.ping_ms is None else keepalive.ping_ms * _MS
        self._pong_ns = keepalive.pong_ms * _MS
        self._pinged_ns = 0
        self._waiting = False
        self._missed = 0

    def start(self, mono_ns: int) -> None:
        """The socket opened."""
        self._pinged_ns = mono_ns
        self._waiting = False
        self._missed = 0

    def pong(self) -> None:
        """The venue answered a ping."""
        self._waiting = False
        self._missed = 0

    def due_ns(self, frame_ns: int) -> int:
        """When `beat` has something to do, given the time of the newest frame."""
        if self._ping_ns is None:
            return _NEVER_NS
        if self._waiting:
            return self._pinged_ns + self._pong_ns
        return min(self._pinged_ns + self._ping_ns, max(self._pinged_ns, frame_ns) + _PING_SILENT_NS)

    def beat(self, mono_ns: int, frame_ns: int) -> Verdict:
        """Ping when that is due; judge an answer that is overdue."""
        if mono_ns < self.due_ns(frame_ns):
            return Verdict.NOTHING
        if self._waiting:
            self._missed += 1
            if self._missed > 1 or frame_ns <= self._pinged_ns:
                self._pinged_ns = mono_ns
                return Verdict.DEAD
        self._waiting = True
        self._pinged_ns = mono_ns
        return Verdict.PING

    def silent(self, mono_ns: int, frame_ns: int) -> bool:
        """No frame of any kind came for too long."""
        return mono_ns - frame_ns >= self._silent_ns
