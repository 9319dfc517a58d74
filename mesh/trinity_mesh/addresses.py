"""Where a service is: one address, a list of them, or a name that stands for several.

    unix:/run/trinity/price.sock           one backend
    10.0.0.7:50051                         one backend
    10.0.0.7:50051,10.0.0.8:50051          several, as listed
    dns:price.internal:50051               every address the name has, asked again and again

A plain "name:port" is one backend, and grpc resolves it. `dns:` is what asks for all of them.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import Final

from trinity_mesh.config import ConfigError

BACKENDS_MAX: Final = 64
"""Most backends of one channel."""

_DNS: Final = "dns:"


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the backends of a channel are."""

    static: tuple[str, ...]
    """As listed; empty where a name is to be resolved."""
    host: str = ""
    port: int = 0

    @property
    def name(self) -> str:
        """The name that is resolved, for grpc and for messages."""
        return f"{_DNS}///{self.host}:{self.port}"


def parse_addresses(text: str) -> Addresses:
    """Read an address setting. Raises ConfigError that says what is wrong with it."""
    parts = tuple(part.strip() for part in text.split(","))
    if not all(parts):
        raise ConfigError(f"address {text!r}: unix:/path, host:port, a list of them with commas, or dns:name:port")
    if len(set(parts)) != len(parts):
        raise ConfigError(f"address {text!r} names a backend twice")
    if len(parts) > BACKENDS_MAX:
        raise ConfigError(f"address {text!r} names {len(parts)} backends; {BACKENDS_MAX} are the most")
    if not any(part.startswith(_DNS) for part in parts):
        return Addresses(parts)
    if len(parts) > 1:
        raise ConfigError(f"address {text!r}: a dns: name stands for a list and cannot stand in one")
    host, _, port = parts[0].removeprefix(_DNS).lstrip("/").rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise ConfigError(f"address {text!r}: dns:name:port is expected")
    return Addresses((), host.strip("[]"), int(port))


async def resolve(addresses: Addresses) -> tuple[str, ...]:
    """What the name stands for now, sorted. Raises OSError when it cannot be resolved."""
    found = await asyncio.get_running_loop().getaddrinfo(addresses.host, addresses.port, type=socket.SOCK_STREAM)
    backends = set[str]()
    for family, _, _, _, where in found:
        host, port = str(where[0]), int(where[1])
        backends.add(f"[{host}]:{port}" if family == socket.AF_INET6 else f"{host}:{port}")
    return tuple(sorted(backends))[:BACKENDS_MAX]
