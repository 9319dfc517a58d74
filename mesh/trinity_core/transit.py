"""How long a message was under way, told from two monotonic clocks that do not agree.

Two processes of one boot of one host share a monotonic clock (same `clock_id`): the
difference is the transit. Between hosts only differences of one-way delays can be
known: the smallest seen in a window stands for "no delay", everything above it is
delay. This is the minimum filter of NTP's clock filter (RFC 5905, section 10) on one
way only. A stream that stalls and then delivers its backlog therefore shows the stall.
"""

from __future__ import annotations


class Transit:
    """Maps a sender's monotonic times onto ours; one a stream."""

    def __init__(self, *, clock_id: str, window_ms: int = 600_000) -> None:
        """`clock_id` is ours; `window_ms` bounds how long a smallest delay is believed."""
        self._clock_id = clock_id
        self._window_ns = window_ms * 1_000_000
        self._shared = False
        self._smallest: int | None = None
        self._candidate: int | None = None
        self._since_ns = 0

    def observe(self, *, clock_id: str, sent_mono_ns: int, now_ns: int) -> int:
        """Take note of a message and return its transit, nanoseconds, at least 0."""
        self._shared = bool(clock_id) and clock_id == self._clock_id
        difference = now_ns - sent_mono_ns
        if self._shared:
            self._smallest = 0
            return max(0, difference)
        if self._smallest is None:
            self._smallest = self._candidate = difference
            self._since_ns = now_ns
        self._candidate = difference if self._candidate is None else min(self._candidate, difference)
        if now_ns - self._since_ns > self._window_ns:
            # Clocks drift apart: after a window, its own smallest delay replaces the older one.
            self._smallest, self._candidate, self._since_ns = self._candidate, difference, now_ns
        self._smallest = min(self._smallest, difference)
        return difference - self._smallest

    def local(self, sender_mono_ns: int) -> int:
        """A sender's monotonic time on our clock; call `observe` first."""
        return sender_mono_ns + (self._smallest or 0)
