"""The rows of the webhook service: whom each of its RPCs is for, and every way to name another's thing in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from account.tenant_things import Ask, Commons, Own, Publics, Row, Things
from trinity.webhook.v1 import webhook_pb2 as webhook
from trinity_mesh.wire import stamp

REPLAYED_NS = (10**9, 2 * 10**9)
"""The time that is to be sent again: one's own alert is of it."""
_NEW_URL = "https://hooks.trinity.example/new"


def a_rule(**fields: Any) -> webhook.Subscription:
    """A subscription as it may be had many times over."""
    crossing = webhook.Crossing(direction=webhook.DIRECTION_UP, threshold="100000")
    return webhook.Subscription(assets=["BTC"], crossing=crossing, **fields)


def replay(endpoint: str, **more: Any) -> webhook.ReplayRangeRequest:
    """A time to be sent again."""
    return webhook.ReplayRangeRequest(
        endpoint=endpoint, start_time=stamp(REPLAYED_NS[0]), end_time=stamp(REPLAYED_NS[1]), **more
    )


def _named(make: Callable[..., Any], *names: str) -> Mapping[str, Ask]:
    """The things of some kinds, each in the field of its name."""

    def asking(field: str, name: str) -> Ask:
        return lambda _, whose: make(**{field: getattr(whose, name)})

    return {name: asking(field, name) for field, _, name in (each.rpartition("=") for each in names)}


def _lists(make: Callable[..., Any], *filters: str) -> Mapping[str, Ask]:
    """How a list may be asked for what is another's: whose it is, by its filters, with a token."""
    method = make.__name__.removesuffix("Request")

    def of(name: str) -> Mapping[str, Ask]:
        return {
            name: lambda _, whose: make(**{name: getattr(whose, name)}),
            f"{name} under one's own associate": lambda own, whose: make(
                associate=own.associate, **{name: getattr(whose, name)}
            ),
        }

    found: dict[str, Ask] = {"associate": lambda _, whose: make(associate=whose.associate)}
    for each in filters:
        found |= of(each)
    return found | {
        "token": lambda _, whose: make(page_token=whose.tokens[method], page_size=1),
        "token and associate": lambda own, whose: make(
            page_token=whose.tokens[method], page_size=1, associate=own.associate
        ),
    }


def _tried(samples: Mapping[int, str]) -> webhook.EvaluateRuleRequest:
    prices = [webhook.PriceSample(asset="BTC", time=stamp(at), price=price) for at, price in samples.items()]
    return webhook.EvaluateRuleRequest(subscription=a_rule(), samples=prices)


def _update(whose: Things, **fields: Any) -> webhook.UpdateEndpointRequest:
    return webhook.UpdateEndpointRequest(endpoint=webhook.Endpoint(endpoint=whose.pending, **fields))


