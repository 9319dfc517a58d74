"""What children print, passed on line by line to one place, for those who collect what a container prints."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

LINE_BYTES_MAX: Final = 16 << 10
"""A longer line is passed on in pieces of this size."""


class LogEcho:
    """Makes JSON lines out of what one child prints: its own where it prints them, else its text in one."""

    def __init__(self, name: str, write: Callable[[bytes], object]) -> None:
        """`write` takes whole lines; what it raises as OSError is dropped, for the child must not pay for it."""
        self._name = name
        self._write = write
        self._partial = b""

    def __call__(self, data: bytes) -> None:
        """Take what was printed, in any pieces."""
        *lines, rest = (self._partial + data).split(b"\n")
        while len(rest) > LINE_BYTES_MAX:
            lines.append(rest[:LINE_BYTES_MAX])
            rest = rest[LINE_BYTES_MAX:]
        self._partial = rest
        told = b"".join(self._line(line) for line in lines if line.strip())
        if told:
            try:
                self._write(told)
            except OSError:
                return

    def _line(self, line: bytes) -> bytes:
        if line.startswith(b'{"') and line.endswith(b"}"):
            return line + b"\n"
        text = line.decode("utf-8", "replace").rstrip("\r")
        return json.dumps({"part": self._name, "message": text}).encode("ascii") + b"\n"
