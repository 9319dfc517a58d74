"""The two sockets that datagrams leave by and replies come to: one for IPv4, one for IPv6."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import Callable
from typing import Any, Final, Self, cast

from trinity_core.webhook_addresses import Address
from trinity_core.webhook_datagram import REPLY_MAX

Peer = tuple[Address, int]
"""Address and port."""
_ANY: Final = (("0.0.0.0", 4), ("::", 6))  # noqa: S104 # replies come from customers


class DatagramSocket:
    """Sends datagrams and hands replies on. Used as an async context manager."""

    def __init__(self, heard: Callable[[bytes, Peer], None], *, buffer_bytes_max: int) -> None:
        self._heard = heard
        self._buffer_bytes_max = buffer_bytes_max
        self._transports: dict[int, asyncio.DatagramTransport] = {}

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for address, version in _ANY:
            # A host may lack one of the two.
            with contextlib.suppress(OSError):
                transport, _ = await loop.create_datagram_endpoint(lambda: _Ear(self._heard), local_addr=(address, 0))
                self._transports[version] = transport
        if not self._transports:
            raise OSError("no socket for datagrams can be opened")
        return self

    async def __aexit__(self, *exc: object) -> None:
        for transport in self._transports.values():
            transport.abort()
        self._transports.clear()

    def send(self, data: bytes, peer: Peer) -> bool:
        """Send a datagram; False where the host lacks the family, or too much waits already."""
        address, port = peer
        transport = self._transports.get(address.version)
        if transport is None or transport.is_closing():
            return False
        # Every transport of datagrams has it, and no type says so.
        if cast("Any", transport).get_write_buffer_size() > self._buffer_bytes_max:
            return False
        transport.sendto(data, (str(address), port))
        return True


class _Ear(asyncio.DatagramProtocol):
    def __init__(self, heard: Callable[[bytes, Peer], None]) -> None:
        self._heard = heard

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        if len(data) <= REPLY_MAX:
            self._heard(data, (ipaddress.ip_address(str(addr[0]).partition("%")[0]), cast("int", addr[1])))

    def error_received(self, exc: Exception) -> None:
        """A datagram could not be sent, or its host said that nobody listens: silence says the same."""
