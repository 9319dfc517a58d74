"""The RPCs about endpoints: making, changing, proving who owns them, new secrets, tests."""

from __future__ import annotations

from trinity.webhook.v1 import webhook_pb2
from trinity_core.errors import invalid_field
from trinity_core.webhook_errors import unknown_endpoint
from trinity_core.webhooks import DeliveryClass
from trinity_mesh.wire import stamp
from trinity_webhook.calls import PAGE_SIZE, Calls, Context
from trinity_webhook.deciding import caller_of, check_active, own_endpoint, those_of, whose
from trinity_webhook.encoding import (
    delivery_to_message,
    endpoint_to_message,
    keys_to_messages,
)
from trinity_webhook.places import query_of
from trinity_webhook.registering import Answering, wrong_challenge


class EndpointCalls(Calls):
    """See WebhookServicer."""

    async def CreateEndpoint(  # noqa: N802 - named by the contract
        self, request: webhook_pb2.CreateEndpointRequest, context: Context
    ) -> webhook_pb2.CreateEndpointResponse:
        """See webhook_service.proto."""
        caller = caller_of(context, "CreateEndpoint")
        associate = whose(caller, request.associate or caller.associate)
        if not associate:
            raise invalid_field("associate", "it is needed; name the associate that the endpoint is for")
        now_ns = self.now_ns()
        registration = self.parts.registrar.register(request, associate=associate, now_ns=now_ns)
        made = await self.parts.repo.create_endpoint(associate, registration.make)
        return webhook_pb2.CreateEndpointResponse(
            endpoint=endpoint_to_message(made, now_ns=now_ns), secret=registration.secret
        )

    async def GetEndpoint(  # noqa: N802 - named by the contract
        self, request: webhook_pb2.GetEndpointRequest, context: Context
    ) -> webhook_pb2.GetEndpointResponse:
        """See webhook_service.proto."""
        found = await self.standing(caller_of(context, "GetEndpoint"), request.endpoint)
        return webhook_pb2.GetEndpointResponse(endpoint=endpoint_to_message(found, now_ns=self.now_ns()))

    async def ListEndpoints(  # noqa: N802 - named by the contract
        self, request: webhook_pb2.ListEndpointsRequest, context: Context
    ) -> webhook_pb2.ListEndpointsResponse:
        """See webhook_service.proto."""
        associate = those_of(caller_of(context, "ListEndpoints"), request.associate)
        query = query_of("ListEndpoints", associate)
        size = request.page_size or PAGE_SIZE
        after = self.parts.places.read(request.page_token, query)
        found = await self.parts.repo.list_endpoints(associate=associate, after=after, limit=size + 1)
        now_ns = self.now_ns()
        token = ""
        if found[size:]:
            last = found[size - 1].endpoint
            token = self.parts.places.make((last.create_time_ns, last.endpoint), query)
        return webhook_pb2.ListEndpointsResponse(
            endpoints=[endpoint_to_message(each, now_ns=now_ns) for each in found[:size]], next_page_token=token
        )

    async def UpdateEndpoint(  # noqa: N802 - named by the contract
        self, request: webhook_pb2.UpdateEndpointRequest, context: Context
    ) -> webhook_pb2.UpdateEndpointResponse:
        """See webhook_service.proto."""
        caller = caller_of(context, "UpdateEndpoint")
        now_ns = self.now_ns()
        change = self.parts.registrar.update(request, now_ns=now_ns, check=own_endpoint(caller))
        if "url" in request.update_mask.paths or request.endpoint.url:
            await self.standing(caller, request.endpoint.endpoint)
            await self.check_asked(request.endpoint.endpoint, DeliveryClass.CHALLENGE, now_ns)
        changed = await self.parts.repo.change_endpoint(request.endpoint.endpoint, change)
        return webhook_pb2.UpdateEndpointResponse(endpoint=endpoint_to_message(changed, now_ns=now_ns))

    async def DeleteEndpoint(  # noqa: N802 - named by the contract
        self, request: webhook_pb2.DeleteEndpointRequest, context: Context
    ) -> webhook_pb2.DeleteEndpointResponse:
        """See webhook_service.proto."""
        await self.parts.repo.delete_endpoint(request.endpoint, own_endpoint(caller_of(context, "DeleteEndpoint")))
        return webhook_pb2.DeleteEndpointResponse()

    async def VerifyEndpoint(  # noqa: N802 - named by the contract
        self, request: webhook_pb2.VerifyEndpointRequest, context: Context
    ) -> webhook_pb2.VerifyEndpointResponse:
        """See webhook_service.proto."""
        caller = caller_of(context, "VerifyEndpoint")
        now_ns = self.now_ns()
        check = own_endpoint(caller)
        if request.challenge:
            answer = Answering(request.challenge, now_ns=now_ns, check=check)
            standing = await self.parts.repo.change_endpoint(request.endpoint, answer.change)
            if not answer.right:
                raise wrong_challenge()
            return webhook_pb2.VerifyEndpointResponse(endpoint=endpoint_to_message(standing, now_ns=now_ns))
        await self.standing(caller, request.endpoint)
        await self.check_asked(request.endpoint, DeliveryClass.CHALLENGE, now_ns)
        standing = await self.parts.repo.change_endpoint(
            request.endpoint, self.parts.registrar.challenge(now_ns=now_ns, check=check)
        )
        assert standing.challenge is not None
        return webhook_pb2.VerifyEndpointResponse(
            endpoint=endpoint_to_message(standing, now_ns=now_ns),
            challenge_expire_time=stamp(standing.challenge.expire_time_ns),
        )

    async def RotateSecret(  # noqa: N802 - named by the contract
        self, request: webhook_pb2.RotateSecretRequest, context: Context
    ) -> webhook_pb2.RotateSecretResponse:
        """See webhook_service.proto."""
        caller = caller_of(context, "RotateSecret")
        now_ns = self.now_ns()
        rotation = self.parts.registrar.rotate(request, now_ns=now_ns, check=own_endpoint(caller))
        standing = await self.parts.repo.change_endpoint(request.endpoint, rotation.change)
        return webhook_pb2.RotateSecretResponse(
            endpoint=endpoint_to_message(standing, now_ns=now_ns), secret=rotation.secret()
        )

    async def GetKeySet(  # noqa: N802 - named by the contract
        self, request: webhook_pb2.GetKeySetRequest, context: Context
    ) -> webhook_pb2.GetKeySetResponse:
        """See webhook_service.proto."""
        found = await self.parts.repo.get_endpoint(request.endpoint)
        if found is None:
            raise unknown_endpoint(request.endpoint)
        return webhook_pb2.GetKeySetResponse(keys=keys_to_messages(found.secrets, now_ns=self.now_ns()))

    async def SendTest(  # noqa: N802 - named by the contract
        self, request: webhook_pb2.SendTestRequest, context: Context
    ) -> webhook_pb2.SendTestResponse:
        """See webhook_service.proto."""
        standing = await self.standing(caller_of(context, "SendTest"), request.endpoint)
        check_active(standing.endpoint)
        now_ns = self.now_ns()
        await self.check_asked(request.endpoint, DeliveryClass.TEST, now_ns)
        made = await self.parts.log.enqueue(self.parts.registrar.test(standing.endpoint, now_ns=now_ns))
        return webhook_pb2.SendTestResponse(delivery=delivery_to_message(made))
