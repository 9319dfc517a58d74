"""Processes of the lanes benchmark: on which core each runs, what it has used, and that none is left behind."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
READY_S = 90.0
STOP_S = 30.0
PR_SET_PDEATHSIG = 1

CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
SERVER_CORE = CORES[0]
"""Where the server that is measured runs, alone."""
LOAD_CORE = CORES[-1]
"""Where the load and everything else runs."""


class PeerError(Exception):
    """A peer cannot be measured; the text says why."""


@dataclass(frozen=True, slots=True)
class Use:
    """What was used so far, seconds."""

    server_s: float
    """User and system time of the server's processes."""
    core_s: float
    """Time for which the server's core did anything at all, or was taken from this machine by its host."""


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """What is started meanwhile runs on one core, with every thread it makes."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def move(pids: Iterable[int], core: int) -> None:
    """Move processes with all their threads to one core."""
    for pid in pids:
        for task in _tasks(pid):
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(task.name), {core})


def used(pids: Iterable[int]) -> Use:
    """What processes, and the server's core, have used so far. Raises PeerError when a process is gone."""
    ticks = 0
    try:
        for pid in pids:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    except OSError as error:
        raise PeerError(f"the server is gone: {error}") from error
    core = Path("/proc/stat").read_text().partition(f"cpu{SERVER_CORE} ")[2].splitlines()[0].split()
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, core[:8])
    return Use(ticks / TICKS_PER_S, (user + nice + system + irq + softirq + steal) / TICKS_PER_S)


@contextlib.contextmanager
def running(
    words: Sequence[str | Path],
    *,
    core: int,
    log: Path,
    environ: Mapping[str, str] | None = None,
    ready: Callable[[], bool],
) -> Iterator[subprocess.Popen[bytes]]:
    """A process on one core, once `ready` is true; ended afterwards. Raises PeerError with its log when it is not."""
    with on_core(core), log.open("wb") as into:
        process = subprocess.Popen(
            [str(word) for word in words],
            stdin=subprocess.DEVNULL,
            stdout=into,
            stderr=into,
            env={**os.environ, **(environ or {})},
            # A session of its own, as the mesh gives to each of its processes: the kernel shares a core out by
            # sessions (autogroup), so that on a busy machine all servers have the same claim to it.
            start_new_session=True,
            preexec_fn=_ends_with_parent,
        )
    try:
        deadline = time.monotonic() + READY_S
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text("utf-8", "replace").strip()[-600:]
                raise PeerError(f"{Path(str(words[0])).name} did not come up: {said or 'it said nothing'}")
            time.sleep(0.05)
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process, kindly first."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port of the loopback that nobody has now."""
    with socket.socket(socket.AF_INET, kind) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def listens(address: int | str) -> bool:
    """Whether a connection can be made to a port of the loopback, or to unix:/path."""
    family = socket.AF_INET if isinstance(address, int) else socket.AF_UNIX
    with socket.socket(family) as tried:
        tried.settimeout(1)
        where = ("127.0.0.1", address) if isinstance(address, int) else address.removeprefix("unix:")
        return tried.connect_ex(where) == 0


def asked(port: int, datagram: bytes, *, wait_s: float = 0.3) -> bytes:
    """The answer to one datagram; empty when none comes."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(wait_s)
        asking.connect(("127.0.0.1", port))
        try:
            asking.send(datagram)
            return asking.recv(2_048)
        except OSError:
            return b""


def _ends_with_parent() -> None:
    """In the child: SIGTERM when the benchmark dies, however it does."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _tasks(pid: int) -> list[Path]:
    with contextlib.suppress(OSError):
        return list(Path(f"/proc/{pid}/task").iterdir())
    return []
