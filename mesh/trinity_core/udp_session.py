"""UDP sessions: an id that says where its key is found, and a key that is derived, so that nobody stores either.

A session id has 64 bits, most significant first:

    tag 20    which API key: the first bits of SHA-256 of its public id
    expiry 10 end of the session in units of 8 s, modulo 1024
    nonce 18  random, so that sessions of one key differ
    seal 16   the first bits of HMAC-SHA256(master, "udp1-seal" | the 48 bits above | key id | expiry)

`expiry` in a MAC is always whole: unix seconds, 8 bytes, big endian. The modulus covers 2 h 16 min,
more than twice a session's life, so that the clock tells which multiple is meant; the seal
is over the whole expiry, so that an old id does not come to life again. The session's key is
HMAC-SHA256(master, "udp1" | session id, 8 bytes | key id | expiry). An endpoint finds the key id by the
tag among the keys it knows anyway, judges the seal before it spends more, and derives.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

SESSION_S: Final = 3_600
"""How long a session lasts, seconds; up to 8 less because of its unit."""
SESSION_KEY_BYTES: Final = 32
NONCE_BITS: Final = 18
TAG_BITS: Final = 20

_UNIT_S: Final = 8
_EXPIRY_BITS: Final = 10
_SEAL_BITS: Final = 16
_EXPIRIES: Final = 1 << _EXPIRY_BITS
_SEAL_BYTES: Final = _SEAL_BITS // 8
_HEAD_BYTES: Final = (TAG_BITS + _EXPIRY_BITS + NONCE_BITS) // 8


@dataclass(frozen=True, slots=True)
class UdpSession:
    """A session whose seal is good."""

    session_id: int
    """64 bits."""
    key_id: str
    """Public id of the API key that opened it."""
    expire_s: int
    """When it ends, unix seconds."""

    def key(self, master: bytes) -> bytes:
        """Key of the MACs of its datagrams, 32 bytes."""
        message = b"udp1" + self.session_id.to_bytes(8, "big") + _context(self.key_id, self.expire_s)
        return hmac.digest(master, message, "sha256")

    @property
    def text(self) -> str:
        """The id as it is sent: 16 hexadecimal digits."""
        return f"{self.session_id:016x}"


def open_session(master: bytes, *, key_id: str, now_s: int, nonce: int, expire_s_max: int | None = None) -> UdpSession:
    """A new session of a key.

    Args:
        master: the secret that all endpoints of the mesh share.
        key_id: public id of the API key.
        now_s: unix seconds.
        nonce: random, less than 2^18; what it has above is cut off.
        expire_s_max: end of the key itself, which the session must not outlive; None: without end.
    """
    end_s = now_s + SESSION_S if expire_s_max is None else min(now_s + SESSION_S, expire_s_max)
    expire_s = end_s // _UNIT_S * _UNIT_S
    head = tag_of_key(key_id) << _EXPIRY_BITS | expire_s // _UNIT_S % _EXPIRIES
    head = head << NONCE_BITS | nonce % (1 << NONCE_BITS)
    return UdpSession(head << _SEAL_BITS | _seal(master, head, key_id, expire_s), key_id, expire_s)


def find_session(master: bytes, session_id: int, candidates: Iterable[str], *, now_s: int) -> UdpSession | None:
    """The session of an id, if it was sealed for one of `candidates` and has not ended; else None.

    `candidates` are the ids of the keys whose `tag_of_key` is `tag_of_session(session_id)`.
    """
    expire_s = _expiry(session_id, now_s)
    if expire_s <= now_s:
        return None
    head = session_id >> _SEAL_BITS
    seal = (session_id % (1 << _SEAL_BITS)).to_bytes(_SEAL_BYTES, "big")
    for key_id in candidates:
        expected = _seal(master, head, key_id, expire_s).to_bytes(_SEAL_BYTES, "big")
        if hmac.compare_digest(seal, expected):
            return UdpSession(session_id, key_id, expire_s)
    return None


def tag_of_key(key_id: str) -> int:
    """Which place a key has in an endpoint's index of keys; less than 2^20."""
    digest = hashlib.sha256(key_id.encode("ascii")).digest()
    return int.from_bytes(digest[:4], "big") >> (32 - TAG_BITS)


def tag_of_session(session_id: int) -> int:
    """The tag of the key that a session belongs to."""
    return session_id >> (64 - TAG_BITS)


def parse_session_id(text: str) -> int | None:
    """The id that 16 hexadecimal digits stand for, in either case; None for anything else."""
    if len(text) != 16 or not _HEX.issuperset(text):
        return None
    return int(text, 16)


_HEX: Final = frozenset("0123456789abcdefABCDEF")


def _expiry(session_id: int, now_s: int) -> int:
    """The expiry that is meant, unix seconds: the one nearest to now."""
    told = (session_id >> (NONCE_BITS + _SEAL_BITS)) % _EXPIRIES
    now = now_s // _UNIT_S
    ahead = (told - now + _EXPIRIES // 2) % _EXPIRIES - _EXPIRIES // 2
    return (now + ahead) * _UNIT_S


def _seal(master: bytes, head: int, key_id: str, expire_s: int) -> int:
    message = b"udp1-seal" + head.to_bytes(_HEAD_BYTES, "big") + _context(key_id, expire_s)
    return int.from_bytes(hmac.digest(master, message, "sha256")[:_SEAL_BYTES], "big")


def _context(key_id: str, expire_s: int) -> bytes:
    return key_id.encode("ascii") + expire_s.to_bytes(8, "big")
