"""Files that a reader finds whole, the old or the new, and that only their owner may read."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, data: bytes, *, synced: bool = False) -> None:
    """Write a file beside and rename it, mode 0600; `synced`: what was renamed is on the disk. Raises OSError."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
        if synced:
            file.flush()
            os.fsync(file.fileno())
    beside.replace(path)
