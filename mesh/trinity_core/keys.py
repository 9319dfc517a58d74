"""API keys as text: `tbk_<env>_<id>_<secret><check>`.

`tbk` lets secret scanners find a leaked key, `env` says where it is valid, `id` is public
and may be logged, `secret` holds 256 random bits in base 62 (43 characters) and `check` is
the CRC-32 of everything before it (6 characters), so that a mistyped key is told apart from
a wrong one without asking anybody.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_FORM = re.compile(r"tbk_([a-z]{2,8})_([0-9a-z]{12})_([0-9A-Za-z]{43})([0-9A-Za-z]{6})")
_SECRET = re.compile(r"(tbk(?:_|%5f)[a-z]{2,8}(?:_|%5f)[0-9a-z]{12}(?:_|%5f))[0-9a-z]{1,49}", re.IGNORECASE)
"""A key, or the beginning of one, in any case, its underscores percent-encoded perhaps."""


@dataclass(frozen=True, slots=True)
class KeyText:
    """A key in the clear. `repr` does not show the secret."""

    env: str
    key_id: str
    """Public id, 12 characters."""
    text: str
    """The whole key, as the caller sends it."""

    def __repr__(self) -> str:
        return f"KeyText(env={self.env!r}, key_id={self.key_id!r})"

    @property
    def sha256(self) -> str:
        """Hexadecimal SHA-256 of the whole key: what is stored where the key itself must not be."""
        return hashlib.sha256(self.text.encode("ascii")).hexdigest()

    def digest(self, pepper: bytes) -> bytes:
        """What stands for the key in the database and in replicas; see `digest_of`."""
        return digest_of(self.text, pepper)


def mint(*, env: str, random_bytes: Callable[[int], bytes]) -> KeyText:
    """A new key. `random_bytes` must be cryptographically strong (`secrets.token_bytes`)."""
    key_id = _base62(int.from_bytes(random_bytes(8), "big"), 12).lower()
    body = f"tbk_{env}_{key_id}_{_base62(int.from_bytes(random_bytes(32), 'big'), 43)}"
    return parse(body + _check(body))


def parse(text: str) -> KeyText:
    """Take a key apart.

    Raises ValueError, never showing the text, when it has another form or its check fails.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError("not a key of the form tbk_<env>_<id>_<secret>")
    if _check(text[:-6]) != found[4]:
        raise ValueError("the key's check does not match: it is mistyped or cut")
    return KeyText(found[1], found[2], text)


def hidden(text: str) -> str:
    """A text with the secret of every key in it taken out, also where a key was cut off; ids stay."""
    return _SECRET.sub(r"\1…", text)


def holds_key(text: str) -> bool:
    """Whether a key, or the beginning of one with a part of its secret, stands in a text."""
    return _SECRET.search(text) is not None


def digest_of(text: str, pepper: bytes) -> bytes:
    """HMAC-SHA256 (RFC 2104) of a whole key under the mesh's pepper, 32 bytes."""
    return hmac.digest(pepper, text.encode("ascii"), "sha256")


def _check(body: str) -> str:
    return _base62(zlib.crc32(body.encode("ascii")), 6)


def _base62(number: int, width: int) -> str:
    digits = []
    while number:
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits)).rjust(width, "0")
