"""Opens connections: to the very address that was checked, under the name of the endpoint, and never by a proxy."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from typing import Final

from trinity_core.webhook_addresses import Address, AddressPolicy
from trinity_core.webhook_retry import Outcome
from trinity_core.webhook_urls import Target
from trinity_webhook.exchange import Connection
from trinity_webhook.resolving import Resolver, checked_addresses
from trinity_webhook.sender_config import SenderConfig
from trinity_webhook.sending import Failed

_TRIED_MAX: Final = 4
_GOODBYE_S: Final = 1.0


def tls_context(ca_file: str = "") -> ssl.SSLContext:
    """TLS 1.2 or later, names and chains verified; nothing of it follows the environment but the system's roots.

    Raises OSError for a file that cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if ca_file:
        context.load_verify_locations(cafile=ca_file)
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    return context


class Connector:
    """Opens connections to endpoints."""

    def __init__(self, config: SenderConfig, *, policy: AddressPolicy, resolver: Resolver) -> None:
        self._config = config
        self._policy = policy
        self._resolver = resolver
        self._context = tls_context(config.ca_file)
        self.dialled = 0
        """Addresses that a connection was tried to."""

    async def open(self, target: Target, *, until: float) -> Connection:
        """A new connection, by a time of the loop or the settings' bound, whichever is earlier. Raises Failed."""
        loop = asyncio.get_running_loop()
        until = min(until, loop.time() + self._config.connect_ms / 1_000)
        try:
            async with asyncio.timeout_at(until):
                addresses = await checked_addresses(target, policy=self._policy, resolver=self._resolver)
                return await self._first(addresses[:_TRIED_MAX], target, until)
        except TimeoutError:
            raise Failed(Outcome.TIMED_OUT, "no connection in time") from None

    async def _first(self, addresses: list[Address], target: Target, until: float) -> Connection:
        """The first address that answers; each has its share of the time that is left."""
        loop = asyncio.get_running_loop()
        for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            try:
                async with asyncio.timeout((until - loop.time()) / left):
                    sock = await self._dial(address, target.port)
            except OSError as error:
                # TimeoutError is one too: the next address gets its chance.
                if left > 1:
                    continue
                if isinstance(error, TimeoutError):
                    raise
                said = "refused" if isinstance(error, ConnectionRefusedError) else "not possible"
                raise Failed(Outcome.NOT_CONNECTED, f"the connection was {said}") from None
            return await self._dress(sock, target)
        raise AssertionError("there is at least one address")

    async def _dial(self, address: Address, port: int) -> socket.socket:
        self.dialled += 1
        is_v4 = isinstance(address, ipaddress.IPv4Address)
        sock = socket.socket(socket.AF_INET if is_v4 else socket.AF_INET6, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            place = (str(address), port) if is_v4 else (str(address), port, 0, 0)
            await asyncio.get_running_loop().sock_connect(sock, place)
        except BaseException:
            sock.close()
            raise
        return sock

    async def _dress(self, sock: socket.socket, target: Target) -> Connection:
        """TLS over a connection, with the endpoint's name, which the certificate must be for."""
        bytes_max, secure = self._config.answer_bytes_max, target.secure
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: Connection(bytes_max=bytes_max),
                sock=sock,
                ssl=self._context if secure else None,
                server_hostname=target.host if secure else None,
                ssl_shutdown_timeout=_GOODBYE_S if secure else None,
            )
        except ssl.SSLCertVerificationError as error:
            raise Failed(Outcome.TLS_FAILED, f"the certificate is not right: {error.verify_message}") from None
        except ssl.SSLError as error:
            raise Failed(Outcome.TLS_FAILED, f"the TLS handshake failed: {error.reason or 'unknown'}") from None
        except TimeoutError:
            raise
        except OSError:
            raise Failed(Outcome.NOT_CONNECTED, "the connection broke within the TLS handshake") from None
        except BaseException:
            sock.close()
            raise
        return connection
