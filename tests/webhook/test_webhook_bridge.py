"""Webhooks over HTTP/JSON: the contract's routes through the bridge to the real service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from bridge_stage import Stage, serving_app
from trinity_admission.principal import metadata_of
from trinity_core.errors import Reason, TrinityError
from trinity_http import answer
from trinity_http.app import create_app
from trinity_http.main import open_upstream_channel, own_contract
from trinity_http.settings import GatewaySettings
from webhook.small_webhook import ADMIN, DEMO, OTHER, URL, SmallWebhook

KEYS = {"demo": DEMO, "other": OTHER, "admin": ADMIN}
Ask = Callable[..., Awaitable[httpx.Response]]


class Keys:
    """Knows KEYS; scopes are left to the service."""

    async def authenticate(self, key: str) -> answer.Principal:
        if key not in KEYS:
            raise TrinityError(Reason.INVALID_KEY, "no such key")
        return answer.Principal(KEYS[key].key_id, scopes=None, metadata=metadata_of(KEYS[key]))


@pytest.fixture
async def ask(webhook: SmallWebhook) -> AsyncIterator[Ask]:
    """Asks the bridge: method, path below /v1/webhooks, JSON body, key."""
    async with open_upstream_channel(webhook.config.listen) as channel:
        app = create_app(
            descriptor_set=own_contract(),
            channels={"trinity.webhook.v1.WebhookService": channel},
            settings=GatewaySettings(),
            authenticate=Keys(),
        )
        stage: Stage
        async with serving_app(app) as stage:

            async def asked(method: str, path: str, body: Any = None, *, key: str = "demo") -> httpx.Response:
                headers = {"authorization": f"Bearer {key}"} if key else {}
                return await stage.client.request(method, f"/v1/webhooks{path}", json=body, headers=headers)

            yield asked


async def test_a_customers_way_from_an_endpoint_to_its_log(ask: Ask, webhook: SmallWebhook) -> None:
    made = await ask("POST", "/endpoints", {"endpoint": {"url": URL, "schemes": ["SCHEME_V1A", "SCHEME_V1"]}})
    assert made.status_code == 200, made.text
    assert made.json()["secret"].startswith("whsec_")
    name = made.json()["endpoint"]["endpoint"]
    keys = await ask("GET", f"/endpoints/{name}/keys", key="")
    assert [each["publicKey"][:5] for each in keys.json()["keys"]] == ["whpk_"]
    verified = await ask("POST", f"/endpoints/{name}:verify", {"challenge": await webhook.challenge(name)})
    assert verified.json()["endpoint"]["state"] == "ENDPOINT_STATE_ACTIVE"
    rule = {"name": "high", "assets": ["BTC"], "crossing": {"direction": "DIRECTION_UP", "threshold": "65000"}}
    subscription = await ask("POST", f"/endpoints/{name}/subscriptions", rule)
    assert subscription.status_code == 200, subscription.text
    path = f"/subscriptions/{subscription.json()['subscription']}"
    changed = await ask("PATCH", path, {"crossing": {"direction": "DIRECTION_DOWN", "threshold": "5"}})
    assert changed.status_code == 200, changed.text
    assert (changed.json()["name"], changed.json()["crossing"]["threshold"]) == ("high", "5")
    paused = await ask("PATCH", f"/endpoints/{name}", {"paused": True})
    assert (paused.json()["paused"], paused.json()["url"]) == (True, URL)
    test = await ask("POST", f"/endpoints/{name}:test", {})
    assert test.json()["delivery"]["state"] == "DELIVERY_STATE_PENDING"
    log = await ask("GET", f"/deliveries?endpoint={name}&classes=test&states=pending")
    assert [each["delivery"] for each in log.json()["deliveries"]] == [test.json()["delivery"]["delivery"]]
    rotated = await ask("POST", f"/endpoints/{name}:rotateSecret", {"scheme": "SCHEME_V1", "overlap": "60s"})
    assert rotated.json()["secret"] not in ("", made.json()["secret"])
    assert (await ask("DELETE", path)).status_code == 200
    assert (await ask("DELETE", f"/endpoints/{name}")).status_code == 200
    assert (await ask("GET", f"/endpoints/{name}")).status_code == 404


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"endpoint": {"url": "https://10.0.0.1/"}}, "private"),
        ({"endpoint": {"url": "http://hooks.acme.example/"}}, "https"),
        ({"endpoint": {"url": URL}, "secret": "whsec_AAAA"}, "24 to 64"),
        ({"endpoint": {}}, "url"),
        ({}, "endpoint"),
    ],
)
async def test_what_cannot_be_registered_is_400_with_why(ask: Ask, body: Any, why: str) -> None:
    answered = await ask("POST", "/endpoints", body)
    assert answered.status_code == 400
    assert why in answered.json()["message"]


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ({"everyChange": {}, "assets": ["BTCC"]}, "BTCC"),
        ({"crossing": {"direction": "DIRECTION_UP", "threshold": "0"}}, "no price can cross"),
        ({"crossing": {"direction": "DIRECTION_UP", "threshold": "5", "hysteresis": "9"}}, "arm"),
        ({"percentMove": {"direction": "DIRECTION_UP", "percent": "5"}}, "window"),
        ({"assets": ["BTC"]}, "set one of"),
    ],
)
async def test_what_could_never_be_told_is_400_with_why(ask: Ask, webhook: SmallWebhook, rule: Any, why: str) -> None:
    owner = (await webhook.endpoint()).endpoint
    answered = await ask("POST", f"/endpoints/{owner.endpoint}/subscriptions", rule)
    assert answered.status_code == 400, answered.text
    assert why in answered.json()["message"]
    sample = {"asset": "BTC", "time": "2026-01-31T00:00:00Z", "price": "1"}
    tried = await ask("POST", "/subscriptions:evaluate", {"subscription": rule, "samples": [sample]})
    assert (tried.status_code, why in tried.json()["message"]) == (400, True)


async def test_another_key_finds_nothing_and_none_may_ask_for_keys_alone(ask: Ask, webhook: SmallWebhook) -> None:
    owner = (await webhook.endpoint()).endpoint
    assert (await ask("GET", f"/endpoints/{owner.endpoint}", key="other")).status_code == 404
    assert (await ask("GET", f"/endpoints/{owner.endpoint}", key="admin")).status_code == 200
    assert (await ask("GET", f"/endpoints/{owner.endpoint}", key="")).status_code == 401
    assert (await ask("GET", f"/endpoints/{owner.endpoint}/keys", key="")).status_code == 200
