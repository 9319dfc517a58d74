"""Runs a command that cannot outlive its parent: `python -I -S parentdeath.py key=value … -- command …`.

Run as a file, so that it costs a bare interpreter and nothing of ours. Two ways:

- without `control`, this process drops what it was told to drop, asks the kernel for SIGKILL at its
  parent's death (Linux) and becomes the command: nothing of it stays;
- with `control=<fd>`, it stays as guardian. The command is its child, and so is every orphan the command
  leaves, sessions of their own or not (Linux: child subreaper). A killed PostgreSQL leaves such: a busy
  backend finishes its statement first. The end of the command, of the supervisor (end of file on the
  control socket) or a byte "K" on it ends all of them; the guardian ends last, in the command's own way.

Elsewhere than on Linux only the second way ends anything, and orphans of a command that was itself
killed are found only while it lives.

Keys: `parent` (pid that must still be the parent), `control` (fd of a stream socket; the command's pid is
written to it as a line), `uid`, `gid` (become these), `search=1` (keep the right to walk through closed
directories), `namespace=1` (uid and gid are those inside a new user namespace instead), `reach`
(repeatable: directory that must be reachable afterwards), `orphan` and `grace_ms` (signal the command gets
when the supervisor is gone, and milliseconds until everything is killed).

Exits with 125 for a wrong call, 126 when the identity cannot be had, 127 when the command cannot be run.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # Typing, pathlib and contextlib are not imported at run time: every child pays for what is.
    from typing import Final, NoReturn

EXIT_CALL: Final = 125
EXIT_IDENTITY: Final = 126
EXIT_COMMAND: Final = 127

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_KEEPCAPS: Final = 8
_PR_SET_CHILD_SUBREAPER: Final = 36
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_RAISE: Final = 2
_CAP_VERSION_3: Final = 0x20080522
_CAP_DAC_OVERRIDE: Final = 1
_CAP_DAC_READ_SEARCH: Final = 2
_CLONE_NEWUSER: Final = 0x10000000

_FORWARDED: Final = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
_KILL_EVERY_S: Final = 0.02

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_LINUX: Final = sys.platform == "linux"


def main(argv: list[str]) -> NoReturn:
    """Do as the arguments say; never returns."""
    if "--" not in argv or argv[-1] == "--":
        _fail(EXIT_CALL, "usage: parentdeath.py key=value … -- command …")
    split = argv.index("--")
    options: dict[str, str] = {}
    reach: list[str] = []
    for word in argv[:split]:
        key, _, value = word.partition("=")
        if key == "reach":
            reach.append(value)
        else:
            options[key] = value
    command = argv[split + 1 :]
    if "control" in options:
        _guard(command, options, reach)
    _become(command, options, reach, parent=int(options.get("parent", "0")))


def _become(command: list[str], options: dict[str, str], reach: list[str], *, parent: int) -> NoReturn:
    try:
        _change_identity(options)
        for path in reach:
            os.stat(f"{path}/.")  # noqa: PTH116 - without pathlib, which would drop the dot that asks for the way in
    except OSError as error:
        _fail(EXIT_IDENTITY, f"cannot run {command[0]} as asked: {error}")
    # After the change of identity, which would undo it.
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent and os.getppid() != parent:
        _fail(EXIT_CALL, "the parent is already gone")
    # The interpreter ignores these, and what is ignored stays so in the command.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - this is what the module is for
    except OSError as error:
        _fail(EXIT_COMMAND, f"cannot run {command[0]}: {error.strerror}")


def _change_identity(options: dict[str, str]) -> None:
    if "uid" not in options:
        return
    uid, gid = int(options["uid"]), int(options["gid"])
    if "namespace" in options:
        _enter_namespace(uid, gid)
        return
    keep = _right_to_search() if "search" in options else None
    if keep is not None:
        _prctl(_PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if keep is not None:
        _keep_capability(keep)


def _enter_namespace(uid: int, gid: int) -> None:
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    if _LIBC.unshare(_CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "no user namespace")
    _write("/proc/self/setgroups", b"deny")
    _write("/proc/self/uid_map", b"%d %d 1" % (uid, outer_uid))
    _write("/proc/self/gid_map", b"%d %d 1" % (gid, outer_gid))


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapData(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def _right_to_search() -> int:
    """The smallest capability this process holds that lets a stranger through closed directories."""
    header, data = _CapHeader(_CAP_VERSION_3, 0), (_CapData * 2)()
    if _LIBC.capget(ctypes.byref(header), data) == 0:
        for capability in (_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE):
            if data[0].permitted >> capability & 1:
                return capability
    raise PermissionError(1, "this process may not pass on the right to walk through closed directories")


def _keep_capability(capability: int) -> None:
    bit = 1 << capability
    header, data = _CapHeader(_CAP_VERSION_3, 0), (_CapData * 2)()
    data[0] = _CapData(bit, bit, bit)
    if _LIBC.capset(ctypes.byref(header), data) != 0:
        raise OSError(ctypes.get_errno(), "capset")
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability)


def _guard(command: list[str], options: dict[str, str], reach: list[str]) -> NoReturn:
    control = int(options["control"])
    os.set_inheritable(control, False)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    wakeup, wake = os.pipe()
    os.set_blocking(wakeup, False)
    os.set_blocking(wake, False)
    heard = (*_FORWARDED, signal.SIGCHLD, signal.SIGALRM)
    for number in heard:
        signal.signal(number, _noted)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    guardian = os.getpid()
    pid = os.fork()
    if pid == 0:
        signal.set_wakeup_fd(-1)
        for number in heard:
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        _become(command, options, reach, parent=guardian)
    try:  # noqa: SIM105 - without contextlib
        os.write(control, b"%d\n" % pid)
    except OSError:
        pass  # The supervisor is gone; the loop sees it.
    _end_as(_watch(pid, control, wakeup, int(options["orphan"]), int(options["grace_ms"]) / 1_000))


def _watch(pid: int, control: int, wakeup: int, orphan_signal: int, grace_s: float) -> int:
    """Wait until nothing is left; the command's wait status."""
    poll = select.poll()
    poll.register(wakeup, select.POLLIN)
    poll.register(control, select.POLLIN)
    status: int | None = None
    killing = False
    while True:
        kill_now = False
        for fd, _ in poll.poll():
            if fd == control:
                poll.unregister(control)
                if _read(control) == b"K":
                    kill_now = True
                elif status is None:
                    os.kill(pid, orphan_signal)
                    signal.setitimer(signal.ITIMER_REAL, grace_s)
                continue
            for number in _read(wakeup):
                if number == signal.SIGALRM:
                    kill_now = True
                elif number in _FORWARDED and status is None:
                    os.kill(pid, number)
        left, ended = _reap(pid)
        status = ended if status is None else status
        if not left:
            return status or 0
        if (kill_now or status is not None) and not killing:
            # Again and again: what forks while it is looked for is found the next time.
            killing = True
            signal.setitimer(signal.ITIMER_REAL, _KILL_EVERY_S, _KILL_EVERY_S)
        if killing:
            _kill_descendants()


