"""Rows of numbers that the processes of one host share: a table in a mapped file, found by a fingerprint.

    header, 4,096 bytes: magic, version, sizes, id of the machine's clock
    rows: fingerprint, then cells, 8 bytes each in the machine's byte order; fingerprint 0 is free

What stands in it matters while a process lives that uses it: the first one to open the file
begins it anew. A number is read and written with one aligned access each and without a lock, so of two
processes that change one row within the same microsecond one may be lost. Only a new row
takes a lock, for a moment, and hardly waits for it: who does not get it goes on without.
"""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
import struct
from pathlib import Path
from typing import Final, Self

from trinity_admission.buckets import Cells

log = logging.getLogger(__name__)

_MAGIC: Final = b"TRINROWS"
_VERSION: Final = 1
_HEAD: Final = struct.Struct("=8sIII64s")
_HEAD_BYTES: Final = 4_096
_CELL_BYTES: Final = 8
_PROBES_MAX: Final = 64
_TRIES: Final = 100
_GOLDEN: Final = 0x9E37_79B9_7F4A_7C15
"""Spreads fingerprints over rows (Fibonacci hashing)."""
_64_BITS: Final = (1 << 64) - 1


class SharedRows:
    """A table that is open. Close it when nothing uses its cells any more."""

    def __init__(self, fd: int, mapped: mmap.mmap, *, rows: int, width: int) -> None:
        """See `open`."""
        self._fd = fd
        self._mapped = mapped
        self._rows = rows
        self._stride = width + 1
        self._view = memoryview(mapped)
        self._cells = self._view[_HEAD_BYTES : _HEAD_BYTES + rows * self._stride * _CELL_BYTES].cast("Q")
        self.refused = 0
        """New rows for which there was no room."""

    @classmethod
    def open(cls, path: Path, *, rows: int, width: int, clock_id: str) -> Self:
        """Open or begin the table at `path`, of `rows` rows with `width` cells beside the fingerprint.

        `clock_id` names the machine's monotonic clock, whose times the cells may hold. Raises
        OSError, and ValueError when processes that live use a table of another form.
        """
        head = _HEAD.pack(_MAGIC, _VERSION, rows, width, clock_id.encode("ascii")[:64])
        size = _HEAD_BYTES + rows * (width + 1) * _CELL_BYTES
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            else:
                # Nobody else has it: what stands in it is of the past.
                os.ftruncate(fd, 0)
                os.ftruncate(fd, size)
                os.pwrite(fd, b"\0" * (size - _HEAD_BYTES), _HEAD_BYTES)
                os.pwrite(fd, head, 0)
            fcntl.flock(fd, fcntl.LOCK_SH)
            if os.fstat(fd).st_size != size or os.pread(fd, _HEAD.size, 0) != head:
                raise ValueError(f"{path} is in use by processes with other settings or of another version")
            mapped = mmap.mmap(fd, size)
        except BaseException:
            os.close(fd)
            raise
        return cls(fd, mapped, rows=rows, width=width)

    def row(self, fingerprint: int, *, over_at: int | None = None, now: int = 0) -> tuple[Cells, int] | None:
        """The cells and the place in them of a row's first number; a new row is all zero. None where there is no room.

        With `over_at`, a row whose number at that place is not 0 and less than `now` is free to be taken.
        The fingerprint stands at the place before; who keeps a row that may be taken must look at it.
        """
        at, free = self._find(fingerprint, over_at, now)
        if at is None and free is not None:
            at = self._insert(fingerprint, over_at, now)
        if at is None:
            self.refused += 1
            if self.refused % 1_000 == 1:
                log.warning("the table that processes share has no room; rates and windows are kept apart for some")
            return None
        return self._cells, at + 1

    def close(self) -> None:
        """Let go of the file."""
        self._cells.release()
        self._view.release()
        self._mapped.close()
        os.close(self._fd)

    def _find(self, fingerprint: int, over_at: int | None, now: int) -> tuple[int | None, int | None]:
        """Where the row is, and the first place where it could be made."""
        cells, rows, stride = self._cells, self._rows, self._stride
        start = (fingerprint * _GOLDEN & _64_BITS) * rows >> 64
        free = None
        for probe in range(min(_PROBES_MAX, rows)):
            at = (start + probe) % rows * stride
            found = cells[at]
            if found == fingerprint:
                return at, free
            if found == 0:
                return None, at if free is None else free
            if free is None and over_at is not None and 0 < cells[at + 1 + over_at] < now:
                free = at
        return None, free

    def _insert(self, fingerprint: int, over_at: int | None, now: int) -> int | None:
        if not self._locked():
            return None
        try:
            at, free = self._find(fingerprint, over_at, now)
            if at is None and free is not None:
                for cell in range(free + 1, free + self._stride):
                    self._cells[cell] = 0
                self._cells[free] = fingerprint
                at = free
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, 0)
        return at

    def _locked(self) -> bool:
        """Take the lock of those that make rows, which is held for microseconds; False where somebody sits on it."""
        for _ in range(_TRIES):
            try:
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 0)
            except OSError:
                continue
            return True
        return False
