"""Headers of PROXY protocol version 2 as a balancer writes them, written here a second time."""

from __future__ import annotations

import ipaddress

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")


def proxy_header(source: str, port: int = 50_000, *, endpoint: str = "", more: bytes = b"") -> bytes:
    """The header of a connection from `source`; through a VPC endpoint where one is given."""
    address = ipaddress.ip_address(source)
    to = ipaddress.ip_address("10.0.0.1" if address.version == 4 else "fd00::1")
    body = address.packed + to.packed + port.to_bytes(2, "big") + (443).to_bytes(2, "big")
    if endpoint:
        value = b"\x01" + endpoint.encode("ascii")
        body += b"\xea" + len(value).to_bytes(2, "big") + value
    body += more
    return SIGNATURE + b"\x21" + (b"\x11" if address.version == 4 else b"\x21") + len(body).to_bytes(2, "big") + body


LOCAL = SIGNATURE + b"\x20\x00\x00\x00"
"""A balancer's own connection."""
