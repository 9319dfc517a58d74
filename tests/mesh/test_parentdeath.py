"""The shim itself: what it refuses, and a guardian that ends as its command did."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import trinity_mesh.parentdeath
from processes import GENEROUS_S, is_running

SHIM = [sys.executable, "-I", "-S", "-B", str(trinity_mesh.parentdeath.__file__)]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*SHIM, *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("words", [[], ["--"], ["true"]])
def test_a_call_without_a_command_is_refused(words: list[str]) -> None:
    assert run(*words).returncode == 125


def test_nothing_is_started_for_a_parent_that_is_gone() -> None:
    done = run("parent=1", "--", "/bin/sh", "-c", "echo started")
    assert (done.returncode, done.stdout) == (125, "")
    assert "already gone" in done.stderr


class Guarded:
    """A command under its guardian."""

    def __init__(self, code: str, *options: str) -> None:
        self.control, theirs = socket.socketpair()
        words = [f"control={theirs.fileno()}", "orphan=9", "grace_ms=1", *options, "--"]
        self.guardian = subprocess.Popen(
            [*SHIM, *words, sys.executable, "-I", "-S", "-u", "-c", code],
            pass_fds=(theirs.fileno(),),
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        theirs.close()
        self.pid = int(self.control.recv(32))

    def said(self) -> bytes:
        assert self.guardian.stdout is not None
        return self.guardian.stdout.readline()

    def ends_with(self) -> int:
        self.guardian.communicate(timeout=GENEROUS_S)
        return self.guardian.returncode


@pytest.fixture
def guarded() -> Iterator[type[Guarded]]:
    made: list[Guarded] = []

    class Kept(Guarded):
        def __init__(self, code: str, *options: str) -> None:
            super().__init__(code, *options)
            made.append(self)

    yield Kept
    for one in made:
        one.control.close()
        one.ends_with()


@pytest.mark.parametrize(
    ("code", "ends"),
    [
        ("pass", 0),
        ("import sys; sys.exit(7)", 7),
        ("import os; os.kill(os.getpid(), 9)", -9),
        ("import os; os.kill(os.getpid(), 15)", -15),
    ],
)
def test_a_guardian_ends_as_its_command_did(guarded: type[Guarded], code: str, ends: int) -> None:
    assert guarded(code).ends_with() == ends


HEARS = """
import signal, sys, time
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
    signal.signal(number, lambda number, _: (print(number), number == signal.SIGTERM and sys.exit(3)))
print("ready")
while True: time.sleep(600)
"""


def test_a_guardian_passes_signals_on(guarded: type[Guarded]) -> None:
    one = guarded(HEARS)
    assert one.said() == b"ready\n"
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM):
        one.guardian.send_signal(number)
        assert one.said() == b"%d\n" % number
    assert one.ends_with() == 3


DEAF = """
import signal, time
for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}: signal.signal(number, signal.SIG_IGN)
print("ready")
while True: time.sleep(600)
"""


@pytest.mark.parametrize("how", ["asked", "left"])
def test_a_deaf_command_is_killed_when_asked_or_left(guarded: type[Guarded], how: str) -> None:
    one = guarded(DEAF, f"orphan={int(signal.SIGQUIT)}")
    assert one.said() == b"ready\n"
    if how == "asked":
        one.control.send(b"K")
    else:
        one.control.close()
    assert one.ends_with() == -signal.SIGKILL
    assert not is_running(one.pid)


def test_no_file_of_ours_is_open_in_the_command(guarded: type[Guarded]) -> None:
    if not Path("/proc/self/fd").exists():
        pytest.skip("read from /proc")
    one = guarded("import os; print(sorted(map(int, os.listdir('/proc/self/fd')))[:-1])")
    assert one.said() == b"[0, 1, 2]\n"
    assert os.getpid() != one.pid
