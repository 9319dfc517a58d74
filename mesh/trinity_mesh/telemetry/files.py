"""A file of lines that is begun anew when it has grown: the one before is kept beside it, older ones are not."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


class LinesFile:
    """Appends lines; mode 0600. Opened for each lot, so that whoever moves the file away does no harm."""

    def __init__(self, path: Path, *, bytes_max: int) -> None:
        self._path = path
        self._bytes_max = bytes_max

    def write(self, lines: Iterable[bytes]) -> None:
        """Append lines, each without its end. Raises OSError."""
        data = b"".join(line + b"\n" for line in lines)
        if not data:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb", buffering=0) as file:
            size = os.fstat(fd).st_size
            file.write(data)
        if size + len(data) > self._bytes_max:
            self._path.replace(self._path.with_name(f"{self._path.name}.1"))
