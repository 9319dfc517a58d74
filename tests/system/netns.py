"""Two hosts on one machine: network namespaces with a link between them that can be cut."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_CLONE_NEWNET = 0x40000000


@dataclass(frozen=True)
class Host:
    """One namespace."""

    name: str
    address: str
    """Of its end of the link."""
    link: str

    @property
    def prefix(self) -> tuple[str, ...]:
        """Before the words of a command that shall run there; the process keeps its pid."""
        return ("ip", "netns", "exec", self.name)

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Sockets that this thread makes within the block are of this host."""
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        try:
            _enter(there)
            try:
                yield
            finally:
                _enter(own)
        finally:
            os.close(own)
            os.close(there)

    def up(self, *, up: bool) -> None:
        """Cut this end of the link, or heal it."""
        ip("-n", self.name, "link", "set", self.link, "up" if up else "down")


def why_not() -> str:
    """Why this machine cannot have namespaces; empty where it can."""
    if shutil.which("ip") is None:
        return "iproute2 is not installed: there is no `ip`"
    if not Path("/proc/self/ns/net").exists():
        return "this system has no network namespaces"
    trial = f"tb-trial-{os.getpid()}"
    done = subprocess.run(["ip", "netns", "add", trial], capture_output=True, text=True, check=False)
    if done.returncode:
        return f"network namespaces may not be made here: {done.stderr.strip()}"
    links = ["ip", "-n", trial, "link", "add", "tb-trial-a", "type", "veth", "peer", "name", "tb-trial-b"]
    made = subprocess.run(links, capture_output=True, text=True, check=False)
    ip("netns", "del", trial)
    return f"links may not be made here: {made.stderr.strip()}" if made.returncode else ""


@contextlib.contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Two hosts, each with a loopback, and a link between them, until the block ends."""
    number = os.getpid()
    one = Host(f"tb-one-{number}", "10.231.77.1", "tb-one")
    two = Host(f"tb-two-{number}", "10.231.77.2", "tb-two")
    with contextlib.ExitStack() as made:
        for host in (one, two):
            ip("netns", "add", host.name)
            made.callback(ip, "netns", "del", host.name)
        # Made within the first, so that the machine's own network never sees them.
        ip("-n", one.name, "link", "add", one.link, "type", "veth", "peer", "name", two.link, "netns", two.name)
        for host in (one, two):
            ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", host.link)
            ip("-n", host.name, "link", "set", "lo", "up")
            host.up(up=True)
        yield one, two


def ip(*words: str) -> None:
    """Run `ip`."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
