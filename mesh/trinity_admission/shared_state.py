"""Buckets and windows that the processes of a host share, in the tables of shared_rows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from trinity_admission.replay import ReplayWindow
from trinity_admission.seat import Cell
from trinity_admission.shared_rows import SharedRows
from trinity_mesh.clock import Clock

RATES: Final = 1 << 16
"""Keys whose buckets are shared; those beyond have one in each process."""
WINDOWS: Final = 1 << 16
"""Sessions whose windows are shared at once."""

_OVER_S: Final = 60
_EXPIRE: Final = 0
"""Place of a session's end, unix seconds, in its row; its window follows."""


class SharedWindow(ReplayWindow):
    """A window in a row that another session may get once this one is over."""

    __slots__ = ("_fingerprint",)

    def __init__(self, cell: Cell, fingerprint: int) -> None:
        super().__init__(cell[0], cell[1] + _EXPIRE + 1)
        self._fingerprint = fingerprint

    def take(self, sequence: int) -> bool:
        """Whether a number comes for the first time; never, once the row is another's."""
        return self._cells[self._at - _EXPIRE - 2] == self._fingerprint and super().take(sequence)

    def take_each(self, sequences: Sequence[int]) -> list[bool]:
        """The same for several that came together, in their order."""
        if self._cells[self._at - _EXPIRE - 2] != self._fingerprint:
            return [False] * len(sequences)
        return super().take_each(sequences)


class SharedState:
    """Both tables, open."""

    def __init__(self, path: Path, *, clock: Clock, clock_id: str, rates: int = RATES, windows: int = WINDOWS) -> None:
        """Open `path` and `<path>.windows`. Raises OSError and ValueError as SharedRows.open does."""
        self._clock = clock
        self._rates = SharedRows.open(path, rows=rates, width=1, clock_id=clock_id)
        try:
            beside = path.with_name(f"{path.name}.windows")
            self._windows = SharedRows.open(beside, rows=windows, width=3, clock_id=clock_id)
        except BaseException:
            self._rates.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._rates.close()
        self._windows.close()

    def cell_of(self, key_id: str) -> Cell | None:
        """Where the bucket of a key stands; None for in this process."""
        digest = hashlib.sha256(key_id.encode("ascii")).digest()
        return self._rates.row(int.from_bytes(digest[:8], "big") or 1)

    def window_of(self, session_id: int, expire_s: int) -> ReplayWindow:
        """The window of a session that ends at `expire_s`."""
        fingerprint = session_id or 1
        # A little later than over, for the processes need not read the wall clock in the same second.
        over_s = self._clock.unix_ns() // 1_000_000_000 - _OVER_S
        found = self._windows.row(fingerprint, over_at=_EXPIRE, now=over_s)
        if found is None:
            return ReplayWindow()
        cells, at = found
        cells[at + _EXPIRE] = expire_s
        return SharedWindow(found, fingerprint)
