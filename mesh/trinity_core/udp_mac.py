"""The MAC of a text datagram's line, as both ends of a UDP session make it. Pure.

    line = "GET BTC USD s=<session id> t=<unix seconds> q=<sequence> m=<MAC>"
    MAC  = first half of HMAC-SHA256(session key, "qt" | everything before " m="), 32 hexadecimal digits

HMAC is RFC 2104; half of it is as much as RFC 2104, section 5, lets one leave away.
"""

from __future__ import annotations

import hmac
from typing import Final

MAC_BYTES: Final = 16
TEXT_LABEL: Final = b"qt"
"""Keeps a MAC of text from being one of anything else."""


def text_mac(session_key: bytes, signed: bytes) -> bytes:
    """The MAC of a line; `signed` is the line before ` m=`."""
    return hmac.digest(session_key, TEXT_LABEL + signed, "sha256")[:MAC_BYTES]


def signed_line(session_key: bytes, text: str, *, session: str, unix_s: int, sequence: int) -> str:
    """The line to send: `text` ("GET BTC USD") with the words of a session, whose id is 16 hexadecimal digits.

    `sequence` must be greater than that of every line before, and may be sent once.
    """
    line = f"{text} s={session} t={unix_s} q={sequence}"
    return f"{line} m={text_mac(session_key, line.encode('ascii')).hex()}"
