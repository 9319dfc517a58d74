"""The folder of ledger files that the processes of a host share: who collects, what is new, what is done with.

<spool>/<incarnation>.uctr    counted in, or left by a process that died
<spool>/done/                 recorded completely; kept for a while
<spool>/refused/              the usage service does not take all of it, or it cannot be read; kept for people
<spool>/collector.lock        held by the one process that collects
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from trinity_admission.ledger_format import SUFFIX
from trinity_mesh.clock import Clock

log = logging.getLogger(__name__)

_UNNAMED: Final = ".*.new"
_UNNAMED_NS: Final = 60_000_000_000
"""Age at which a file that never got its name is taken for one of a process that was killed."""
_DAY_NS: Final = 86_400_000_000_000


class Spool:
    """One process's view of the folder. Every method is short work of the file system."""

    def __init__(self, path: Path, *, clock: Clock) -> None:
        """`path` is made when it is needed."""
        self.path = path
        self._clock = clock
        self._lock_fd = -1

    @property
    def done(self) -> Path:
        """Where files go that are recorded completely."""
        return self.path / "done"

    @property
    def refused(self) -> Path:
        """Where files go that are not."""
        return self.path / "refused"

    def lead(self) -> bool:
        """Become the one that collects; whether this process is. Ends with the process, however it ends."""
        if self._lock_fd >= 0:
            return True
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(self.path / "collector.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        self._lock_fd = fd
        return True

    def follow(self) -> None:
        """Let another process collect."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def files(self) -> list[Path]:
        """The ledger files, the oldest incarnations first."""
        return sorted(self.path.glob(f"*{SUFFIX}"))

    def orphans(self) -> bool:
        """Whether a ledger file is there that belongs to nobody, and waits to be recorded."""
        return any(map(_is_free, self.files()))

    def remove(self, path: Path) -> None:
        """Remove a ledger file in which nothing was ever counted."""
        _remove([path])

    def put_away(self, path: Path, folder: Path) -> None:
        """Move a ledger file into `done` or `refused`. Raises OSError."""
        folder.mkdir(mode=0o700, exist_ok=True)
        now_ns = self._clock.unix_ns()
        os.utime(path, ns=(now_ns, now_ns))  # its age counts from now on
        path.rename(folder / path.name)

    def clean(self, *, keep_days: int, keep_mib_max: int) -> None:
        """Remove from `done` what is old or too much, and what killed processes never finished making."""
        now_ns = self._clock.unix_ns()
        gone, kept_bytes = [], 0
        for modified_ns, size, path in sorted(map(_seen, self.done.glob(f"*{SUFFIX}")), reverse=True):
            kept_bytes += size
            if modified_ns < now_ns - keep_days * _DAY_NS or kept_bytes > keep_mib_max << 20:
                gone.append(path)
        unnamed = [path for path in self.path.glob(_UNNAMED) if _seen(path)[0] < now_ns - _UNNAMED_NS]
        _remove([*gone, *filter(_is_free, unnamed)])


def _is_free(path: Path) -> bool:
    """Whether a file is there whose lock nobody holds."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def _seen(path: Path) -> tuple[int, int, Path]:
    """When a file was changed last, unix nanoseconds, and how many bytes it has; nothing of one that is gone."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return 0, 0, path
    return stat.st_mtime_ns, stat.st_size, path


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("cannot remove %s: %s", path, error)
