"""One run of one command: started by exec, bound to our life, its output kept, its end told.

Start children from the main thread: Linux counts the end of the starting *thread* as the parent's death.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from trinity_mesh.childlog import ChildLog
from trinity_mesh.readiness import Readiness
from trinity_mesh.restart import Restart
from trinity_mesh.runas import RunAs

_SHIM: Final = str(Path(__file__).with_name("parentdeath.py"))
_READ_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A command to keep running."""

    name: str
    """Unique; also its log's name."""
    argv: tuple[str, ...]
    ready: Readiness | None
    """How it shows that it serves; None: it counts as serving as soon as there is a process."""
    env: Mapping[str, str] | None = None
    """Its whole environment; None: ours."""
    cwd: Path | None = None
    ready_timeout_ms: int = 10_000
    """A run that does not serve within this time is ended; if it is the first, the start has failed."""
    depends_on: tuple[str, ...] = ()
    """Started when these have served once, stopped before them."""
    restart: Restart = field(default_factory=Restart)
    stop_signal: int = signal.SIGTERM
    stop_timeout_ms: int = 5_000
    """Milliseconds between the stop signal and SIGKILL."""
    tree: bool = False
    """It has processes of its own: a guardian stays with it and ends whatever it leaves."""
    orphan_signal: int = signal.SIGKILL
    """What a tree gets when we die."""
    orphan_grace_ms: int = 0
    """Milliseconds between that and SIGKILL for all of the tree."""
    run_as: RunAs | None = None
    before_start: Callable[[], Awaitable[None]] | None = None
    """Done before each start; what it raises counts as a failed start."""
    log_bytes_max: int = 4 << 20
    """Size at which its log is rotated; one older file is kept."""


def shim(run_as: RunAs | None, *, reach: tuple[Path, ...] = ()) -> list[str]:
    """The words before a command that make it die with us and run as `run_as`.

    Such a command exits with 126 when it cannot be who it should or enter a directory of `reach`.
    """
    identity = run_as.shim_words() if run_as is not None else []
    directories = [f"reach={path}" for path in reach]
    return [sys.executable, "-I", "-S", "-B", _SHIM, f"parent={os.getpid()}", *identity, *directories, "--"]


class Child:
    """A running command. Needs a running event loop of the main thread."""

    def __init__(self, spec: Spec, log: ChildLog) -> None:
        """Start it; raises OSError when not even the shim can be."""
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._exited: asyncio.Future[int] = self._loop.create_future()
        self._control: socket.socket | None = None
        self._pid: int | None = None
        words = shim(spec.run_as)
        theirs = None
        # Only macOS and the like: without a parent-death signal every child needs its guardian.
        if spec.tree or sys.platform != "linux":
            self._control, theirs = socket.socketpair()
            self._control.setblocking(False)
            grace = [f"orphan={int(spec.orphan_signal)}", f"grace_ms={max(1, spec.orphan_grace_ms)}"]
            words[-1:] = [f"control={theirs.fileno()}", *grace, "--"]
        self._output, their_output = os.pipe()
        try:
            self._popen = subprocess.Popen(  # noqa: S603 - specs are ours
                [*words, *spec.argv],
                stdin=subprocess.DEVNULL,
                stdout=their_output,
                stderr=their_output,
                env=None if spec.env is None else dict(spec.env),
                cwd=spec.cwd,
                pass_fds=() if theirs is None else (theirs.fileno(),),
                start_new_session=True,
            )
        except OSError:
            os.close(self._output)
            if self._control is not None:
                self._control.close()
            raise
        finally:
            os.close(their_output)
            if theirs is not None:
                theirs.close()
        os.set_blocking(self._output, False)
        self._loop.add_reader(self._output, self._read)
        if self._control is None:
            self._pid = self._popen.pid
        else:
            self._loop.add_reader(self._control.fileno(), self._learn_pid)
        self._watch_exit()

    @property
    def pid(self) -> int | None:
        """The command's own pid, never its guardian's; None for the moment before it is known."""
        return self._pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs, then its exit code, or minus the signal's number."""
        return self._exited.result() if self._exited.done() else None

    async def wait(self) -> int:
        """Until it and, of a tree, all it left has ended; the exit code."""
        return await asyncio.shield(self._exited)

    def signal(self, number: int) -> None:
        """Send the command a signal; of a tree, SIGTERM and the like only (see `kill`)."""
        if not self._exited.done():
            self._popen.send_signal(number)

    def kill(self) -> None:
        """SIGKILL it and everything that is its."""
        if self._popen.poll() is not None:
            return
        if self._control is None:
            os.killpg(self._popen.pid, signal.SIGKILL)
        else:
            try:
                self._control.send(b"K")
            except OSError:
                self._popen.kill()

    def kill_guardian(self) -> None:
        """The last resort for a guardian that does not answer; the kernel then ends the command."""
        if not self._exited.done():
            self._popen.kill()

    def _watch_exit(self) -> None:
        if sys.platform == "linux":
            try:
                fd = os.pidfd_open(self._popen.pid)
            except OSError:
                pass  # An old or unusual kernel: a thread waits instead.
            else:
                self._loop.add_reader(fd, self._ended, fd)
                return
        threading.Thread(target=self._wait_in_thread, name=f"wait-{self._popen.pid}", daemon=True).start()

    def _wait_in_thread(self) -> None:
        self._popen.wait()
        try:
            self._loop.call_soon_threadsafe(self._ended, None)
        except RuntimeError:
            return  # The loop is closed: nobody is left to be told.

    def _ended(self, pidfd: int | None) -> None:
        if pidfd is not None:
            self._loop.remove_reader(pidfd)
            os.close(pidfd)
        code = self._popen.wait()
        while self._output >= 0 and self._read():
            pass
        self._close_output()
        if self._control is not None:
            self._learn_pid()
            self._loop.remove_reader(self._control.fileno())
            self._control.close()
        if not self._exited.done():
            self._exited.set_result(code)

    def _read(self) -> bool:
        """Take what the child printed; whether there may be more at once."""
        try:
            data = os.read(self._output, _READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._close_output()
            return False
        self._log.write(data)
        return True

    def _close_output(self) -> None:
        if self._output >= 0:
            self._loop.remove_reader(self._output)
            os.close(self._output)
            self._output = -1

    def _learn_pid(self) -> None:
        assert self._control is not None
        try:
            data = self._control.recv(32)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._pid = int(data)
        else:
            self._loop.remove_reader(self._control.fileno())
