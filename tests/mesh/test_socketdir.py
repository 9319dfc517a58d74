"""A place for sockets: short, plain, private, and the same every time."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from trinity_mesh.config import ConfigError
from trinity_mesh.socketdir import socket_dir


@pytest.fixture
def home() -> Iterator[Path]:
    """A short directory, unlike pytest's."""
    with tempfile.TemporaryDirectory(prefix="trinity-") as directory:
        yield Path(directory)


def test_sockets_live_beside_the_data_where_they_fit(home: Path) -> None:
    found = socket_dir(home / "data", environ={})
    assert found == home / "data" / "run"
    assert found.stat().st_mode & 0o777 == 0o700
    assert list(found.iterdir()) == []


@pytest.mark.parametrize("name", ["long" * 25, "with, comma", "space d"])
def test_a_long_or_odd_path_gets_a_private_place_that_stays_its_own(home: Path, name: str) -> None:
    runtime = home / "runtime"
    runtime.mkdir()
    environ = {"XDG_RUNTIME_DIR": str(runtime)}
    found = socket_dir(home / name, environ=environ)
    assert found.parent == runtime
    assert found.stat().st_mode & 0o777 == 0o700
    assert socket_dir(home / name, environ=environ) == found
    assert socket_dir(home / (name + "2"), environ=environ) != found
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(found / ("x" * 40)))


def test_a_place_that_is_not_ours_is_refused(home: Path) -> None:
    runtime = home / "runtime"
    runtime.mkdir()
    environ = {"XDG_RUNTIME_DIR": str(runtime)}
    data = home / ("long" * 25)
    found = socket_dir(data, environ=environ)
    found.rmdir()
    victim = home / "victim"
    victim.mkdir(mode=0o755)
    found.symlink_to(victim)
    with pytest.raises(ConfigError, match="belongs to somebody else"):
        socket_dir(data, environ=environ)
    assert victim.stat().st_mode & 0o777 == 0o755


def test_a_place_that_was_opened_to_others_is_closed_again(home: Path) -> None:
    found = socket_dir(home / "data", environ={})
    found.chmod(0o777)
    assert socket_dir(home / "data", environ={}).stat().st_mode & 0o777 == 0o700


def test_a_runtime_directory_that_cannot_be_used_is_passed_over(home: Path) -> None:
    environ = {"XDG_RUNTIME_DIR": str(home / "missing" / "file" / "x")}
    (home / "missing").write_text("a file")
    found = socket_dir(home / ("long" * 25), environ=environ)
    assert found.name.startswith(f"trinity-{os.geteuid()}-")
    found.rmdir()
