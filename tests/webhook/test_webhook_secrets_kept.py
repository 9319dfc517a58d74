"""No secret is anywhere but in the answer that shows it once: not in the database, a log, an error or a list."""

from __future__ import annotations

import base64
import json
import logging

import pytest

from trinity.webhook.v1 import webhook_pb2
from trinity_core.errors import TrinityError
from trinity_core.webhook_secrets import Scheme
from trinity_core.webhook_signing import Signer, Verifier, headers
from trinity_webhook.main import sealer_of
from webhook.small_webhook import SECRETS, SmallWebhook

BOTH = [webhook_pb2.SCHEME_V1, webhook_pb2.SCHEME_V1A]


async def test_a_secret_is_in_no_table_log_error_or_answer(
    webhook: SmallWebhook, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    made = await webhook.endpoint(schemes=BOTH)
    rotated = await webhook.demo(webhook_pb2.RotateSecretRequest(endpoint=made.endpoint.endpoint))
    own = "whsec_" + base64.b64encode(b"a secret that I brought along").decode()
    await webhook.endpoint(secret=own)
    with pytest.raises(TrinityError) as caught:
        await webhook.endpoint(secret=own + "x", url="https://hooks.acme.example/")
    shown = [
        str(caught.value),
        str(await webhook.demo(webhook_pb2.ListEndpointsRequest())),
        str(await webhook.demo(webhook_pb2.ListDeliveriesRequest())),
        str(rotated.endpoint),
        caplog.text,
        *await dump(webhook),
    ]
    pairs = [await opened(webhook, each.secret_id) for each in rotated.endpoint.secrets]
    raws = [base64.b64decode(text.removeprefix("whsec_")) for text in (made.secret, rotated.secret, own)]
    for data in [*raws, *pairs]:
        for form in (data.hex(), base64.b64encode(data).decode().rstrip("="), str(data)[2:-1]):
            assert all(form not in text for text in shown)
    challenge = await webhook.challenge(made.endpoint.endpoint)
    assert challenge not in caplog.text


async def dump(webhook: SmallWebhook) -> list[str]:
    """Everything that the tables of webhooks hold, as text; bytes in hexadecimal."""
    tables = [
        row["tablename"]
        for row in await webhook.part.postgres.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'trinity' AND tablename LIKE 'webhook%'"
        )
    ]
    assert len(tables) >= 7
    found = []
    for table in tables:
        found += [row[0] for row in await webhook.part.postgres.fetch(f"SELECT t::text FROM trinity.{table} t")]
    return found


async def opened(webhook: SmallWebhook, secret: str) -> bytes:
    row = await webhook.part.postgres.fetch_row("SELECT * FROM trinity.webhook_secrets WHERE secret = $1", secret)
    assert row is not None
    sealer = sealer_of(SECRETS, random_bytes=bytes)
    return sealer.open(row["sealed"], Scheme(row["scheme"]), endpoint=row["endpoint"], secret=secret).data


async def test_what_is_sealed_signs_what_the_owner_can_verify(webhook: SmallWebhook) -> None:
    made = await webhook.endpoint(schemes=BOTH)
    name = made.endpoint.endpoint
    standing = await webhook.part.repo.get_endpoint(name)
    assert standing is not None
    sealer = sealer_of(SECRETS, random_bytes=bytes)
    body, now_s = json.dumps({"a": 1}).encode(), 1_790_000_000
    keys = await webhook.demo(webhook_pb2.GetKeySetRequest(endpoint=name))
    for secret in standing.secrets:
        value = sealer.open(secret.sealed, secret.scheme, endpoint=name, secret=secret.secret)
        signature = Signer(value, secret=secret.secret).sign("msg_1", now_s, body)
        key = made.secret if secret.scheme is Scheme.V1 else keys.keys[0].public_key
        assert Verifier([key]).verify(headers("msg_1", now_s, signature), body, now_s=now_s) == "msg_1"
