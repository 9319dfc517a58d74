"""Sockets of the datagram endpoints: from an address in the settings to one that is bound."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Final, cast

from trinity_core.errors import Reason, TrinityError
from trinity_udp.batches import Address
from trinity_udp.config import PortConfig

FAMILY_MISSING: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})
"""Errors of an address whose family this machine lacks."""


def bind(config: PortConfig, family: socket.AddressFamily, address: Address) -> socket.socket:
    """A socket that does not block, bound. Raises OSError."""
    bound = socket.socket(family, socket.SOCK_DGRAM)
    try:
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, config.receive_buffer_bytes)
        if config.reuse_port:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
    except BaseException:
        bound.close()
        raise
    return bound


async def resolve(loop: asyncio.AbstractEventLoop, text: str) -> list[tuple[socket.AddressFamily, Address]]:
    """What to bind for an address of the settings. Raises TrinityError BACKEND_UNAVAILABLE."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal():
        raise TrinityError(Reason.BACKEND_UNAVAILABLE, f"{text!r} is no address; write it as 127.0.0.1:2679")
    try:
        found = await loop.getaddrinfo(host, int(port), type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)
    except (OSError, OverflowError) as error:
        raise refusal(text, error) from error
    return [(family, cast("Address", address)) for family, _, _, _, address in found]


def refusal(text: str, error: Exception) -> TrinityError:
    """Why there can be no endpoint on an address, and what to do."""
    return TrinityError(
        Reason.BACKEND_UNAVAILABLE,
        f"cannot listen for datagrams on {text}: {error}; is another `trinity up` running? choose another address",
    )


def spell(address: Address) -> str:
    """The address as people write it."""
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"
