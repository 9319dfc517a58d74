"""Deliveries of webhooks with their signatures, for programs in other languages to check themselves against.

    PYTHONPATH=tests python tests/webhook/signing_vectors.py     write tests/vectors/webhook.json anew

Every signature is made by the code that serves, with fixed keys; every refusal is in the words of `Verifier`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trinity_client import WebhookVerifier
from trinity_core.errors import TrinityError
from trinity_core.webhook_secrets import Scheme, SecretValue, public_text
from trinity_core.webhook_signing import Signer, headers

FILE = Path(__file__).resolve().parents[1] / "vectors" / "webhook.json"

TIME_S = 1_790_000_000
TICK = (
    '{"type":"price.tick","timestamp":"2026-09-21T14:13:20.123456789Z","data":{"prices":[{"asset":"BTC","quote":"USD",'
    '"price":"65000.125","state":"fresh","sequence":4711,"epoch":"1790000000000000000","skipped":3}],"note":"é€"}}'
)
CHALLENGE = (
    '{"type":"webhook.challenge","timestamp":"2026-09-21T14:13:20Z","data":{"endpoint":"whe_1","challenge":"c4tch"}}'
)
OLD, NEW = (SecretValue(Scheme.V1, bytes(range(first, first + 32))) for first in (1, 101))
PAIR = SecretValue(Scheme.V1A, bytes(range(50, 82)))
PUBLIC = public_text(PAIR.public)
ID = "tck_0123456789abcdefghijklmn"


class _At:
    """A wall clock that stands."""

    def __init__(self, unix_s: int) -> None:
        self._unix_s = unix_s

    def monotonic_ns(self) -> int:
        return 0

    def unix_ns(self) -> int:
        return self._unix_s * 10**9

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(f"nobody waits {seconds} s here")


def vectors() -> dict[str, Any]:
    """Everything that stands in the file."""
    v1, v1a, rotated = signed(OLD), signed(PAIR), signed(NEW, OLD, PAIR)
    signature, id_, stamp = "webhook-signature", "webhook-id", "webhook-timestamp"
    told = [
        _judged("a delivery of v1", [OLD.text], v1),
        _judged("a delivery of v1a", [PUBLIC], v1a),
        _judged("names of fields in any case", [OLD.text], {name.title(): value for name, value in v1.items()}),
        _judged("a challenge", [OLD.text], signed(OLD, body=CHALLENGE), body=CHALLENGE),
        _judged("while a rotation lasts: the new secret", [NEW.text], rotated),
        _judged("while a rotation lasts: the old secret", [OLD.text], rotated),
        _judged("while a rotation lasts: the public key", [PUBLIC], rotated),
        _judged("a receiver with both secrets and the old signature", [NEW.text, OLD.text], v1),
        _judged("as late as it may be", [OLD.text], v1, now_s=TIME_S + 300),
        _judged("as early as it may be", [OLD.text], v1, now_s=TIME_S - 300),
        _judged("too late", [OLD.text], v1, now_s=TIME_S + 301),
        _judged("too early", [OLD.text], v1, now_s=TIME_S - 301),
        _judged("another body", [OLD.text, PUBLIC], rotated, body=TICK.replace("65000", "65001")),
        _judged("another id", [OLD.text, PUBLIC], {**rotated, id_: "tck_other"}),
        _judged("another time", [OLD.text, PUBLIC], {**rotated, stamp: str(TIME_S + 1)}),
        _judged("another secret", [NEW.text], v1),
        _judged("a signature of v1 that says v1a", [OLD.text, PUBLIC], {**v1, signature: f"v1a,{v1[signature][3:]}"}),
        _judged("a signature of v1a that says v1", [OLD.text, PUBLIC], {**v1a, signature: f"v1,{v1a[signature][4:]}"}),
        _judged("a version that there is none of", [OLD.text], {**v1, signature: v1[signature].replace("v1", "v2")}),
        _judged("no base64", [OLD.text, PUBLIC], {**v1, signature: "v1,!! v1a,!!"}),
        _judged("base64 with something after it", [OLD.text], {**v1, signature: v1[signature] + "\t"}),
        _judged("no signature", [OLD.text], {**v1, signature: ""}),
        _judged("no id", [OLD.text], {name: value for name, value in v1.items() if name != id_}),
        _judged("an id with a dot", [OLD.text], {**v1, id_: "tck.1"}),
        _judged("a time with a zero before it", [OLD.text], {**v1, stamp: f"0{TIME_S}"}),
        _judged("a time with a fraction", [OLD.text], {**v1, stamp: f"{TIME_S}.0"}),
        _judged("a body that is signed, but no delivery", [OLD.text], signed(OLD, body="[]"), body="[]"),
    ]  # fmt: skip
    bad_keys = [[], ["secret"], ["whsec_!"], ["whpk_AAAA"], [OLD.text.replace("whsec_", "whpk-")]]
    return {
        "about": "docs/webhooks.md says what these are; `body` is UTF-8, `now` the receiver's unix time in seconds",
        "deliveries": told,
        "bad_keys": bad_keys,
    }


def signed(*secrets: SecretValue, body: str = TICK) -> dict[str, str]:
    """The fields of a delivery that is signed with these."""
    made = (Signer(secret, secret="s").sign(ID, TIME_S, body.encode()) for secret in secrets)
    return headers(ID, TIME_S, " ".join(made))


def _judged(
    name: str, keys: list[str], fields: dict[str, str], *, body: str = TICK, now_s: int = TIME_S
) -> dict[str, Any]:
    told: dict[str, Any] = {"name": name, "keys": keys, "fields": fields, "body": body, "now": now_s}
    try:
        found = WebhookVerifier(keys, clock=_At(now_s)).verify(fields, body.encode())
    except TrinityError as error:
        return {**told, "refused": error.message}
    return {**told, "says": {"id": found.message, "type": found.type, "challenge": found.challenge}}


if __name__ == "__main__":
    FILE.write_text(json.dumps(vectors(), indent=2, ensure_ascii=False) + "\n", "utf-8")
