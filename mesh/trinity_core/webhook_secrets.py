"""Secrets of endpoints: their texts, how they are made, and how they are sealed for a store. Pure.

    whsec_<base64>   a shared secret of 24 to 64 bytes, for `v1`
    whsk_<base64>    an Ed25519 private key of 32 bytes, for `v1a`; it never leaves us
    whpk_<base64>    the public key that belongs to it

A sealed secret is AES-256-GCM under a key derived from the mesh's own, bound to the endpoint and
the secret's id: a row that was moved, changed or read without that key opens to nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from trinity_core.errors import Reason, TrinityError, invalid_field

SECRET_PREFIX: Final = "whsec_"
PUBLIC_PREFIX: Final = "whpk_"
SECRET_BYTES: Final = (24, 64)
_MADE_BYTES: Final = 32
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_PERSON: Final = b"trinity webhooks"
_FEW: Final = 8
"""A secret of fewer different bytes was not drawn by chance."""
_ENCODED_MAX: Final = 88


class Scheme(IntEnum):
    """How a delivery is signed; numbers as in trinity.webhook.v1.Scheme."""

    V1 = 1
    """HMAC-SHA256 with a shared secret."""
    V1A = 2
    """Ed25519."""


@dataclass(frozen=True, slots=True)
class SecretValue:
    """A secret in the clear: never stored, logged or shown but by the call that made it."""

    scheme: Scheme
    data: bytes = field(repr=False)

    @property
    def text(self) -> str:
        """A shared secret as its owner is shown it, once. Only for `v1`: a private key has no such text."""
        if self.scheme is not Scheme.V1:
            raise ValueError("a private key is not shown")
        return SECRET_PREFIX + base64.b64encode(self.data).decode("ascii")

    @property
    def public(self) -> bytes:
        """The public key of a private one; empty for a shared secret."""
        if self.scheme is Scheme.V1:
            return b""
        return Ed25519PrivateKey.from_private_bytes(self.data).public_key().public_bytes_raw()


def make_secret(scheme: Scheme, random_bytes: Callable[[int], bytes]) -> SecretValue:
    """A new secret; `random_bytes` must be cryptographically strong."""
    return SecretValue(scheme, random_bytes(_MADE_BYTES if scheme is Scheme.V1 else _KEY_BYTES))


def read_secret(text: str, *, path: str = "secret") -> SecretValue:
    """A shared secret that an owner brings. Raises INVALID_FIELD, saying why and never showing it."""
    if not text.startswith(SECRET_PREFIX):
        raise invalid_field(path, f"it must begin with {SECRET_PREFIX}, followed by base64")
    encoded = text.removeprefix(SECRET_PREFIX)
    if len(encoded) > _ENCODED_MAX:
        raise invalid_field(path, f"it must hold {SECRET_BYTES[0]} to {SECRET_BYTES[1]} bytes")
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise invalid_field(path, f"what follows {SECRET_PREFIX} is not base64 with padding") from None
    if not SECRET_BYTES[0] <= len(data) <= SECRET_BYTES[1]:
        raise invalid_field(path, f"it must hold {SECRET_BYTES[0]} to {SECRET_BYTES[1]} bytes; it holds {len(data)}")
    if base64.b64encode(data).decode("ascii") != encoded:
        raise invalid_field(path, "its base64 has bits beyond the last byte; encode the bytes anew")
    if len(set(data)) < _FEW:
        raise invalid_field(path, "it was not drawn by chance; use random bytes, or leave it out to be given one")
    return SecretValue(Scheme.V1, data)


def public_text(public: bytes) -> str:
    """A public key as it is published."""
    return PUBLIC_PREFIX + base64.b64encode(public).decode("ascii")


class Sealer:
    """Seals secrets for a store and opens them."""

    def __init__(self, *, key: bytes, random_bytes: Callable[[int], bytes]) -> None:
        """`key` is a secret of the mesh, of at least 32 bytes, from which the sealing key is derived."""
        self._aead = AESGCM(hashlib.blake2b(key, digest_size=32, person=_PERSON).digest())
        self._random_bytes = random_bytes

    def seal(self, value: SecretValue, *, endpoint: str, secret: str) -> bytes:
        """What a store may keep of a secret."""
        nonce = self._random_bytes(_NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, value.data, _bound(value.scheme, endpoint, secret))

    def open(self, sealed: bytes, scheme: Scheme, *, endpoint: str, secret: str) -> SecretValue:
        """The secret. Raises INTERNAL for one that was sealed for something else, or with another key."""
        nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            data = self._aead.decrypt(nonce, rest, _bound(scheme, endpoint, secret))
        except (InvalidTag, ValueError):
            raise TrinityError(
                Reason.INTERNAL, f"the secret {secret} cannot be opened with the key of this mesh"
            ) from None
        return SecretValue(scheme, data)


def _bound(scheme: Scheme, endpoint: str, secret: str) -> bytes:
    return f"{scheme.value}\n{endpoint}\n{secret}".encode()
