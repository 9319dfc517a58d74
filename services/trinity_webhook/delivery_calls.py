"""The RPCs about deliveries: the log, and sending again."""

from __future__ import annotations

from typing import Final

from trinity.webhook.v1 import webhook_pb2
from trinity_core.errors import invalid_field
from trinity_core.webhook_errors import unknown_delivery
from trinity_core.webhooks import DeliveryClass
from trinity_webhook.asking import filter_of, range_of
from trinity_webhook.calls import PAGE_SIZE, Calls, Context
from trinity_webhook.deciding import caller_of, check_active, may, those_of
from trinity_webhook.encoding import (
    delivery_to_message,
    logged_to_message,
)
from trinity_webhook.places import query_of_filter

_ATTEMPTS_MAX: Final = 20
_REPLAY_MAX: Final = 1_000


class DeliveryCalls(Calls):
    """See WebhookServicer."""

    async def ListDeliveries(  # noqa: N802 - named by the contract
        self, request: webhook_pb2.ListDeliveriesRequest, context: Context
    ) -> webhook_pb2.ListDeliveriesResponse:
        """See webhook_service.proto."""
        caller = caller_of(context, "ListDeliveries")
        wanted = filter_of(request, associate=those_of(caller, request.associate))
        if request.endpoint:
            await self.standing(caller, request.endpoint)
        if request.subscription:
            await self.subscription(caller, request.subscription)
        query = query_of_filter("ListDeliveries", wanted)
        size = request.page_size or PAGE_SIZE
        after = self.parts.places.read(request.page_token, query)
        found = await self.parts.log.list_deliveries(wanted, after=after, limit=size + 1, attempts_max=_ATTEMPTS_MAX)
        token = ""
        if found[size:]:
            last = found[size - 1].delivery
            token = self.parts.places.make((last.create_time_ns, last.delivery), query)
        return webhook_pb2.ListDeliveriesResponse(
            deliveries=map(logged_to_message, found[:size]), next_page_token=token
        )

    async def Redeliver(  # noqa: N802 - named by the contract
        self, request: webhook_pb2.RedeliverRequest, context: Context
    ) -> webhook_pb2.RedeliverResponse:
        """See webhook_service.proto."""
        caller = caller_of(context, "Redeliver")
        found = await self.parts.log.find_delivery(request.delivery)
        if found is None or not may(caller, found.associate):
            raise unknown_delivery(request.delivery)
        if found.kind not in (DeliveryClass.ALERT, DeliveryClass.TEST):
            raise invalid_field(
                "delivery", "only alerts and tests are sent again: ticks and challenges are of their moment"
            )
        check_active((await self.standing(caller, found.endpoint)).endpoint)
        again = await self.parts.log.redeliver(request.delivery, due_ns=self.now_ns())
        return webhook_pb2.RedeliverResponse(delivery=delivery_to_message(again))

    async def ReplayRange(  # noqa: N802 - named by the contract
        self, request: webhook_pb2.ReplayRangeRequest, context: Context
    ) -> webhook_pb2.ReplayRangeResponse:
        """See webhook_service.proto."""
        caller = caller_of(context, "ReplayRange")
        wanted = range_of(request)
        check_active((await self.standing(caller, request.endpoint)).endpoint)
        if request.subscription:
            await self.subscription(caller, request.subscription)
        query = query_of_filter("ReplayRange", wanted)
        after = self.parts.places.read(request.page_token, query)
        count, rest = await self.parts.log.replay(wanted, after=after, due_ns=self.now_ns(), limit=_REPLAY_MAX)
        return webhook_pb2.ReplayRangeResponse(
            count=count, next_page_token="" if rest is None else self.parts.places.make(rest, query)
        )
