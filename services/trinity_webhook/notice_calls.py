"""The RPC about notices: endpoints that were given up."""

from __future__ import annotations

from trinity.webhook.v1 import webhook_pb2
from trinity_core.webhook_store import notice_place
from trinity_webhook.calls import PAGE_SIZE, Calls, Context
from trinity_webhook.deciding import caller_of, those_of
from trinity_webhook.encoding import notice_to_message
from trinity_webhook.places import query_of


class NoticeCalls(Calls):
    """See WebhookServicer."""

    async def ListNotices(  # noqa: N802 - named by the contract
        self, request: webhook_pb2.ListNoticesRequest, context: Context
    ) -> webhook_pb2.ListNoticesResponse:
        """See webhook_service.proto."""
        associate = those_of(caller_of(context, "ListNotices"), request.associate)
        query = query_of("ListNotices", associate)
        size = request.page_size or PAGE_SIZE
        after = self.parts.places.read(request.page_token, query)
        found = await self.parts.repo.list_notices(associate=associate, after=after, limit=size + 1)
        token = self.parts.places.make(notice_place(found[size - 1]), query) if found[size:] else ""
        return webhook_pb2.ListNoticesResponse(notices=map(notice_to_message, found[:size]), next_page_token=token)
