"""Holes in a venue's sequence: a moment for late frames, then every symbol anew, then another connection."""

from __future__ import annotations

from enum import Enum
from typing import Final

_MS: Final = 1_000_000
_GRACE_NS: Final = 500 * _MS
"""Missing frames may come late within this."""
_RENEW_NS: Final = 10_000 * _MS
"""Least time between two renewals."""
_MISSING_MAX: Final = 1_000
"""Numbers remembered as missing at one time."""
_RENEWALS_MAX: Final = 2
"""Renewals in a row, each soon after the other; the next hole ends the connection."""


class Turn(Enum):
    """How a frame's number stands to those before it."""

    NEXT = "next"
    BEYOND = "beyond"
    """Frames between are missing."""
    LATE = "late"
    """It was missing."""
    AGAIN = "again"
    """It came before, or was given up."""


class Numbers:
    """The numbers of one connection's frames, each one more than the last."""

    def __init__(self) -> None:
        self._expected: int | None = None
        self._missing: set[int] = set()

    def turn(self, number: int) -> Turn:
        """Take a frame's number; the first may be any."""
        expected = self._expected
        if number == expected or expected is None:
            self._expected = number + 1
            return Turn.NEXT
        if number > expected:
            self._missing.update(range(expected, min(number, expected + _MISSING_MAX - len(self._missing))))
            self._expected = number + 1
            return Turn.BEYOND
        if number in self._missing:
            self._missing.remove(number)
            return Turn.LATE
        return Turn.AGAIN

    def give_up(self) -> bool:
        """Whether frames are missing; they are waited for no longer."""
        missing = bool(self._missing)
        self._missing.clear()
        return missing


class Mend(Enum):
    """What to do about a hole."""

    NOTHING = "nothing"
    RENEW = "renew"
    """Subscribe every symbol anew: the answer is its newest state."""
    GIVE_UP = "give up"
    """Frames are lost again and again: take another connection."""


class Gaps:
    """One session's holes."""

    def __init__(self) -> None:
        self.due_ns: int | None = None
        """When `mend` has something to do; None while nothing is missing."""
        self._renewed_ns = -_RENEW_NS
        self._in_a_row = 0

    def start(self) -> None:
        """A new connection has a new sequence."""
        self.due_ns = None
        self._in_a_row = 0

    def seen(self, mono_ns: int) -> None:
        """A frame came from beyond the next one."""
        if self.due_ns is None:
            self.due_ns = max(mono_ns + _GRACE_NS, self._renewed_ns + _RENEW_NS)

    def mend(self, mono_ns: int, *, remains: bool) -> Mend:
        """Call when `due_ns` has come; `remains` says whether frames are still missing."""
        self.due_ns = None
        if not remains:
            return Mend.NOTHING
        soon = mono_ns - self._renewed_ns < 2 * _RENEW_NS
        self._in_a_row = self._in_a_row + 1 if soon else 1
        if self._in_a_row > _RENEWALS_MAX:
            return Mend.GIVE_UP
        self._renewed_ns = mono_ns
        return Mend.RENEW
