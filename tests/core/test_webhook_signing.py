"""Signatures by Standard Webhooks: known answers, the official package, rotation, and what is refused."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from trinity_core.errors import Reason, TrinityError
from trinity_core.webhook_secrets import Scheme, SecretValue, make_secret, public_text, read_secret
from trinity_core.webhook_signing import Signatures, Signer, Verifier, headers

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
# The example of the specification's reference libraries.
ID, TIME_S, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def chance(count: int) -> bytes:
    return bytes(range(7, 7 + count))


def test_the_known_answer_of_the_specification_is_ours() -> None:
    assert Signer(read_secret(SECRET), secret="s").sign(ID, TIME_S, BODY) == SIGNATURE


def test_ed25519_signs_what_rfc_8032_says() -> None:
    # RFC 8032, 7.1, test 3 gives the key; the signature is checked by the public key alone.
    seed = bytes.fromhex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7")
    public = bytes.fromhex("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025")
    value = SecretValue(Scheme.V1A, seed)
    assert value.public == public
    version, _, text = Signer(value, secret="s").sign(ID, TIME_S, BODY).partition(",")
    assert version == "v1a"
    key = Ed25519PrivateKey.from_private_bytes(seed).public_key()
    key.verify(base64.b64decode(text), b"%b.%d.%b" % (ID.encode(), TIME_S, BODY))


@given(st.binary(min_size=24, max_size=64).filter(lambda data: len(set(data)) >= 8), st.text(max_size=50))
def test_the_official_package_takes_our_signatures_and_we_take_its(data: bytes, text: str) -> None:
    value = SecretValue(Scheme.V1, data)
    body = json.dumps({"text": text})
    now = datetime.now(tz=UTC)
    now_s = int(now.timestamp())
    official = Webhook(value.text)
    ours = Signer(value, secret="s").sign("msg_1", now_s, body.encode())
    assert official.sign("msg_1", datetime.fromtimestamp(now_s, UTC), body) == ours
    fields = headers("msg_1", now_s, ours)
    assert official.verify(body, fields) == {"text": text}
    assert Verifier([value.text]).verify(fields, body.encode(), now_s=now_s) == "msg_1"


def test_while_a_rotation_lasts_either_key_verifies() -> None:
    old, new = read_secret(SECRET), make_secret(Scheme.V1, chance)
    pair = make_secret(Scheme.V1A, chance)
    signers = [Signer(new, secret="n"), Signer(old, secret="o"), Signer(pair, secret="p")]
    fields = headers(ID, TIME_S, Signatures(entries_max=10).header(signers, ID, TIME_S, BODY))
    assert fields["webhook-signature"].count(" ") == 2
    for key in (new.text, old.text, public_text(pair.public)):
        assert Verifier([key]).verify(fields, BODY, now_s=TIME_S + 299) == ID
    stranger = make_secret(Scheme.V1, lambda count: bytes(range(99, 99 + count)))
    with pytest.raises(TrinityError) as caught:
        Verifier([stranger.text]).verify(fields, BODY, now_s=TIME_S)
    assert caught.value.reason is Reason.INVALID_SIGNATURE


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("webhook-id", ""),
        ("webhook-id", "msg.1"),
        ("webhook-id", "msg_other"),
        ("webhook-timestamp", ""),
        ("webhook-timestamp", "1614265330.0"),
        ("webhook-timestamp", "01614265330"),
        ("webhook-timestamp", "١٦١٤٢٦٥٣٣٠"),
        ("webhook-timestamp", "1614265331"),
        ("webhook-signature", ""),
        ("webhook-signature", SIGNATURE.replace("v1,", "v1a,")),
        ("webhook-signature", SIGNATURE.replace("v1,", "v2,")),
        ("webhook-signature", "v1,!!"),
        ("webhook-signature", "v1"),
    ],
)
def test_a_delivery_that_was_touched_is_refused(name: str, value: str) -> None:
    fields = headers(ID, TIME_S, SIGNATURE)
    key = public_text(make_secret(Scheme.V1A, chance).public)
    verifier = Verifier([SECRET, key])
    assert verifier.verify({each.title(): text for each, text in fields.items()}, BODY, now_s=TIME_S) == ID
    for changed, body in ((fields | {name: value}, BODY), (fields, BODY + b" ")):
        with pytest.raises(TrinityError) as caught:
            verifier.verify(changed, body, now_s=TIME_S)
        assert caught.value.reason is Reason.INVALID_SIGNATURE


@pytest.mark.parametrize("drift", [-301, 301])
def test_a_delivery_of_another_time_is_refused(drift: int) -> None:
    with pytest.raises(TrinityError):
        Verifier([SECRET]).verify(headers(ID, TIME_S, SIGNATURE), BODY, now_s=TIME_S + drift)


@pytest.mark.parametrize("keys", [[], ["secret"], ["whsec_!"], ["whpk_AAAA"]])
def test_a_verifier_without_a_right_key_is_none_and_shows_nothing(keys: list[str]) -> None:
    with pytest.raises(ValueError, match="key|base64") as caught:
        Verifier(keys)
    assert all(key.partition("_")[2] not in str(caught.value) for key in keys if "_" in key)


def test_what_goes_to_many_with_one_secret_is_signed_once_and_memory_is_bounded() -> None:
    made, signer = Signatures(entries_max=2), Signer(read_secret(SECRET), secret="s")
    for _ in range(100):
        made.header([signer], ID, TIME_S, BODY)
    assert made.signed == 1
    # Another body under the same id is another signature.
    assert made.header([signer], ID, TIME_S, b"{}") == signer.sign(ID, TIME_S, b"{}")
    for number in range(10):
        made.header([signer], f"msg_{number}", TIME_S, BODY)
    assert len(made._made) == 2
