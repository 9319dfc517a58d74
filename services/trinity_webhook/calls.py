"""What every RPC of the webhook service has at hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import grpc.aio

from trinity_admission.principal import Principal
from trinity_core.assets import AssetTable
from trinity_core.errors import Reason, TrinityError
from trinity_core.webhook_errors import unknown_endpoint, unknown_subscription
from trinity_core.webhook_store import DeliveryLog, Standing, WebhookRepo
from trinity_core.webhooks import DeliveryClass, Subscription
from trinity_mesh.clock import Clock
from trinity_webhook.deciding import own_endpoint, own_subscription
from trinity_webhook.places import Places
from trinity_webhook.registering import Registrar

PAGE_SIZE: Final = 100
_MINUTE_NS: Final = 60 * 10**9
Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a servicer is made of."""

    repo: WebhookRepo
    log: DeliveryLog
    registrar: Registrar
    places: Places
    assets: AssetTable
    clock: Clock
    random_bytes: Callable[[int], bytes]
    """Cryptographically strong."""
    subscriptions_max: int
    """Subscriptions that an endpoint may have."""
    asked_max: int
    """Challenges, and tests, to one endpoint in a minute."""


class Calls:
    """Base of the servicer's parts."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    async def standing(self, caller: Principal, endpoint: str) -> Standing:
        """An endpoint of the caller's. Raises UNKNOWN_ENDPOINT."""
        found = await self.parts.repo.get_endpoint(endpoint)
        if found is None:
            raise unknown_endpoint(endpoint)
        own_endpoint(caller)(found.endpoint)
        return found

    async def subscription(self, caller: Principal, subscription: str) -> Subscription:
        """A subscription of the caller's. Raises UNKNOWN_SUBSCRIPTION."""
        found = await self.parts.repo.get_subscription(subscription)
        if found is None:
            raise unknown_subscription(subscription)
        own_subscription(caller)(found)
        return found

    async def check_asked(self, endpoint: str, kind: DeliveryClass, now_ns: int) -> None:
        """Raise RATE_LIMITED where an endpoint was sent enough of a kind in a minute: it may be a stranger's."""
        sent = await self.parts.log.count_recent(endpoint, kind, since_ns=now_ns - _MINUTE_NS)
        if sent >= self.parts.asked_max:
            raise TrinityError(
                Reason.RATE_LIMITED,
                f"the endpoint was sent {sent} of these within a minute; wait a minute",
                retry_after_ms=60_000,
            )

    def now_ns(self) -> int:
        """Now, in whole microseconds, as stores keep it."""
        return self.parts.clock.unix_ns() // 1_000 * 1_000
