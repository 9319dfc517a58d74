"""The binary form of datagrams, version 1: what stands where. Pure; both ends use it.

    offset  bytes
         0      1  version, 0xF1
         1      1  flags: 1 response, 2 mac, 4 cookie, 8 truncated, 16 refused
         2      2  length of the payload
         4      8  id of the request, the client's own; comes back in the reply
        12      8  id of the session; 0 without one
        20      4  unix seconds: the client's in a request, the server's in a reply
        24      4  sequence; comes back in the reply
        28      n  payload, protobuf
                24 cookie, where flagged
                16 MAC, where flagged (trinity_core.udp_mac)

Numbers are big endian. A datagram that is longer or shorter than it says, or has another flag, is none.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from trinity_core.udp_cookie import COOKIE_BYTES
from trinity_core.udp_mac import MAC_BYTES

VERSION: Final = 0xF1
RESPONSE: Final = 1
MAC: Final = 2
COOKIE: Final = 4
TRUNCATED: Final = 8
REFUSED: Final = 16

HEAD_BYTES: Final = 28
SIGNED_QUERY: Final = bytes((VERSION, MAC))
"""How a query begins that has a MAC and nothing else."""
SIGNED_REPLY: Final = bytes((VERSION, RESPONSE | MAC))
"""How the reply to one begins."""
SESSION_PLACE: Final = slice(12, 20)
"""Where the id of the session stands."""

_FLAGS: Final = RESPONSE | MAC | COOKIE | TRUNCATED | REFUSED
_HEAD: Final = struct.Struct(">BBH8sQII")


class Frame(msgspec.Struct, frozen=True, gc=False):
    """A binary datagram, taken apart."""

    flags: int
    request_id: bytes
    """8 bytes."""
    session_id: int
    unix_s: int
    sequence: int
    payload: bytes
    cookie: bytes | None
    mac: bytes | None
    signed: bytes
    """Everything before the MAC; all of it where there is none."""

    @property
    def response(self) -> bool:
        """It is a reply."""
        return bool(self.flags & RESPONSE)


def read_frame(datagram: bytes) -> Frame | None:
    """The frame that a datagram is; None for one that is none."""
    size = len(datagram)
    if size < HEAD_BYTES:
        return None
    version, flags, length, request_id, session_id, unix_s, sequence = _HEAD.unpack_from(datagram)
    if version != VERSION or flags & ~_FLAGS:
        return None
    end = HEAD_BYTES + length
    if end + (COOKIE_BYTES if flags & COOKIE else 0) + (MAC_BYTES if flags & MAC else 0) != size:
        return None
    cookie = datagram[end : end + COOKIE_BYTES] if flags & COOKIE else None
    mac = datagram[-MAC_BYTES:] if flags & MAC else None
    signed = datagram if mac is None else datagram[:-MAC_BYTES]
    return Frame(flags, request_id, session_id, unix_s, sequence, datagram[HEAD_BYTES:end], cookie, mac, signed)


def make_frame(
    flags: int,
    *,
    request_id: bytes,
    session_id: int,
    unix_s: int,
    sequence: int,
    payload: bytes,
    cookie: bytes = b"",
) -> bytes:
    """A binary datagram up to its MAC, which is the caller's to add where the flags say that there is one."""
    head = _HEAD.pack(VERSION, flags, len(payload), request_id, session_id, unix_s, sequence)
    return head + payload + cookie
