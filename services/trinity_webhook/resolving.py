"""From a host to addresses that may be called: all of a name's addresses are judged, and only those are called."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol, Self

from trinity_core.webhook_addresses import Address, AddressPolicy, is_loopback
from trinity_core.webhook_retry import Outcome
from trinity_core.webhook_urls import Kind, Target
from trinity_webhook.sending import Failed

ADDRESSES_MAX: Final = 64
"""Most addresses of one name; one that has more is refused."""


class Resolver(Protocol):
    """Looks names up."""

    async def resolve(self, host: str) -> Sequence[str]:
        """The addresses of a name, those to be tried first in front. Raises OSError."""
        ...


class SystemResolver:
    """The system's resolver, in threads of its own, so that a name server that hangs holds up nothing else."""

    def __init__(self, *, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="resolve")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Look-ups under way end by themselves; nobody waits for them."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def resolve(self, host: str) -> Sequence[str]:
        """As in Resolver."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, _look_up, host)


async def checked_addresses(target: Target, *, policy: AddressPolicy, resolver: Resolver) -> list[Address]:
    """The addresses of a target, every one of which may be called; a name is resolved once.

    Raises Failed: ADDRESS_REFUSED if a single one may not, NOT_CONNECTED where there is none.
    """
    if target.address is not None:
        found = [target.address]
    else:
        try:
            texts = await resolver.resolve(target.host)
        except (OSError, UnicodeError):
            raise Failed(Outcome.NOT_CONNECTED, "the name cannot be resolved") from None
        if len(texts) > ADDRESSES_MAX:
            raise Failed(Outcome.ADDRESS_REFUSED, f"the name has more than {ADDRESSES_MAX} addresses")
        found = list(dict.fromkeys(_read(text) for text in texts))
        if not found:
            raise Failed(Outcome.NOT_CONNECTED, "the name has no address")
    for address in found:
        why = policy.why_refused(address)
        if why is not None:
            # Which address it is stays untold: whoever registers names must not learn what they mean in here.
            raise Failed(Outcome.ADDRESS_REFUSED, f"the address is never called: {why}")
        if target.kind is Kind.HTTP and not target.secure and not is_loopback(address):
            raise Failed(Outcome.ADDRESS_REFUSED, "without TLS nothing but this machine is called")
    return found


def _look_up(host: str) -> list[str]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


def _read(text: str) -> Address:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(text)
    raise Failed(Outcome.ADDRESS_REFUSED, "the name leads to something that is no address")
