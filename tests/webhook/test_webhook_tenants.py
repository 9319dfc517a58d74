"""Two associates side by side: what belongs to the other is NOT_FOUND, in the words of what does not exist."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import pytest

from trinity.webhook.v1 import webhook_pb2
from trinity_admission.principal import Principal
from trinity_core.errors import Reason, TrinityError
from trinity_mesh.wire import stamp
from webhook.small_webhook import URL, Caller, SmallWebhook

NOWHERE = "whe_000000000000000000000000"
NOTHING = "whs_000000000000000000000000"
NEVER = "msg_000000000000000000000000"


async def refused(call: Awaitable[object]) -> TrinityError:
    with pytest.raises(TrinityError) as caught:
        await call
    return caught.value


def requests(endpoint: str, subscription: str, delivery: str) -> list[Any]:
    """One of every RPC that names something."""
    return [
        webhook_pb2.GetEndpointRequest(endpoint=endpoint),
        webhook_pb2.UpdateEndpointRequest(endpoint=webhook_pb2.Endpoint(endpoint=endpoint, name="mine")),
        webhook_pb2.UpdateEndpointRequest(endpoint=webhook_pb2.Endpoint(endpoint=endpoint, url=URL + "x")),
        webhook_pb2.DeleteEndpointRequest(endpoint=endpoint),
        webhook_pb2.VerifyEndpointRequest(endpoint=endpoint),
        webhook_pb2.VerifyEndpointRequest(endpoint=endpoint, challenge="guess"),
        webhook_pb2.RotateSecretRequest(endpoint=endpoint),
        webhook_pb2.SendTestRequest(endpoint=endpoint),
        webhook_pb2.CreateSubscriptionRequest(
            endpoint=endpoint, subscription=webhook_pb2.Subscription(every_change=webhook_pb2.EveryChange())
        ),
        webhook_pb2.GetSubscriptionRequest(subscription=subscription),
        webhook_pb2.ListSubscriptionsRequest(endpoint=endpoint),
        webhook_pb2.UpdateSubscriptionRequest(
            subscription=webhook_pb2.Subscription(subscription=subscription, name="mine")
        ),
        webhook_pb2.DeleteSubscriptionRequest(subscription=subscription),
        webhook_pb2.ListDeliveriesRequest(endpoint=endpoint),
        webhook_pb2.ListDeliveriesRequest(subscription=subscription),
        webhook_pb2.RedeliverRequest(delivery=delivery),
        webhook_pb2.ReplayRangeRequest(endpoint=endpoint, start_time=stamp(0), end_time=stamp(10**9)),
    ]


async def test_anothers_things_are_not_found_in_the_same_words_as_nothing(webhook: SmallWebhook) -> None:
    owned = await webhook.active()
    subscription = await webhook.subscription(owned.endpoint)
    sent = (await webhook.demo(webhook_pb2.SendTestRequest(endpoint=owned.endpoint))).delivery
    before = await everything(webhook.demo, owned.endpoint)
    theirs = requests(owned.endpoint, subscription.subscription, sent.delivery)
    nobodys = requests(NOWHERE, NOTHING, NEVER)
    for request, other in zip(theirs, nobodys, strict=True):
        one, two = await refused(webhook.other(request)), await refused(webhook.other(other))
        assert one.row.http_status == 404, request
        assert one.reason is two.reason
        for name, value in ((owned.endpoint, NOWHERE), (subscription.subscription, NOTHING), (sent.delivery, NEVER)):
            one.message = one.message.replace(name, value)
        assert one.message == two.message
    assert await everything(webhook.demo, owned.endpoint) == before


async def everything(caller: Caller, endpoint: str) -> str:
    found = [
        await caller(webhook_pb2.GetEndpointRequest(endpoint=endpoint)),
        await caller(webhook_pb2.ListSubscriptionsRequest()),
        await caller(webhook_pb2.ListDeliveriesRequest()),
    ]
    return "\n".join(map(str, found))


async def test_lists_hold_ones_own_alone_and_everything_for_admins(webhook: SmallWebhook) -> None:
    for caller in (webhook.demo, webhook.other):
        made = await webhook.active(caller)
        await webhook.subscription(made.endpoint, caller)
    for request, field in (
        (webhook_pb2.ListEndpointsRequest, "endpoints"),
        (webhook_pb2.ListSubscriptionsRequest, "subscriptions"),
        (webhook_pb2.ListDeliveriesRequest, "deliveries"),
    ):

        async def owners(caller: Caller, associate: str = "", request: Any = request, field: str = field) -> set[str]:
            listed = await caller(request(associate=associate))
            return {each.associate for each in getattr(listed, field)}

        assert await owners(webhook.demo) == {"demo"}
        assert await owners(webhook.other) == {"other"}
        assert await owners(webhook.admin) == {"demo", "other"}
        assert await owners(webhook.admin, "other") == {"other"}
        assert (await refused(webhook.demo(request(associate="other")))).reason is Reason.UNKNOWN_ASSOCIATE


async def test_an_admin_acts_for_others_and_a_customer_does_not(webhook: SmallWebhook) -> None:
    request = webhook_pb2.CreateEndpointRequest(endpoint=webhook_pb2.Endpoint(url=URL), associate="demo")
    assert (await webhook.admin(request)).endpoint.associate == "demo"
    assert (await refused(webhook.other(request))).reason is Reason.UNKNOWN_ASSOCIATE
    request.associate = "nobody"
    assert (await refused(webhook.admin(request))).reason is Reason.UNKNOWN_ASSOCIATE
    nameless = webhook_pb2.CreateEndpointRequest(endpoint=webhook_pb2.Endpoint(url=URL))
    error = await refused(webhook.caller(None)(nameless))
    assert error.metadata["field"] == "associate"


async def test_every_call_but_the_public_keys_needs_the_scope(webhook: SmallWebhook) -> None:
    made = await webhook.endpoint(schemes=[webhook_pb2.SCHEME_V1A])
    weak = webhook.caller(Principal("weakkey", "demo", frozenset({"prices.read", "keys.manage"})))
    calls = [
        *requests(made.endpoint.endpoint, NOTHING, NEVER),
        webhook_pb2.CreateEndpointRequest(endpoint=webhook_pb2.Endpoint(url=URL)),
        webhook_pb2.ListEndpointsRequest(),
        webhook_pb2.EvaluateRuleRequest(
            subscription=webhook_pb2.Subscription(every_change=webhook_pb2.EveryChange()),
            samples=[webhook_pb2.PriceSample(asset="BTC", time=stamp(1), price="1")],
        ),
    ]
    for request in calls:
        assert (await refused(weak(request))).reason is Reason.MISSING_SCOPE, request
    keys = await weak(webhook_pb2.GetKeySetRequest(endpoint=made.endpoint.endpoint))
    assert [each.public_key for each in keys.keys] == [made.endpoint.secrets[0].public_key]
    assert keys.keys[0].public_key.startswith("whpk_")
