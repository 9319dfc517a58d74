"""Signatures by Standard Webhooks: `v1` (HMAC-SHA256) and `v1a` (Ed25519), and their check. Pure.

Signed is `<webhook-id>.<webhook-timestamp>.<body>`. While a rotation lasts, the old secret signs
beside the new one: `webhook-signature` holds one signature a secret, separated by spaces.
See https://github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from trinity_core.errors import Reason, TrinityError
from trinity_core.webhook_secrets import PUBLIC_PREFIX, SECRET_PREFIX, Scheme, SecretValue

ID_HEADER: Final = "webhook-id"
TIMESTAMP_HEADER: Final = "webhook-timestamp"
SIGNATURE_HEADER: Final = "webhook-signature"
TOLERANCE_S: Final = 300
"""A timestamp further from now is not taken."""

_SIGNATURES_MAX: Final = 16
_VALUE_MAX: Final = 4_096
_PUBLIC_BYTES: Final = 32
_DOTS: Final = frozenset(" \t\r\n.")


class Signer:
    """Signs with one secret; the key is prepared once."""

    __slots__ = ("_sign", "secret")

    def __init__(self, value: SecretValue, *, secret: str) -> None:
        """`secret` is the secret's id, which is no secret."""
        self.secret = secret
        self._sign: Callable[[bytes], str]
        if value.scheme is Scheme.V1:
            keyed = hmac.new(value.data, digestmod=hashlib.sha256)

            def v1(content: bytes) -> str:
                state = keyed.copy()
                state.update(content)
                return "v1," + base64.b64encode(state.digest()).decode("ascii")

            self._sign = v1
        else:
            key = Ed25519PrivateKey.from_private_bytes(value.data)
            self._sign = lambda content: "v1a," + base64.b64encode(key.sign(content)).decode("ascii")

    def sign(self, message: str, timestamp_s: int, body: bytes) -> str:
        """One signature with its version before it."""
        return self._sign(_content(message, timestamp_s, body))


class Signatures:
    """The newest signatures, so that what goes to many endpoints with one secret is signed once. Bounded."""

    def __init__(self, *, entries_max: int) -> None:
        self._entries_max = entries_max
        self._made: OrderedDict[tuple[str, int, str], tuple[bytes, str]] = OrderedDict()
        self.signed = 0
        """Signatures made."""

    def header(self, signers: Iterable[Signer], message: str, timestamp_s: int, body: bytes) -> str:
        """The value of `webhook-signature`, newest secret first as `signers` come."""
        return " ".join(self._one(signer, message, timestamp_s, body) for signer in signers)

    def _one(self, signer: Signer, message: str, timestamp_s: int, body: bytes) -> str:
        place = (message, timestamp_s, signer.secret)
        found = self._made.get(place)
        if found is not None and found[0] == body:
            return found[1]
        signature = signer.sign(message, timestamp_s, body)
        self.signed += 1
        self._made[place] = body, signature
        while len(self._made) > self._entries_max:
            self._made.popitem(last=False)
        return signature


def headers(message: str, timestamp_s: int, signature: str) -> dict[str, str]:
    """The three header fields of a delivery."""
    return {ID_HEADER: message, TIMESTAMP_HEADER: str(timestamp_s), SIGNATURE_HEADER: signature}


class Verifier:
    """Checks deliveries with the keys that a receiver holds: `whsec_…` for `v1`, `whpk_…` for `v1a`."""

    def __init__(self, keys: Iterable[str], *, tolerance_s: int = TOLERANCE_S) -> None:
        """Several keys are taken while a rotation lasts. Raises ValueError, showing nothing of it, for a wrong one."""
        self._tolerance_s = tolerance_s
        self._shared: list[bytes] = []
        self._public: list[Ed25519PublicKey] = []
        for text in keys:
            prefix = next((each for each in (SECRET_PREFIX, PUBLIC_PREFIX) if text.startswith(each)), None)
            if prefix is None:
                raise ValueError(f"a key must begin with {SECRET_PREFIX} or {PUBLIC_PREFIX}")
            try:
                data = base64.b64decode(text.removeprefix(prefix), validate=True)
            except (binascii.Error, ValueError):
                raise ValueError(f"what follows {prefix} is not base64") from None
            if prefix == SECRET_PREFIX:
                self._shared.append(data)
            elif len(data) != _PUBLIC_BYTES:
                raise ValueError(f"a {PUBLIC_PREFIX} key has {_PUBLIC_BYTES} bytes")
            else:
                self._public.append(Ed25519PublicKey.from_public_bytes(data))
        if not (self._shared or self._public):
            raise ValueError("a verifier needs at least one key")

    def verify(self, fields: Mapping[str, str], body: bytes, *, now_s: int) -> str:
        """The id of a delivery that is genuine and was signed within the tolerance of now.

        `fields` are the header fields, by name in any case. Raises TrinityError INVALID_SIGNATURE.
        """
        given = {name.lower(): value for name, value in fields.items()}
        message, stamp, signatures = (given.get(name, "") for name in (ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER))
        if not message or _DOTS & set(message) or len(message) > _VALUE_MAX:
            raise _invalid(f"{ID_HEADER} is missing or malformed")
        if not (stamp.isascii() and stamp.isdecimal()) or len(stamp) > 12 or str(int(stamp)) != stamp:
            raise _invalid(f"{TIMESTAMP_HEADER} is missing or malformed")
        if abs(int(stamp) - now_s) > self._tolerance_s:
            raise _invalid(f"{TIMESTAMP_HEADER} is further than {self._tolerance_s} s from now")
        if not signatures or len(signatures) > _VALUE_MAX:
            raise _invalid(f"{SIGNATURE_HEADER} is missing or too long")
        content = _content(message, int(stamp), body)
        for each in signatures.split(" ")[:_SIGNATURES_MAX]:
            version, _, text = each.partition(",")
            try:
                signature = base64.b64decode(text, validate=True)
            except (binascii.Error, ValueError):
                continue
            if version == "v1" and self._is_shared(content, signature):
                return message
            if version == "v1a" and self._is_public(content, signature):
                return message
        raise _invalid("no signature is one of the keys'")

    def _is_shared(self, content: bytes, signature: bytes) -> bool:
        return any(hmac.compare_digest(hmac.digest(key, content, "sha256"), signature) for key in self._shared)

    def _is_public(self, content: bytes, signature: bytes) -> bool:
        for key in self._public:
            try:
                key.verify(signature, content)
            except InvalidSignature:
                continue
            return True
        return False


def _content(message: str, timestamp_s: int, body: bytes) -> bytes:
    return b"%b.%d.%b" % (message.encode(), timestamp_s, body)


def _invalid(message: str) -> TrinityError:
    return TrinityError(Reason.INVALID_SIGNATURE, message)
