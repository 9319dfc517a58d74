"""WebhookService: its RPCs, by what they are about, and the service as a server takes it."""

from __future__ import annotations

from trinity.webhook.v1 import webhook_service_pb2_grpc
from trinity_mesh.server import Service
from trinity_webhook.deciding import DESCRIPTOR
from trinity_webhook.delivery_calls import DeliveryCalls
from trinity_webhook.endpoint_calls import EndpointCalls
from trinity_webhook.notice_calls import NoticeCalls
from trinity_webhook.subscription_calls import SubscriptionCalls


class WebhookServicer(
    EndpointCalls, SubscriptionCalls, DeliveryCalls, NoticeCalls, webhook_service_pb2_grpc.WebhookServiceServicer
):
    """The RPCs. Requests were judged by their contract's rules before they come here."""


def service(servicer: WebhookServicer) -> Service:
    """The servicer as a server takes it."""
    return Service(
        descriptor=DESCRIPTOR,
        add=lambda server: webhook_service_pb2_grpc.add_WebhookServiceServicer_to_server(servicer, server),
    )
