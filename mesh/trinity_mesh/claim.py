"""One supervisor a data directory: a file lock that ends with its process, however that ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from trinity_core.errors import Reason, TrinityError


class Claim:
    """A held data directory; see `claim`."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def release(self) -> None:
        """Let another have it. Call once."""
        os.close(self._fd)


def claim(data_dir: Path) -> Claim:
    """Take `<data_dir>/supervisor.lock`, making the directory (mode 0700) where it is missing.

    Children do not inherit the claim. Raises DATA_DIR_IN_USE, naming the holder.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(data_dir / "supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(fd, 20).decode("ascii", "replace").strip()
        os.close(fd)
        raise TrinityError(
            Reason.DATA_DIR_IN_USE,
            f"{data_dir} is in use by process {holder or '?'}: stop it, or give this one another data directory",
        ) from None
    os.ftruncate(fd, 0)
    os.write(fd, b"%d\n" % os.getpid())
    return Claim(fd)
