"""Proof that a source of datagrams has its address: DNS server cookies, exactly as RFC 9018 has them. Pure.

    cookie (24 bytes) = client's part 8 | version 1 | reserved 3 | unix seconds 4 | hash 8
    hash              = SipHash-2-4(client's part | version | reserved | seconds | address, secret)

The address is the source's, 4 or 16 bytes; its port is not in it. A cookie is good for an hour and is renewed after
half of one. Secrets of a mesh follow from its master secret and the day, today's and
yesterday's being good, so that all endpoints roll over together without a word.
"""

from __future__ import annotations

import hmac
import struct
from typing import Final

from trinity_core.siphash import KEY_BYTES, siphash24

COOKIE_BYTES: Final = 24
CLIENT_BYTES: Final = 8
NO_CLIENT: Final = bytes(CLIENT_BYTES)
"""The client's part where the client chose none."""
GOOD_S: Final = 3_600
"""How long a cookie proves something."""
RENEW_S: Final = 1_800
"""Age from which on a client is given a new one."""
AHEAD_S: Final = 300
"""How far ahead of our clock a cookie may be, made by an endpoint whose clock is ahead."""
SECRET_S: Final = 86_400
"""How long a secret makes cookies; it judges them as long again."""

_HEAD: Final = struct.Struct(">8sB3sI")
_VERSION: Final = 1
_TIMES: Final = 1 << 32
_SECRETS_KEPT: Final = 4


def make_cookie(secret: bytes, client: bytes, address: bytes, *, now_s: int) -> bytes:
    """The cookie of a client.

    Args:
        secret: 16 bytes.
        client: the client's part, 8 bytes.
        address: where its datagram came from, packed: 4 or 16 bytes.
        now_s: unix seconds.
    """
    head = _HEAD.pack(client, _VERSION, b"\0\0\0", now_s % _TIMES)
    return head + siphash24(secret, head + address)


def age_of(cookie: bytes, *, now_s: int) -> int:
    """Seconds since a cookie was made, negative for one of the future; serial numbers as RFC 1982 has them."""
    made_s: int = _HEAD.unpack_from(cookie)[3]
    return (now_s - made_s + _TIMES // 2) % _TIMES - _TIMES // 2


def is_good(secret: bytes, cookie: bytes, address: bytes, *, now_s: int) -> bool:
    """Whether the secret made that cookie for that address, lately. What is reserved may be anything."""
    if len(cookie) != COOKIE_BYTES or cookie[CLIENT_BYTES] != _VERSION:
        return False
    if not -AHEAD_S <= age_of(cookie, now_s=now_s) <= GOOD_S:
        return False
    head = cookie[: _HEAD.size]
    return hmac.compare_digest(siphash24(secret, head + address), cookie[_HEAD.size :])


class Cookies:
    """Makes and judges the cookies of one mesh. What was found good is remembered, in bounded memory."""

    def __init__(self, master: bytes, *, kept_max: int = 65_536) -> None:
        """`master` is the secret that secrets follow from; `kept_max` bounds the cookies that are remembered."""
        self._master = master
        self._generation_max = max(1, kept_max // 2)
        self._young: dict[bytes, int] = {}
        self._old: dict[bytes, int] = {}
        self._secrets: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def make(self, client: bytes, address: bytes, *, now_s: int) -> bytes:
        """A cookie for a client (8 bytes) at an address (packed)."""
        return make_cookie(self._secret(now_s // SECRET_S), client, address, now_s=now_s)

    def prove(self, cookie: bytes, address: bytes, *, now_s: int) -> bool:
        """Whether we gave that cookie to that address within the last hour."""
        name = address + cookie
        good_until_s = self._young.get(name) or self._old.get(name)
        if good_until_s is not None:
            return now_s <= good_until_s
        today = now_s // SECRET_S
        if not any(is_good(self._secret(day), cookie, address, now_s=now_s) for day in (today, today - 1)):
            return False
        if len(self._young) >= self._generation_max:
            self._old, self._young = self._young, {}
        self._young[name] = now_s + GOOD_S - age_of(cookie, now_s=now_s)
        return True

    def _secret(self, day: int) -> bytes:
        secret = self._secrets.get(day)
        if secret is None:
            if len(self._secrets) >= _SECRETS_KEPT:
                self._secrets.clear()
            message = b"udp1-cookie" + day.to_bytes(8, "big")
            secret = self._secrets[day] = hmac.digest(self._master, message, "sha256")[:KEY_BYTES]
        return secret
