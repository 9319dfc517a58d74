"""What is posted, signed: secrets are opened once, equal content is signed once. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from typing import Final

from trinity_core.webhook_secrets import Scheme, Sealer, SecretValue
from trinity_core.webhook_signing import Signatures, Signer
from trinity_core.webhooks import Secret
from trinity_webhook.sending import Posting

_SIGNATURES_MAX: Final = 4_096


class Signing:
    """Signs for all endpoints of a worker."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        self._signers: dict[str, Signer] = {}
        self._signatures = Signatures(entries_max=_SIGNATURES_MAX)

    @property
    def signed(self) -> int:
        """Signatures made."""
        return self._signatures.signed

    def keep(self, secrets: Collection[str]) -> None:
        """Forget all secrets but those of some ids."""
        for name in self._signers.keys() - secrets:
            del self._signers[name]

    def posting(self, secrets: Sequence[Secret], message: str, body: bytes, *, now_ns: int) -> Posting:
        """A message, signed by the secrets that are live. Raises INTERNAL where one cannot be opened."""
        timestamp_s = now_ns // 10**9
        signers = [self._signer(secret) for secret in secrets if secret.is_live(now_ns)]
        return Posting(message, timestamp_s, self._signatures.header(signers, message, timestamp_s, body), body)

    def shared_keys(self, secrets: Sequence[Secret], *, now_ns: int) -> list[bytes]:
        """The shared secrets that are live, newest first, for what is authenticated otherwise: datagrams."""
        return [self._open(secret).data for secret in secrets if secret.scheme is Scheme.V1 and secret.is_live(now_ns)]

    def _open(self, secret: Secret) -> SecretValue:
        return self._sealer.open(secret.sealed, secret.scheme, endpoint=secret.endpoint, secret=secret.secret)

    def _signer(self, secret: Secret) -> Signer:
        signer = self._signers.get(secret.secret)
        if signer is None:
            value = self._open(secret)
            # Named by what it is: endpoints of one secret share the signatures of one body.
            same = hashlib.blake2b(value.data, digest_size=16, key=b"%d" % value.scheme).hexdigest()
            signer = self._signers[secret.secret] = Signer(value, secret=same)
        return signer