WEBHOOK_ROWS: Mapping[str, Row] = {
    "WebhookService.CreateEndpoint": Own(
        {
            "associate": lambda _, whose: webhook.CreateEndpointRequest(
                endpoint=webhook.Endpoint(url=_NEW_URL), associate=whose.associate
            )
        },
        unnamed=(webhook.CreateEndpointRequest(endpoint=webhook.Endpoint(url=_NEW_URL)),),
    ),
    "WebhookService.GetEndpoint": Own(_named(webhook.GetEndpointRequest, "endpoint=endpoint", "endpoint=pending")),
    "WebhookService.ListEndpoints": Own(
        _lists(webhook.ListEndpointsRequest),
        unnamed=(webhook.ListEndpointsRequest(), webhook.ListEndpointsRequest(page_size=1)),
    ),
    "WebhookService.UpdateEndpoint": Own(
        {
            "name": lambda _, whose: _update(whose, name="renamed"),
            "address": lambda _, whose: _update(whose, url=_NEW_URL),
            "mask": lambda _, whose: webhook.UpdateEndpointRequest(
                endpoint=webhook.Endpoint(endpoint=whose.endpoint, rate_per_s=1),
                update_mask=FieldMask(paths=["rate_per_s"]),
            ),
            "nothing": lambda _, whose: _update(whose),
        }
    ),
    "WebhookService.DeleteEndpoint": Own(_named(webhook.DeleteEndpointRequest, "endpoint=to_drop"), is_mute=True),
    "WebhookService.VerifyEndpoint": Own(
        {
            "wrong challenge": lambda _, whose: webhook.VerifyEndpointRequest(
                endpoint=whose.endpoint, challenge=whose.challenge
            ),
            "challenge": lambda _, whose: webhook.VerifyEndpointRequest(
                endpoint=whose.to_prove, challenge=whose.challenge
            ),
            "id": lambda _, whose: webhook.VerifyEndpointRequest(endpoint=whose.endpoint),
        },
        own_reason={"wrong challenge": "WRONG_CHALLENGE"},
    ),
    "WebhookService.RotateSecret": Own(_named(webhook.RotateSecretRequest, "endpoint=endpoint", "endpoint=pending")),
    "WebhookService.GetKeySet": Publics(lambda whose: webhook.GetKeySetRequest(endpoint=whose.endpoint)),
    "WebhookService.SendTest": Own(
        _named(webhook.SendTestRequest, "endpoint=endpoint", "endpoint=pending"),
        own_reason={"pending": "ENDPOINT_NOT_ACTIVE"},
    ),
    "WebhookService.CreateSubscription": Own(
        {
            "id": lambda _, whose: webhook.CreateSubscriptionRequest(endpoint=whose.endpoint, subscription=a_rule()),
            "id beside one's own": lambda own, whose: webhook.CreateSubscriptionRequest(
                endpoint=whose.endpoint, subscription=a_rule(subscription=own.subscription, endpoint=own.endpoint)
            ),
        }
    ),
    "WebhookService.GetSubscription": Own(_named(webhook.GetSubscriptionRequest, "subscription=subscription")),
    "WebhookService.ListSubscriptions": Own(
        _lists(webhook.ListSubscriptionsRequest, "endpoint"),
        unnamed=(webhook.ListSubscriptionsRequest(), webhook.ListSubscriptionsRequest(page_size=1)),
    ),
    "WebhookService.UpdateSubscription": Own(
        {
            "name": lambda _, whose: webhook.UpdateSubscriptionRequest(
                subscription=webhook.Subscription(subscription=whose.subscription, name="renamed")
            ),
            "id under one's own endpoint": lambda own, whose: webhook.UpdateSubscriptionRequest(
                subscription=webhook.Subscription(subscription=whose.subscription, endpoint=own.endpoint, name="moved"),
                update_mask=FieldMask(paths=["name"]),
            ),
        }
    ),
    "WebhookService.DeleteSubscription": Own(
        _named(webhook.DeleteSubscriptionRequest, "subscription=to_end"), is_mute=True
    ),
    "WebhookService.EvaluateRule": Commons(_tried({10**9: "99999", 2 * 10**9: "100001"})),
    "WebhookService.ListDeliveries": Own(
        _lists(webhook.ListDeliveriesRequest, "endpoint", "subscription"),
        unnamed=(webhook.ListDeliveriesRequest(), webhook.ListDeliveriesRequest(classes=[webhook.DELIVERY_CLASS_TEST])),
    ),
    "WebhookService.ListNotices": Own(
        _lists(webhook.ListNoticesRequest),
        unnamed=(webhook.ListNoticesRequest(), webhook.ListNoticesRequest(page_size=9)),
    ),
    "WebhookService.Redeliver": Own(
        _named(webhook.RedeliverRequest, "delivery=delivery", "delivery=asked"),
        own_reason={"asked": "INVALID_FIELD"},
    ),
    "WebhookService.ReplayRange": Own(
        {
            "id": lambda _, whose: replay(whose.endpoint),
            "failed": lambda _, whose: replay(whose.endpoint, failed_only=True),
            "subscription": lambda own, whose: replay(own.endpoint, subscription=whose.subscription),
            "both": lambda _, whose: replay(whose.endpoint, subscription=whose.subscription),
            "token": lambda own, whose: replay(own.endpoint, page_token=whose.tokens["ReplayRange"]),
        },
        is_mute=True,
    ),
}
"""By "Service.Method"."""
