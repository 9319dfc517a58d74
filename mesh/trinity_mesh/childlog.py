"""What a child prints: kept in a bounded file, its last lines at hand for error messages."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

_LINE_BYTES_MAX: Final = 500
"""Longer lines are cut in the tail, never in the file."""


class ChildLog:
    """Appends to `path`; at `bytes_max` the file becomes `<path>.1` and a new one begins.

    So the two together never exceed twice `bytes_max`. Writing never raises: on a full disk
    lines are lost and counted, and the child goes on.
    """

    def __init__(
        self, path: Path, *, bytes_max: int, tail_lines: int = 20, echo: Callable[[bytes], None] | None = None
    ) -> None:
        """Nothing is opened before the first write. `echo` is given all of it as well, and MUST NOT raise."""
        self._echo = echo
        self._path = path
        self._bytes_max = bytes_max
        self._tail: deque[bytes] = deque(maxlen=tail_lines)
        self._partial = b""
        self._fd: int | None = None
        self._size = 0
        self.lost_bytes = 0
        """Bytes that could not be written."""

    def write(self, data: bytes) -> None:
        """Append what a child printed, in any pieces."""
        self._remember(data)
        if self._echo is not None:
            self._echo(data)
        try:
            if self._fd is None:
                self._open()
            elif self._size and self._size + len(data) > self._bytes_max:
                self._rotate()
            assert self._fd is not None
            written = os.write(self._fd, data)
        except OSError:
            written = 0
        self._size += written
        self.lost_bytes += len(data) - written

    def note(self, text: str) -> None:
        """Append a line of the supervisor's own."""
        start = b"\n" if self._partial else b""
        self.write(start + b"-- " + text.encode("utf-8", "replace") + b"\n")

    def tail(self) -> tuple[str, ...]:
        """The last lines, oldest first."""
        lines = [*self._tail, self._partial] if self._partial else list(self._tail)
        return tuple(line[:_LINE_BYTES_MAX].decode("utf-8", "replace") for line in lines if line.strip())

    def forget_tail(self) -> None:
        """Begin the tail anew; the file stays."""
        self._tail.clear()
        self._partial = b""

    def close(self) -> None:
        """Close the file; a later write opens it again."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _remember(self, data: bytes) -> None:
        *lines, rest = data.split(b"\n")
        if lines:
            lines[0] = self._partial + lines[0]
            self._tail.extend(line[: _LINE_BYTES_MAX + 1] for line in lines)
            self._partial = rest[: _LINE_BYTES_MAX + 1]
        elif len(self._partial) <= _LINE_BYTES_MAX:
            self._partial = (self._partial + rest)[: _LINE_BYTES_MAX + 1]

    def _open(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._fd).st_size
        if self._size >= self._bytes_max:
            self._rotate()

    def _rotate(self) -> None:
        self.close()
        self._path.replace(self._path.with_name(f"{self._path.name}.1"))
        self._open()
