"""The receiver's half of webhooks over HTTPS: whether a delivery is genuine, and what it says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from trinity_core.errors import Reason, TrinityError
from trinity_core.webhook_payload import CHALLENGE
from trinity_core.webhook_signing import TIMESTAMP_HEADER, TOLERANCE_S, Verifier
from trinity_mesh.clock import Clock, SystemClock


class _Body(msgspec.Struct):
    type: str
    timestamp: str
    data: dict[str, Any]


_DECODER = msgspec.json.Decoder(_Body)


@dataclass(frozen=True, slots=True)
class WebhookMessage:
    """A delivery that is genuine."""

    message: str
    """`webhook-id`: the same in every attempt. One that was handled before is the same delivery again."""
    signed_s: int
    """`webhook-timestamp`: when this attempt was signed, unix seconds."""
    type: str
    """Such as "price.tick" or "alert.crossing"."""
    timestamp: str
    """When it happened, RFC 3339."""
    data: Mapping[str, Any]

    @property
    def challenge(self) -> str:
        """What to answer as the body of a 200; empty for all that is no challenge."""
        text = self.data.get("challenge") if self.type == CHALLENGE else None
        return text if isinstance(text, str) else ""


class WebhookVerifier:
    """Checks deliveries with the keys of an endpoint: `whsec_…` for `v1`, `whpk_…` for `v1a`.

    While a rotation lasts, hold the old and the new key. Signatures are compared in constant time,
    and none is taken whose timestamp is further from now than the tolerance.
    """

    def __init__(self, keys: Iterable[str], *, tolerance_s: int = TOLERANCE_S, clock: Clock | None = None) -> None:
        """`clock` None: the system's. Raises ValueError, showing nothing of it, for a key that is none."""
        self._verifier = Verifier(keys, tolerance_s=tolerance_s)
        self._clock = clock or SystemClock()

    def verify(self, fields: Mapping[str, str], body: bytes) -> WebhookMessage:
        """What a delivery says; `fields` are the header fields, `body` is as it came, before any parser.

        Raises TrinityError INVALID_SIGNATURE, saying why.
        """
        message = self._verifier.verify(fields, body, now_s=self._clock.unix_ns() // 10**9)
        try:
            read = _DECODER.decode(body)
        except msgspec.DecodeError:
            raise TrinityError(
                Reason.INVALID_SIGNATURE, "the body is signed, but is no delivery of this kind"
            ) from None
        signed_s = next(int(value) for name, value in fields.items() if name.lower() == TIMESTAMP_HEADER)
        return WebhookMessage(message, signed_s, read.type, read.timestamp, read.data)


def webhook_verify(
    fields: Mapping[str, str], body: bytes, keys: Iterable[str], *, tolerance_s: int = TOLERANCE_S
) -> WebhookMessage:
    """`WebhookVerifier` for one delivery. Raises as it does."""
    return WebhookVerifier(keys, tolerance_s=tolerance_s).verify(fields, body)
