"""Receivers of webhooks take what is genuine and fresh, by any key they hold, and nothing else."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from standardwebhooks import Webhook

from trinity_client import WebhookVerifier, webhook_verify
from trinity_core.errors import Reason, TrinityError
from trinity_core.webhook_datagram import Head, beat
from trinity_core.webhook_secrets import Scheme, SecretValue, public_text
from trinity_core.webhook_signing import Signer, headers
from trinity_mesh.clock import SystemClock

BODY = b'{"type":"webhook.test","timestamp":"2026-01-02T03:04:05Z","data":{"endpoint":"whe_1"}}'
NOW_S = 1_767_322_800
V1 = SecretValue(Scheme.V1, bytes(range(32)))
NEW = SecretValue(Scheme.V1, bytes(range(1, 33)))
V1A = SecretValue(Scheme.V1A, bytes(range(2, 34)))
PUBLIC = public_text(V1A.public)


class Clock:
    def __init__(self, now_s: int = NOW_S) -> None:
        self.now_s = now_s

    def unix_ns(self) -> int:
        return self.now_s * 10**9

    def monotonic_ns(self) -> int:
        return 0

    async def sleep(self, seconds: float) -> None:
        raise AssertionError


def fields(*values: SecretValue, body: bytes = BODY, now_s: int = NOW_S) -> dict[str, str]:
    signature = " ".join(Signer(value, secret="whk_1").sign("msg_1", now_s, body) for value in values)
    return headers("msg_1", now_s, signature)


def verifier(*keys: str, now_s: int = NOW_S) -> WebhookVerifier:
    return WebhookVerifier(keys, clock=Clock(now_s))


@pytest.mark.parametrize(("value", "key"), [(V1, V1.text), (V1A, PUBLIC)], ids=["v1", "v1a"])
def test_a_genuine_delivery_is_read(value: SecretValue, key: str) -> None:
    found = verifier(key).verify({name.title(): text for name, text in fields(value).items()}, BODY)
    assert (found.message, found.signed_s, found.type, found.data) == (
        "msg_1", NOW_S, "webhook.test", {"endpoint": "whe_1"},
    )  # fmt: skip
    assert found.challenge == ""


@pytest.mark.parametrize("held", [[V1.text], [NEW.text], [V1.text, NEW.text], [PUBLIC], [V1.text, PUBLIC]])
def test_any_key_that_is_held_will_do_while_secrets_rotate(held: list[str]) -> None:
    assert verifier(*held).verify(fields(NEW, V1, V1A), BODY).message == "msg_1"


def test_a_signature_of_a_key_that_is_not_held_is_nothing() -> None:
    for value, key in ((V1, NEW.text), (V1A, V1.text), (V1, PUBLIC)):
        with pytest.raises(TrinityError, match="no signature") as caught:
            verifier(key).verify(fields(value), BODY)
        assert caught.value.reason is Reason.INVALID_SIGNATURE


@pytest.mark.parametrize("drift_s", [-300, 300])
def test_a_timestamp_within_the_tolerance_is_taken_and_a_second_more_is_not(drift_s: int) -> None:
    verifier(V1.text, now_s=NOW_S + drift_s).verify(fields(V1), BODY)
    beyond = drift_s + (1 if drift_s > 0 else -1)
    with pytest.raises(TrinityError, match="further than 300 s"):
        verifier(V1.text, now_s=NOW_S + beyond).verify(fields(V1), BODY)


@pytest.mark.parametrize("change", ["body", "webhook-id", "webhook-timestamp", "webhook-signature"])
def test_nothing_of_a_delivery_can_be_changed(change: str) -> None:
    given, body = fields(V1), BODY
    if change == "body":
        body = BODY.replace(b"whe_1", b"whe_2")
    elif change == "webhook-signature":
        given[change] = given[change].replace("v1,", "v1a,")
    else:
        given[change] = {"webhook-id": "msg_2", "webhook-timestamp": str(NOW_S + 1)}[change]
    with pytest.raises(TrinityError):
        verifier(V1.text, PUBLIC).verify(given, body)


def test_a_signature_of_v1a_is_the_one_that_the_specification_says() -> None:
    given = fields(V1A)
    signature = Ed25519PrivateKey.from_private_bytes(V1A.data).sign(b"msg_1.%d.%b" % (NOW_S, BODY))
    given["webhook-signature"] = "v1a," + base64.b64encode(signature).decode()
    assert verifier(PUBLIC).verify(given, BODY).message == "msg_1"


def test_a_challenge_tells_its_answer() -> None:
    body = b'{"type":"webhook.challenge","timestamp":"x","data":{"endpoint":"whe_1","challenge":"abc"}}'
    assert verifier(V1.text).verify(fields(V1, body=body), body).challenge == "abc"


@pytest.mark.parametrize("body", [b"", b"[]", b'{"type":"x"}', b"\xff"])
def test_a_signed_body_of_another_kind_is_refused(body: bytes) -> None:
    with pytest.raises(TrinityError, match="no delivery of this kind"):
        verifier(V1.text).verify(fields(V1, body=body), body)


@pytest.mark.parametrize("keys", [[], ["abc"], ["whsec_!"], ["whpk_AAAA"]])
def test_a_key_that_is_none_is_said_so_and_not_shown(keys: list[str]) -> None:
    with pytest.raises(ValueError, match="key|base64") as caught:
        verifier(*keys)
    assert not any(key.partition("_")[2] in str(caught.value) for key in keys if len(key) > 6)


def test_the_function_takes_what_the_official_package_signs_now() -> None:
    now_s = SystemClock().unix_ns() // 10**9
    signature = Webhook(V1.text).sign("msg_1", datetime.fromtimestamp(now_s, UTC), BODY.decode())
    given = {"webhook-id": "msg_1", "webhook-timestamp": str(now_s), "webhook-signature": signature}
    assert webhook_verify(given, BODY, [V1.text]).data == json.loads(BODY)["data"]


def documented(number: int) -> dict[str, Any]:
    """What the page's example of webhooks of that number defines, with our secret for its own."""
    page = (Path(__file__).resolve().parents[2] / "docs/clients/python.md").read_text().partition("\n## Webhooks\n")[2]
    block = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)[number]
    names: dict[str, Any] = {}
    exec(compile(block.replace("whsec_…", V1.text), "python.md", "exec"), names)
    return names


