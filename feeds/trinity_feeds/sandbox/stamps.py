"""A moment, and its spellings."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from trinity_mesh.clock import Clock

SECOND = 1_000_000_000
"""Nanoseconds in a second."""


class Moment(msgspec.Struct, frozen=True, gc=False):
    """One reading of both clocks."""

    mono_ns: int
    """Decides when things are due."""
    unix_ns: int
    """Written into frames."""

    @property
    def unix_ms(self) -> int:
        """Unix milliseconds."""
        return self.unix_ns // 1_000_000


def moment(clock: Clock) -> Moment:
    """Now."""
    return Moment(clock.monotonic_ns(), clock.unix_ns())


def rfc3339_ns(unix_ns: int) -> str:
    """Nanoseconds with zeros at the end left off, as Go writes it: "2026-08-09T21:05:48.2288466Z"."""
    seconds, fraction = divmod(unix_ns, SECOND)
    digits = f".{fraction:09d}".rstrip("0") if fraction else ""
    return f"{_seconds(seconds)}{digits}Z"


def rfc3339_us(unix_ns: int) -> str:
    """Microseconds, always six digits: "2026-09-24T03:54:28.829165Z"."""
    seconds, fraction = divmod(unix_ns, SECOND)
    return f"{_seconds(seconds)}.{fraction // 1000:06d}Z"


def go_time(unix_ns: int, mono_ns: int) -> str:
    """Go's time.String with its monotonic reading: "2026-08-09 21:05:48.85 +0000 UTC m=+41691.260485341"."""
    text = rfc3339_ns(unix_ns).replace("T", " ").removesuffix("Z")
    return f"{text} +0000 UTC m=+{mono_ns // SECOND}.{mono_ns % SECOND:09d}"


def _seconds(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")