def _reap(pid: int) -> tuple[bool, int | None]:
    """Whether children are left, and the command's wait status if it was among the dead."""
    status = None
    while True:
        try:
            ended, code = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False, status
        if ended == 0:
            return True, status
        if ended == pid:
            status = code


def _kill_descendants() -> None:
    children: dict[int, list[int]] = {}
    for pid, parent in _parents():
        children.setdefault(parent, []).append(pid)
    waiting = list(children.get(os.getpid(), ()))
    while waiting:
        pid = waiting.pop()
        waiting.extend(children.get(pid, ()))
        try:
            os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


def _parents() -> list[tuple[int, int]]:
    """Every process with its parent."""
    if not _LINUX:
        import subprocess

        listed = subprocess.run(["/bin/ps", "-A", "-o", "pid=,ppid="], capture_output=True, check=False)
        return [(int(pid), int(parent)) for pid, parent in map(bytes.split, listed.stdout.splitlines())]
    pairs = []
    for name in os.listdir("/proc"):  # noqa: PTH208 - without pathlib
        if name.isdecimal():
            try:
                stat = _slurp(f"/proc/{name}/stat")
            except OSError:
                continue
            pairs.append((int(name), int(stat[stat.rindex(b")") + 2 :].split()[1])))
    return pairs


def _end_as(status: int) -> NoReturn:
    """End as the command did, so that who waits for the guardian learns the truth."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        _prctl(_PR_SET_DUMPABLE, 0)
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else EXIT_CALL)


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 512)
    except (BlockingIOError, ConnectionResetError):
        return b""


def _slurp(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, 4_096)
    finally:
        os.close(fd)


def _write(path: str, text: bytes) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text)
    finally:
        os.close(fd)


def _noted(number: int, frame: object) -> None:
    """A handler must exist for the wake-up to be written."""


def _prctl(option: int, value: int, third: int = 0) -> None:
    if _LINUX and _LIBC.prctl(option, *(ctypes.c_ulong(word) for word in (value, third, 0, 0))) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def _fail(code: int, text: str) -> NoReturn:
    os.write(2, f"parentdeath: {text}\n".encode())
    os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
