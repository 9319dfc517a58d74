"""URLs of endpoints: one strict form each, so that what is checked is what is called. Pure.

    https://host[:port][/path][?query]     udp://host:port

No other spelling of an address is taken than the plain one: 127.1, 0x7f.1, 017700000001 and
2130706433 are the same machine to some resolvers and something else to others.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from trinity_core.errors import invalid_field
from trinity_core.webhook_addresses import Address, AddressPolicy, is_loopback

URL_LENGTH_MAX: Final = 2_048
_HOST_LENGTH_MAX: Final = 253
_HTTPS_PORT: Final = 443
_HTTP_PORT: Final = 80
_LOW_PORT: Final = 1_024
_PORT_MAX: Final = 65_535
_AMPLIFIERS: Final = frozenset({1900, 3702, 5351, 5353, 10_001, 11_211, 27_960, 37_810})
"""Ports of UDP services that answer strangers with more than they were asked."""

_URL: Final = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<rest>[^#]*)(?P<fragment>#.*)?"
)
_AUTHORITY: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::(?P<port>[0-9]{1,5}))?")
_REST: Final = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?]|%[0-9A-Fa-f]{2})*")
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_QUAD: Final = re.compile(r"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(?:\.(?!$)|$)){4}")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LOCAL: Final = frozenset({"localhost", "local", "localdomain", "internal", "intranet", "lan", "home", "corp", "onion"})
"""Last labels of names that lead into a network of somebody's own (RFC 6761, RFC 6762, RFC 7686)."""


class Kind(IntEnum):
    """How an endpoint is reached."""

    HTTP = 1
    UDP = 2


@dataclass(frozen=True, slots=True)
class Target:
    """An endpoint's URL, taken apart."""

    kind: Kind
    url: str
    """In its one form: scheme and host in lower case, no default port."""
    host: str
    """A name, or an address without brackets."""
    port: int
    path: str
    """Path and query; "/" for none; empty for UDP."""
    secure: bool
    """With TLS."""
    address: Address | None
    """The host where it is an address."""


def read_url(text: str, *, policy: AddressPolicy, loopback: bool = False, path: str = "url") -> Target:
    """An endpoint's URL. Raises INVALID_FIELD, saying why.

    `loopback` also takes http, and names and addresses of this machine: for a sandbox.
    A name's addresses are judged when it is called, not here.
    """
    if not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        raise invalid_field(path, "use printable ASCII without spaces; write other characters as %XX, names as xn--…")
    if len(text) > URL_LENGTH_MAX:
        raise invalid_field(path, f"longer than {URL_LENGTH_MAX} characters")
    match = _URL.fullmatch(text)
    if match is None:
        raise invalid_field(path, "it is no URL; use https://host/path or udp://host:port")
    scheme = match["scheme"].lower()
    if match["fragment"] is not None:
        raise invalid_field(path, "a fragment (#…) is never sent; leave it out")
    if "@" in match["authority"]:
        raise invalid_field(path, "a user or password is not taken; deliveries are signed instead")
    if scheme not in ("https", "http", "udp"):
        raise invalid_field(path, f"the scheme {scheme[:16]!r} is not taken; use https or udp")
    host, port = _authority(match["authority"], path)
    address = _address(host, path)
    host = host if address is None else str(address)
    local = is_loopback(address) if address is not None else host == "localhost"
    if not local:
        _check_public(host, address, policy, path)
    elif not loopback:
        raise invalid_field(path, f"{host} is this machine; use an address that is reached from outside")
    if scheme == "http" and not local:
        raise invalid_field(path, "http is not taken; use https")
    if scheme == "udp":
        return _udp(host, port, address, match["rest"], path, local=local)
    return _http(scheme, host, port, address, match["rest"], path, local=local)


def _check_public(host: str, address: Address | None, policy: AddressPolicy, path: str) -> None:
    if address is None:
        if _is_local(host):
            raise invalid_field(path, f"the name {host} leads into a network of its own; use a public name")
        _check_name(host, path)
        return
    why = policy.why_refused(address)
    if why is not None:
        raise invalid_field(path, f"the address {address} is not taken ({why}); use a public one")


def _http(
    scheme: str, host: str, port: int | None, address: Address | None, rest: str, path: str, *, local: bool
) -> Target:
    secure = scheme == "https"
    usual = _HTTPS_PORT if secure else _HTTP_PORT
    found = usual if port is None else port
    if not local and found != _HTTPS_PORT and found < _LOW_PORT:
        raise invalid_field(path, f"port {found} belongs to another service; use {_HTTPS_PORT}, or {_LOW_PORT} and up")
    if not _REST.fullmatch(rest):
        raise invalid_field(path, "path or query hold a character that must be written as %XX")
    below = rest if rest.startswith("/") else f"/{rest}"
    shown = _shown(host, address)
    url = f"{scheme}://{shown}{'' if found == usual else f':{found}'}{below}"
    return Target(Kind.HTTP, url, host, found, below, secure, address)


def _udp(host: str, port: int | None, address: Address | None, rest: str, path: str, *, local: bool) -> Target:
    if port is None:
        raise invalid_field(path, "a port is needed; use udp://host:port")
    if rest not in ("", "/"):
        raise invalid_field(path, "a datagram has no path; use udp://host:port")
    if not local and (port < _LOW_PORT or port in _AMPLIFIERS):
        raise invalid_field(path, f"the port {port} belongs to another service; use another from {_LOW_PORT} up")
    return Target(Kind.UDP, f"udp://{_shown(host, address)}:{port}", host, port, "", secure=False, address=address)


def _authority(text: str, path: str) -> tuple[str, int | None]:
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        raise invalid_field(path, "host or port are malformed; use host, host:port or [IPv6 address]:port")
    port = None if match["port"] is None else int(match["port"])
    if port is not None and not 1 <= port <= _PORT_MAX:
        raise invalid_field(path, f"{port} is no port; use 1 to {_PORT_MAX}")
    return match["host"].lower(), port


def _address(host: str, path: str) -> Address | None:
    """The host as an address; None for a name. Raises INVALID_FIELD for another spelling of an address."""
    if host.startswith("["):
        try:
            return ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            raise invalid_field(path, f"{host[:64]} is no IPv6 address") from None
    last = host.removesuffix(".").rpartition(".")[2]
    if not _NUMBER.fullmatch(last):
        return None
    # What ends in a number is an address or nothing (URL Standard, "ends in a number checker").
    if not _QUAD.fullmatch(host):
        raise invalid_field(path, f"{host[:64]!r} is no plain IPv4 address; use four decimal numbers from 0 to 255")
    return ipaddress.IPv4Address(host)


def _check_name(host: str, path: str) -> None:
    if len(host) > _HOST_LENGTH_MAX or host.endswith("."):
        raise invalid_field(path, f"the name must have at most {_HOST_LENGTH_MAX} characters and not end in a dot")
    labels = host.split(".")
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise invalid_field(path, "the name must be of letters, digits and hyphens, in parts of 1 to 63 joined by dots")
    if len(labels) == 1:
        raise invalid_field(path, f"{host!r} is no full name; use one with a domain, such as hooks.acme.example")


def _is_local(host: str) -> bool:
    name = host.removesuffix(".")
    return name.rpartition(".")[2] in _LOCAL or name == "home.arpa" or name.endswith(".home.arpa")


def _shown(host: str, address: Address | None) -> str:
    return f"[{address.compressed}]" if isinstance(address, ipaddress.IPv6Address) else host
