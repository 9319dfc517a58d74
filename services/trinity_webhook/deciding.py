"""Whose things may be touched: by the caller's principal, in the same words for another's and for nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import grpc.aio

from trinity.webhook.v1 import webhook_service_pb2
from trinity_admission.principal import ADMIN, Principal, principal_of, require
from trinity_core.account_errors import unknown_associate
from trinity_core.errors import Reason, TrinityError
from trinity_core.webhook_errors import unknown_endpoint, unknown_subscription
from trinity_core.webhooks import Endpoint, EndpointState, Subscription
from trinity_mesh.validate import method_rules

DESCRIPTOR: Final = webhook_service_pb2.DESCRIPTOR.services_by_name["WebhookService"]
_SCOPES: Final = {method.name: tuple(method_rules(method.GetOptions()).scopes) for method in DESCRIPTOR.methods}


def caller_of(context: grpc.aio.ServicerContext[Any, Any], method: str) -> Principal:
    """Who asks. Raises TrinityError where nobody does, or MISSING_SCOPE by the contract's scopes of the method."""
    principal = principal_of(context)
    for scope in _SCOPES[method]:
        require(principal, scope)
    return principal


def may(caller: Principal, associate: str) -> bool:
    """Whether an associate's things are the caller's to see and change."""
    return associate == caller.associate or caller.holds(ADMIN)


def whose(caller: Principal, associate: str) -> str:
    """An associate that the caller may act for. Raises UNKNOWN_ASSOCIATE for one that is another's."""
    if not may(caller, associate):
        raise unknown_associate(associate)
    return associate


def those_of(caller: Principal, associate: str) -> str | None:
    """Whose things a list is of; None: everybody's."""
    everybody = not associate and caller.holds(ADMIN)
    return None if everybody else whose(caller, associate or caller.associate)


def own_endpoint(caller: Principal) -> Callable[[Endpoint], None]:
    """What raises UNKNOWN_ENDPOINT for another's."""

    def check(endpoint: Endpoint) -> None:
        if not may(caller, endpoint.associate):
            raise unknown_endpoint(endpoint.endpoint)

    return check


def own_subscription(caller: Principal) -> Callable[[Subscription], None]:
    """What raises UNKNOWN_SUBSCRIPTION for another's."""

    def check(subscription: Subscription) -> None:
        if not may(caller, subscription.associate):
            raise unknown_subscription(subscription.subscription)

    return check


def check_active(endpoint: Endpoint) -> None:
    """Raise ENDPOINT_NOT_ACTIVE for an endpoint that must not be called."""
    if endpoint.state is not EndpointState.ACTIVE:
        raise TrinityError(
            Reason.ENDPOINT_NOT_ACTIVE,
            f"the endpoint is {endpoint.state.name.lower()}; let it answer its challenge first (VerifyEndpoint)",
            {"state": endpoint.state.name},
        )