def test_the_example_of_a_receiver_runs(capsys: pytest.CaptureFixture[str]) -> None:
    receive: Callable[[dict[str, str], bytes], tuple[int, str]] = documented(0)["receive"]
    now_s = SystemClock().unix_ns() // 10**9
    for _ in range(2):
        assert receive(fields(V1, now_s=now_s), BODY) == (204, "")
    assert capsys.readouterr().out == "webhook.test {'endpoint': 'whe_1'}\n"
    assert receive(fields(NEW, now_s=now_s), BODY) == (401, "no signature is one of the keys'")
    challenge = b'{"type":"webhook.challenge","timestamp":"x","data":{"challenge":"abc"}}'
    assert receive(fields(V1, body=challenge, now_s=now_s), challenge) == (200, "abc")


def test_the_example_of_datagrams_runs(capsys: pytest.CaptureFixture[str]) -> None:
    class Transport:
        sent: list[tuple[bytes, Any]] = []  # noqa: RUF012 # one test's

        def sendto(self, data: bytes, addr: Any) -> None:
            self.sent.append((data, addr))

    prices = documented(1)["Prices"]()
    prices.connection_made(Transport())
    head = Head("whe_1", "0a", 1, SystemClock().unix_ns() // 10**9)
    prices.datagram_received(beat(head, "00", [V1.data]), "peer")
    prices.datagram_received(beat(head, "00", [NEW.data]), "peer")
    assert [addr for _, addr in Transport.sent] == ["peer"]
    assert "no MAC is one of the keys'" in capsys.readouterr().out
