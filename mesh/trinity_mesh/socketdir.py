"""Where the Unix sockets of one data directory live: beside the data, or in a short private place."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from trinity_mesh.config import ConfigError

_PATH_BYTES_MAX: Final = 103
"""Longest socket path that every system takes: 107 bytes on Linux, 103 on macOS."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9/._+-]+")
"""Means itself in every kind of address; a comma, for one, divides a list of PostgreSQL hosts."""


def socket_dir(data_dir: Path, *, environ: Mapping[str, str], name_bytes_max: int = 40) -> Path:
    """The directory for the sockets of `data_dir`, made with mode 0700; always the same for one data directory.

    It is `<data_dir>/run` where paths of `name_bytes_max` below it are short enough, need no quoting
    in an address, and its file system knows sockets; else a directory named after a hash of
    `data_dir` below XDG_RUNTIME_DIR or the directory for temporary files. Raises ConfigError
    when somebody else has that directory, or none can be used.
    """
    data_dir = data_dir.absolute()
    name = f"trinity-{os.geteuid()}-{hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]}"
    candidates = [data_dir / "run"]
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        candidates.append(Path(runtime) / name)
    candidates.append(Path(tempfile.gettempdir()) / name)
    candidates.append(Path("/tmp") / name)  # noqa: S108 - private: its owner and mode are checked
    for directory in candidates:
        short = len(os.fsencode(directory)) + 1 + name_bytes_max <= _PATH_BYTES_MAX
        if short and _PLAIN.fullmatch(str(directory)) and _usable(directory):
            return directory
    raise ConfigError(f"no place for Unix sockets: tried {', '.join(map(str, candidates))}; choose a shorter data_dir")


def _usable(directory: Path) -> bool:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.lstat()
    except OSError:
        return False
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise ConfigError(f"{directory} belongs to somebody else: remove it, or choose another data_dir")
    directory.chmod(0o700)
    trial = directory / f".trial-{os.getpid()}"
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(trial))
    except OSError:
        return False  # Some shared and network file systems know no sockets.
    finally:
        trial.unlink(missing_ok=True)
    return True
