"""Where an export goes: a file that is whole or not there, and a bar that shows only where somebody waits."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from trinity_cli.exits import CommandError, Exit
from trinity_cli.report_files import to_file, to_stdout


@dataclass
class Hand:
    """A clock that the test turns."""

    now_ns: int = 0

    def monotonic_ns(self) -> int:
        return self.now_ns

    def unix_ns(self) -> int:
        return self.now_ns

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Stderr is a terminal; its other end."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    near, far = pty.openpty()
    fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    with os.fdopen(far, "w") as file:
        monkeypatch.setattr(sys, "stderr", file)
        yield near
    os.close(near)


def shown(near: int) -> str:
    """What a terminal has got so far."""
    os.set_blocking(near, False)
    found = b""
    while True:
        try:
            found += os.read(near, 65_536)
        except BlockingIOError:
            return re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", found).decode()


def test_a_file_takes_its_name_only_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"older")
    with to_file(path, Hand()) as sink:
        sink.take(b"one", 1)
        assert path.read_bytes() == b"older"
        sink.take(b"two", 2)
    assert path.read_bytes() == b"onetwo"
    assert [each.name for each in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize("error", [CommandError("cut", code=Exit.UNAVAILABLE), KeyboardInterrupt(), OSError("gone")])
def test_what_fails_leaves_the_file_that_was_there_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"older")
    with pytest.raises(type(error)), to_file(path, Hand()) as sink:
        sink.take(b"one", 1)
        raise error
    assert path.read_bytes() == b"older"
    assert [each.name for each in tmp_path.iterdir()] == ["a.csv"]


def test_a_link_stays_a_link_and_what_it_names_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with to_file(tmp_path / "link", Hand()) as sink:
        sink.take(b"one", 1)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"one"


def test_what_is_no_file_is_never_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(click.UsageError, match="is no file"), to_file(tmp_path / "pipe", Hand()):
        raise AssertionError
    assert (tmp_path / "pipe").is_fifo()


def test_a_full_disk_is_said_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    # The device that is always full.
    with Path("/dev/full").open("wb", buffering=0) as full:

        class Stdout(io.StringIO):
            buffer = full

        monkeypatch.setattr(sys, "stdout", Stdout())
        with (
            pytest.raises(CommandError, match="cannot write stdout: No space left") as raised,
            to_stdout(Hand()) as sink,
        ):
            sink.take(b"one", 1)
    assert raised.value.exit_code == Exit.UNAVAILABLE


def test_an_export_that_takes_long_shows_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Hand()
    with terminal(monkeypatch) as near:
        with to_file(tmp_path / "a.csv", clock) as sink:
            sink.take(b"x" * 1_000, 10)
            assert shown(near) == ""
            clock.now_ns = 2_000_000_000
            sink.take(b"x" * 1_500_000, 12_345)
        text = shown(near)
    assert "12,345 rows" in text
    assert "1.5 MB" in text


def test_a_short_export_shows_no_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as near:
        with to_file(tmp_path / "a.csv", Hand()) as sink:
            sink.take(b"x" * 1_000_000, 10_000)
        assert shown(near) == ""


def test_where_nobody_looks_there_is_no_bar(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clock = Hand()
    with to_file(tmp_path / "a.csv", clock) as sink:
        clock.now_ns = 9_000_000_000
        sink.take(b"x", 1)
    assert capsys.readouterr() == ("", "")
