"""The RPCs about subscriptions, and the dry run."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from trinity.webhook.v1 import webhook_pb2
from trinity_core.errors import Reason, TrinityError
from trinity_core.webhook_store import Scope
from trinity_core.webhooks import Endpoint, Subscription, make_id
from trinity_webhook.calls import PAGE_SIZE, Calls, Context
from trinity_webhook.deciding import caller_of, own_endpoint, own_subscription, those_of
from trinity_webhook.encoding import (
    subscription_to_message,
)
from trinity_webhook.places import query_of
from trinity_webhook.reading import check_fits, check_text, read_assets, read_rule, subscription_change
from trinity_webhook.trying import try_rule

_ID_BYTES: Final = 15


class SubscriptionCalls(Calls):
    """See WebhookServicer."""

    async def CreateSubscription(  # noqa: N802 - named by the contract
        self, request: webhook_pb2.CreateSubscriptionRequest, context: Context
    ) -> webhook_pb2.CreateSubscriptionResponse:
        """See webhook_service.proto."""
        caller = caller_of(context, "CreateSubscription")
        message = request.subscription
        check_text("subscription.name", message.name)
        rule, assets = read_rule(message), read_assets(message.assets, self.parts.assets)
        now_ns, name = self.now_ns(), make_id("whs_", self.parts.random_bytes(_ID_BYTES))

        def make(endpoint: Endpoint, scope: Scope) -> Subscription:
            own_endpoint(caller)(endpoint)
            if len(scope.subscriptions) >= self.parts.subscriptions_max:
                raise TrinityError(
                    Reason.TOO_MANY_SUBSCRIPTIONS,
                    f"the endpoint has {self.parts.subscriptions_max} subscriptions already; delete one first",
                )
            made = Subscription(
                subscription=name,
                endpoint=endpoint.endpoint,
                associate=endpoint.associate,
                name=message.name,
                paused=message.paused,
                assets=assets,
                rule=rule,
                create_time_ns=now_ns,
                update_time_ns=now_ns,
            )
            check_fits(made, scope)
            return made

        made = await self.parts.repo.create_subscription(request.endpoint, make)
        return webhook_pb2.CreateSubscriptionResponse(subscription=subscription_to_message(made))

    async def GetSubscription(  # noqa: N802 - named by the contract
        self, request: webhook_pb2.GetSubscriptionRequest, context: Context
    ) -> webhook_pb2.GetSubscriptionResponse:
        """See webhook_service.proto."""
        found = await self.subscription(caller_of(context, "GetSubscription"), request.subscription)
        return webhook_pb2.GetSubscriptionResponse(subscription=subscription_to_message(found))

    async def ListSubscriptions(  # noqa: N802 - named by the contract
        self, request: webhook_pb2.ListSubscriptionsRequest, context: Context
    ) -> webhook_pb2.ListSubscriptionsResponse:
        """See webhook_service.proto."""
        caller = caller_of(context, "ListSubscriptions")
        associate = those_of(caller, request.associate)
        if request.endpoint:
            await self.standing(caller, request.endpoint)
        query = query_of("ListSubscriptions", associate, request.endpoint)
        size = request.page_size or PAGE_SIZE
        found = await self.parts.repo.list_subscriptions(
            associate=associate,
            endpoint=request.endpoint or None,
            after=self.parts.places.read(request.page_token, query),
            limit=size + 1,
        )
        token = ""
        if found[size:]:
            token = self.parts.places.make((found[size - 1].create_time_ns, found[size - 1].subscription), query)
        return webhook_pb2.ListSubscriptionsResponse(
            subscriptions=map(subscription_to_message, found[:size]), next_page_token=token
        )

    async def UpdateSubscription(  # noqa: N802 - named by the contract
        self, request: webhook_pb2.UpdateSubscriptionRequest, context: Context
    ) -> webhook_pb2.UpdateSubscriptionResponse:
        """See webhook_service.proto."""
        caller = caller_of(context, "UpdateSubscription")
        change = subscription_change(request, self.parts.assets)
        now_ns = self.now_ns()

        def changed(old: Subscription, scope: Scope) -> Subscription:
            own_subscription(caller)(old)
            new = change(old)
            if new == old:
                return old
            check_fits(new, scope)
            return replace(new, update_time_ns=now_ns)

        found = await self.parts.repo.change_subscription(request.subscription.subscription, changed)
        return webhook_pb2.UpdateSubscriptionResponse(subscription=subscription_to_message(found))

    async def DeleteSubscription(  # noqa: N802 - named by the contract
        self, request: webhook_pb2.DeleteSubscriptionRequest, context: Context
    ) -> webhook_pb2.DeleteSubscriptionResponse:
        """See webhook_service.proto."""
        check = own_subscription(caller_of(context, "DeleteSubscription"))
        await self.parts.repo.delete_subscription(request.subscription, check)
        return webhook_pb2.DeleteSubscriptionResponse()

    async def EvaluateRule(  # noqa: N802 - named by the contract
        self, request: webhook_pb2.EvaluateRuleRequest, context: Context
    ) -> webhook_pb2.EvaluateRuleResponse:
        """See webhook_service.proto."""
        caller_of(context, "EvaluateRule")
        return try_rule(request, self.parts.assets)
