"""PROXY protocol version 2: the header by which a TCP balancer tells whose connection it passes on. Pure.

    header = read_proxy_header(received)        # None: more must come
    header.source, header.vpc_endpoint, received[header.length :]

The binary form alone (haproxy's proxy-protocol.txt, section 2.2), which AWS balancers and Envoy write. Its
optional checksum is not checked: TCP has one.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass
from typing import Final

HEADER_BYTES_MAX: Final = 4_096
"""A longer header is refused; a balancer's has some hundred bytes."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """What a balancer says of a connection."""

    source: tuple[str, int] | None
    """The client's address and port; None: the connection is the balancer's own, as its health checks are."""
    vpc_endpoint: str
    """Id of the VPC endpoint it came through, by PrivateLink; empty for none."""
    length: int
    """Bytes of the header; the client's begin behind it."""


class ProxyHeaderError(ValueError):
    """This is no header of PROXY protocol version 2."""


def read_proxy_header(data: bytes) -> ProxyHeader | None:
    """The header that `data` begins with; None where more must come to tell. Raises ProxyHeaderError."""
    if not data.startswith(_SIGNATURE[: len(data)]):
        raise ProxyHeaderError("a connection that does not begin with PROXY protocol version 2")
    if len(data) < _FIXED.size:
        return None
    _, version_command, family, rest = _FIXED.unpack_from(data)
    if version_command >> 4 != _VERSION:
        raise ProxyHeaderError(f"PROXY protocol version {version_command >> 4}; only version 2 is read")
    length = _FIXED.size + rest
    if length > HEADER_BYTES_MAX:
        raise ProxyHeaderError(f"a PROXY header of {length} bytes; at most {HEADER_BYTES_MAX} are read")
    if len(data) < length:
        return None
    command = version_command & 0x0F
    if command == _LOCAL:
        return ProxyHeader(None, "", length)
    if command != _PROXY:
        raise ProxyHeaderError(f"PROXY command {command}, which there is not")
    addresses = _ADDRESSES.get(family)
    if addresses is None:
        raise ProxyHeaderError("a PROXY header of a connection that is not TCP over IPv4 or IPv6")
    if rest < addresses.size:
        raise ProxyHeaderError("a PROXY header that is too short for its addresses")
    source, _, port, _ = addresses.unpack_from(data, _FIXED.size)
    endpoint = _vpc_endpoint(data[_FIXED.size + addresses.size : length])
    return ProxyHeader((str(ipaddress.ip_address(source)), port), endpoint, length)


def _vpc_endpoint(extras: bytes) -> str:
    """The endpoint's id among what follows the addresses: type, length and value, one after the other."""
    found, at = "", 0
    while at < len(extras):
        if at + _EXTRA.size > len(extras):
            raise ProxyHeaderError("a PROXY header that breaks off")
        kind, size = _EXTRA.unpack_from(extras, at)
        at += _EXTRA.size
        value = extras[at : at + size]
        at += size
        if at > len(extras):
            raise ProxyHeaderError("a PROXY header that breaks off")
        if kind == _AWS and value[:1] == _AWS_VPCE_ID:
            found = value[1:].decode("ascii", "replace")
    return found


_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_FIXED: Final = struct.Struct("!12sBBH")
_VERSION: Final = 2
_LOCAL: Final = 0
_PROXY: Final = 1
_ADDRESSES: Final = {0x11: struct.Struct("!4s4sHH"), 0x21: struct.Struct("!16s16sHH")}
"""By family and protocol: source and destination, then their ports."""
_EXTRA: Final = struct.Struct("!BH")
_AWS: Final = 0xEA
"""PP2_TYPE_AWS."""
_AWS_VPCE_ID: Final = b"\x01"
"""PP2_SUBTYPE_AWS_VPCE_ID."""
