"""One ledger file: written by the process that holds its lock, read by any other."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

from trinity_admission import ledger_format
from trinity_admission.ledger_format import COUNTER_BYTES, ENTRY_BYTES, HEADER_BYTES, SUFFIX, Layout
from trinity_core.usage import Counted

_ZEROS: Final = bytes(1 << 16)
_NO_FALLOCATE: Final = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})
_BLOCK: Final = 64
"""Counters that are compared at once."""


class LedgerFile:
    """The writer's side. Not for use by several threads, but for `sync`."""

    def __init__(self, fd: int, mapped: mmap.mmap, layout: Layout, directory: Path) -> None:
        """Takes over `fd`, which is locked, and `mapped`; see `create`."""
        self.layout = layout
        self.used = 0
        """Slots that have been given out."""
        self._fd = fd
        self._mapped = mapped
        self._view = memoryview(mapped)
        end = layout.counters_at + layout.slots * COUNTER_BYTES
        self.cells = self._view[layout.counters_at : end].cast("Q")
        """The counters. Adding one is one aligned store of eight bytes, which no kill can tear."""
        self._directory: Path | None = directory
        """Until the name of the file is on the disk."""

    @classmethod
    def create(cls, spool: Path, layout: Layout) -> Self:
        """Make `<spool>/<incarnation>.uctr`, locked, every byte of it allocated.

        It gets its name when it is whole and locked, so that nobody finds it otherwise.
        Raises OSError when the disk has no room (ENOSPC, EDQUOT) or does not do it.
        """
        beside = spool / f".{layout.incarnation}.new"
        fd = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _allocate(fd, layout.file_bytes)
            os.pwrite(fd, ledger_format.pack_header(layout), 0)
            mapped = mmap.mmap(fd, layout.file_bytes)
            beside.rename(spool / f"{layout.incarnation}{SUFFIX}")
        except BaseException:
            beside.unlink(missing_ok=True)
            os.close(fd)
            raise
        return cls(fd, mapped, layout, spool)

    @property
    def full(self) -> bool:
        """Whether every slot has been given out."""
        return self.used == self.layout.slots

    def add(self, counted: Counted) -> int:
        """Give out the next slot, for `counted`; its number. The file must not be full."""
        slot = self.used
        at = self.layout.entry_at(slot)
        self._mapped[at : at + ledger_format.ENTRY_BYTES] = ledger_format.pack_entry(
            counted, layout=self.layout, slot=slot
        ).ljust(ENTRY_BYTES, b"\0")
        self.used += 1
        return slot

    def sync(self) -> None:
        """Return once everything counted before is on the disk. Any thread may call it. Raises OSError."""
        _fdatasync(self._fd)
        if self._directory is not None:
            directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
            self._directory = None

    def close(self) -> None:
        """Give the lock back: what is in the file stays, and belongs to who takes it."""
        self.cells.release()
        self._view.release()
        self._mapped.close()
        os.close(self._fd)


class LedgerReader:
    """The reader's side of one file: which counters changed since they were last confirmed."""

    def __init__(self, path: Path) -> None:
        """Open a file. Raises OSError, or ValueError for one that is no ledger file, saying why."""
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.layout = ledger_format.unpack_header(os.pread(self._fd, HEADER_BYTES, 0))
            # A map beyond the end of a file kills its reader.
            if os.fstat(self._fd).st_size < self.layout.file_bytes:
                raise ValueError("it is shorter than its header says")
            self._mapped = mmap.mmap(self._fd, self.layout.file_bytes, access=mmap.ACCESS_READ)
        except BaseException:
            os.close(self._fd)
            raise
        self._view = memoryview(self._mapped)
        end = self.layout.counters_at + self.layout.slots * COUNTER_BYTES
        self._cells = self._view[self.layout.counters_at : end].cast("Q")
        self._confirmed = memoryview(bytearray(self.layout.slots * COUNTER_BYTES)).cast("Q")

    def orphaned(self) -> bool:
        """Take the file's lock, if its process has ended or given it back; whether this reader has it now."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def in_place(self) -> bool:
        """Whether the file still has the name it was found by."""
        try:
            found, opened = self.path.stat(), os.fstat(self._fd)
        except FileNotFoundError:
            return False
        return (found.st_dev, found.st_ino) == (opened.st_dev, opened.st_ino)

    def changed(self) -> Iterator[tuple[int, int]]:
        """Slots whose counter is not the confirmed one, with the counter's value."""
        cells, confirmed = self._cells, self._confirmed
        if cells == confirmed:
            return
        for start in range(0, self.layout.slots, _BLOCK):
            if cells[start : start + _BLOCK] == confirmed[start : start + _BLOCK]:
                continue
            for slot in range(start, min(start + _BLOCK, self.layout.slots)):
                # One aligned load of eight bytes: never half of an old value and half of a new one.
                value = cells[slot]
                if value != confirmed[slot]:
                    yield slot, value

    def counted(self, slot: int) -> Counted | None:
        """What a slot counts; None where that cannot be read (yet, in a file that is being written)."""
        at = self.layout.entry_at(slot)
        entry = self._mapped[at : at + ledger_format.ENTRY_BYTES]
        return ledger_format.unpack_entry(entry, layout=self.layout, slot=slot)

    def confirm(self, slot: int, value: int) -> None:
        """A counter's value need not be told again."""
        self._confirmed[slot] = value

    def forget(self) -> None:
        """Nothing counts as confirmed any more."""
        self._confirmed[:] = memoryview(bytes(self._confirmed.nbytes)).cast("Q")

    def close(self) -> None:
        """Close the file, and give back its lock where this reader had it."""
        self._cells.release()
        self._view.release()
        self._mapped.close()
        os.close(self._fd)


def _allocate(fd: int, size: int) -> None:
    """Give a new file all its blocks, so that no later store into its map can find the disk full."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(fd, 0, size)
        except OSError as error:
            if error.errno not in _NO_FALLOCATE:
                raise
    # Written as well: blocks that were only reserved make the first store to each page wait for the file system.
    at = 0
    while at < size:
        at += os.pwrite(fd, _ZEROS[: size - at], at)


def _fdatasync(fd: int) -> None:
    if hasattr(os, "fdatasync"):
        os.fdatasync(fd)
    else:
        os.fsync(fd)
