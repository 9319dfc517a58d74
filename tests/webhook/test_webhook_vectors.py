"""The vectors of signatures for other languages are what the code says, and hold by the page's words alone."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from webhook.signing_vectors import FILE, vectors

KNOWN: dict[str, Any] = json.loads(FILE.read_text("utf-8"))


def test_the_vectors_of_signatures_are_what_the_code_says() -> None:
    assert vectors() == KNOWN


@pytest.mark.parametrize(
    "vector", [each for each in KNOWN["deliveries"] if "says" in each], ids=lambda each: each["name"]
)
def test_what_is_taken_is_signed_as_the_page_says(vector: dict[str, Any]) -> None:
    fields = {name.lower(): value for name, value in vector["fields"].items()}
    content = f"{fields['webhook-id']}.{fields['webhook-timestamp']}.{vector['body']}".encode()
    signatures = [each.split(",") for each in fields["webhook-signature"].split(" ")]
    shared = [base64.b64decode(key.removeprefix("whsec_")) for key in vector["keys"] if key.startswith("whsec_")]
    macs = [base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode() for key in shared]
    if any(["v1", mac] in signatures for mac in macs):
        return
    (public,) = (base64.b64decode(key.removeprefix("whpk_")) for key in vector["keys"] if key.startswith("whpk_"))
    (signature,) = (text for version, text in signatures if version == "v1a")
    Ed25519PublicKey.from_public_bytes(public).verify(base64.b64decode(signature), content)


def test_there_are_vectors_of_every_refusal() -> None:
    assert len({each["refused"] for each in KNOWN["deliveries"] if "refused" in each}) >= 6
