"""Which sequence numbers of a session were seen: a window of 64, as RFC 4303, section 3.4.3, has it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from trinity_admission.buckets import Cells

WIDTH: Final = 64
_MASK: Final = (1 << WIDTH) - 1


class ReplayWindow:
    """One session's window, in two cells: the number after the greatest seen, and a bit for each of the last 64."""

    __slots__ = ("_at", "_cells")

    def __init__(self, cells: Cells | None = None, at: int = 0) -> None:
        """`cells[at]` and `cells[at + 1]` hold the window, 64 bits unsigned, zero for a new one; None keeps it here."""
        self._cells: Cells = [0, 0] if cells is None else cells
        self._at = at

    def take(self, sequence: int) -> bool:
        """Whether a number comes for the first time; False too for one that is older than the window."""
        cells, at = self._cells, self._at
        ahead = sequence + 1 - cells[at]
        if ahead > 0:
            seen = cells[at + 1] << ahead & _MASK if ahead < WIDTH else 0
            cells[at], cells[at + 1] = sequence + 1, seen | 1
            return True
        if ahead <= -WIDTH:
            return False
        bit = 1 << -ahead
        if cells[at + 1] & bit:
            return False
        cells[at + 1] |= bit
        return True

    def take_each(self, sequences: Sequence[int]) -> list[bool]:
        """The same for several that came together, in their order."""
        cells, at, count = self._cells, self._at, len(sequences)
        first = cells[at]
        if count and sequences[0] == first and sequences[-1] - first == count - 1 and _in_step(sequences):
            seen = cells[at + 1] << count if count < WIDTH else 0
            cells[at], cells[at + 1] = first + count, (seen | (1 << count) - 1) & _MASK
            return [True] * count
        return [self.take(sequence) for sequence in sequences]


def _in_step(sequences: Sequence[int]) -> bool:
    """Each is the number after the one before it."""
    return tuple(sequences) == tuple(range(sequences[0], sequences[0] + len(sequences)))
