"""Ports for a mesh on one machine: found before anything starts, kept until it ends."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass

from trinity_core.errors import Reason, TrinityError


@dataclass(frozen=True, slots=True)
class HeldPort:
    """A port that this process keeps from others, and that its workers can share (SO_REUSEPORT)."""

    host: str
    port: int
    holder: socket.socket | None
    """Bound but never listening, so that no connection ever reaches it; None for datagrams."""

    @property
    def address(self) -> str:
        """host:port, with brackets around an IPv6 host."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def release(self) -> None:
        """Let the port go."""
        if self.holder is not None:
            self.holder.close()


def hold_tcp(host: str, port: int, *, option: str) -> HeldPort:
    """Take a TCP port; 0 picks a free one.

    Raises TrinityError naming `option` when somebody else listens there.
    """
    port = _probe(socket.SOCK_STREAM, host, port, option)
    # Without SO_REUSEADDR, so that a probe of another run, which has it, is refused.
    holder = socket.socket(_family(host), socket.SOCK_STREAM)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    holder.bind((host, port))
    return HeldPort(host, port, holder)


def find_udp(host: str, port: int, *, option: str) -> HeldPort:
    """Find a UDP port; 0 picks a free one.

    It cannot be held: a bound socket would take datagrams away from the workers. Raises
    TrinityError naming `option` when somebody else has it.
    """
    return HeldPort(host, _probe(socket.SOCK_DGRAM, host, port, option), None)


def _probe(kind: socket.SocketKind, host: str, port: int, option: str) -> int:
    """Bind without sharing, so that a port of anybody else's is noticed; the port's number."""
    with socket.socket(_family(host), kind) as probe:
        if kind is socket.SOCK_STREAM:
            # Connections of an earlier run that wait for their end do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            if kind is socket.SOCK_STREAM:
                probe.listen(1)
        except OSError as error:
            raise TrinityError(Reason.BACKEND_UNAVAILABLE, _advice(error, host, port, option)) from error
        return int(probe.getsockname()[1])


def _advice(error: OSError, host: str, port: int, option: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is taken; stop what uses it or choose another with {option} (0 picks a free one)"
    if error.errno == errno.EACCES:
        return f"port {port} may not be used by this user; choose one above 1023 with {option}"
    return f"cannot use {host}:{port}: {error.strerror}; choose another with {option} or --host"


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
