"""Where an embedded server lives: directories and files of its own, belonging to who runs it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trinity_mesh.child import Spec
from trinity_mesh.runas import RunAs, owner


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where embedded servers live, and as whom."""

    data_dir: Path
    """Absolute. Each server has a directory in it."""
    socket_dir: Path
    """Absolute and short. Each server has a directory in it, mode 0700."""
    run_as: RunAs | None
    environ: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Embedded:
    """A server to be kept running, and where it will answer."""

    spec: Spec
    url: str


def private_dir(directory: Path, run_as: RunAs | None) -> None:
    """Make a directory, mode 0700, that belongs to who runs the server."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    give(directory, run_as)
    directory.chmod(0o700)


def give(directory: Path, run_as: RunAs | None) -> None:
    """Make a directory and all in it belong to who runs the server; quick where it does."""
    uid, gid = owner(run_as)
    if directory.lstat().st_uid == uid:
        return
    for parent, directories, files in os.walk(directory):
        for name in (*directories, *files):
            os.chown(Path(parent, name), uid, gid, follow_symlinks=False)
    # Last, so that a killed attempt is made again.
    os.chown(directory, uid, gid, follow_symlinks=False)


def write_for(path: Path, text: str, run_as: RunAs | None) -> None:
    """Write a file, mode 0600, that belongs to who runs the server; whole or not at all."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    # The directory may belong to somebody with fewer rights: never write through what they put there.
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        os.fchown(file.fileno(), *owner(run_as))
    beside.replace(path)
