"""How the two customers of the matrix come by what they have: by the services' own RPCs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import grpc.aio

from account.small_account import SmallAccount, until_true
from account.tenant_things import Things
from account.tenant_ways import Who
from account.tenant_webhooks import REPLAYED_NS, a_rule, replay
from trinity.account.v1 import account_pb2
from trinity.usage.v1 import usage_pb2, usage_service_pb2_grpc
from trinity.webhook.v1 import webhook_pb2, webhook_service_pb2_grpc
from trinity_admission.main import AdmissionPart
from trinity_admission.principal import Principal, metadata_of
from trinity_core.accounts import SCOPES
from trinity_core.errors import TrinityError
from trinity_core.usage import HOUR_S
from trinity_core.webhooks import Delivery, DeliveryClass, DeliveryState, make_id
from trinity_mesh.clock import SystemClock
from trinity_webhook.asking import range_of
from trinity_webhook.main import WebhookPart
from trinity_webhook.places import query_of_filter

CUSTOMERS_SCOPES = tuple(scope for scope in SCOPES if scope != "admin")
_BOTH_SCHEMES = [webhook_pb2.SCHEME_V1, webhook_pb2.SCHEME_V1A]


@dataclass(frozen=True)
class Customer:
    """An associate with data of every kind."""

    things: Things
    whole: Who
    """A key with all scopes of the plan."""
    by_scope: Mapping[str, Who]
    """A key for each scope, with that one alone."""


class Furnishing:
    """Makes customers by the services' own RPCs."""

    def __init__(
        self, account: SmallAccount, mesh: grpc.aio.Channel, webhook: WebhookPart, part: AdmissionPart
    ) -> None:
        self.account = account
        self.usage: Any = usage_service_pb2_grpc.UsageServiceStub(mesh)
        self._webhook = webhook
        self._webhooks: Any = webhook_service_pb2_grpc.WebhookServiceStub(mesh)
        self._part = part

    async def customer(self, associate: str) -> Customer:
        plan = f"{associate}-plan"
        await self.account.plan(
            plan,
            name=f"plan of {associate}",
            scopes=list(CUSTOMERS_SCOPES),
            rate_per_s=1_000_000,
            burst=1_000_000,
            monthly_quota=1_000_000,
        )
        await self.account.associate(associate, plan, name=f"{associate} Ltd", email=f"ops@{associate}.example")
        # Together: each waits until the gateway has heard of it.
        whole, *others = await asyncio.gather(
            self.key(associate, name=f"desk of {associate}"),
            *(self.key(associate, scopes=["keys.manage"]) for _ in range(3)),
            *(self.key(associate, scopes=[scope]) for scope in CUSTOMERS_SCOPES),
        )
        spare = [who.principal.key_id for who in others[:3]]
        await self.account.caller()(account_pb2.RevokeKeyRequest(key_id=spare[2]))
        things = await self._hook(Things(associate, plan, whole.principal.key_id, *spare), whole)
        await self._use(associate, things.key_id)
        await self._use(f"{associate}-old", things.revoked)
        by_scope = dict(zip(CUSTOMERS_SCOPES, others[3:], strict=True))
        return Customer(things, whole, by_scope)

    async def key(self, associate: str, **fields: Any) -> Who:
        """A key that the gateway knows already."""
        made = await self.account.key(associate, **fields)
        principal = Principal(made.key.key_id, associate, frozenset(made.key.scopes))

        async def known() -> bool:
            with contextlib.suppress(TrinityError):
                return bool(self._part.admission.find(made.secret))
            return False

        await until_true(known)
        return Who(principal, made.secret)

    async def _hook(self, things: Things, whole: Who) -> Things:
        """Endpoints, subscriptions and deliveries."""
        how = {"metadata": metadata_of(whole.principal)}

        async def endpoint() -> str:
            url = f"https://hooks.{things.associate}.example/prices"
            wanted = webhook_pb2.Endpoint(url=url, name=f"hook of {things.associate}", schemes=_BOTH_SCHEMES)
            made = await self._webhooks.CreateEndpoint(webhook_pb2.CreateEndpointRequest(endpoint=wanted), **how)
            return str(made.endpoint.endpoint)

        async def subscription(of: str) -> str:
            wanted = webhook_pb2.CreateSubscriptionRequest(
                endpoint=of, subscription=a_rule(name=f"rule of {things.associate}")
            )
            return str((await self._webhooks.CreateSubscription(wanted, **how)).subscription.subscription)

        active, pending, to_drop, to_prove = [await endpoint() for _ in range(4)]
        _, challenge = await self._challenge(active)
        await self._webhooks.VerifyEndpoint(
            webhook_pb2.VerifyEndpointRequest(endpoint=active, challenge=challenge), **how
        )
        test = await self._webhooks.SendTest(webhook_pb2.SendTestRequest(endpoint=active), **how)
        asked, challenge = await self._challenge(to_prove)
        rule = await subscription(active)
        await self._webhook.log.enqueue(
            Delivery(
                delivery=make_id("msg_", secrets.token_bytes(15)),
                endpoint=active,
                associate=things.associate,
                subscription=rule,
                asset="BTC",
                kind=DeliveryClass.ALERT,
                type="price.crossed",
                payload=b"{}",
                state=DeliveryState.DELIVERED,
                create_time_ns=REPLAYED_NS[0],
                done_time_ns=REPLAYED_NS[0],
            )
        )
        # Two, so that there is more than one page.
        await self._webhook.postgres.execute(
            "INSERT INTO trinity.webhook_notices (endpoint, associate, email, url, reason, create_time) "
            "SELECT $1, $2, '', 'https://hooks.' || $2 || '.example/prices', 1, now() FROM generate_series(1, 2)",
            active,
            things.associate,
        )
        return replace(
            things,
            endpoint=active,
            pending=pending,
            to_drop=to_drop,
            to_prove=to_prove,
            subscription=rule,
            to_end=await subscription(active),
            delivery=test.delivery.delivery,
            asked=asked,
            challenge=challenge,
            tokens={"ReplayRange": self._rest_of(active)},
        )

    async def _challenge(self, endpoint: str) -> tuple[str, str]:
        """The delivery of an endpoint's challenge, and what whoever has the address would read there."""
        (row,) = await self._webhook.postgres.fetch(
            "SELECT delivery, payload FROM trinity.webhook_deliveries WHERE endpoint = $1 AND kind = $2",
            endpoint,
            webhook_pb2.DELIVERY_CLASS_CHALLENGE,
        )
        return row["delivery"], json.loads(row["payload"])["data"]["challenge"]

    def _rest_of(self, endpoint: str) -> str:
        """The token that a replay of more than a thousand alerts would end with."""
        query = query_of_filter("ReplayRange", range_of(replay(endpoint)))
        return self._webhook.servicer.parts.places.make((REPLAYED_NS[0], "msg_000000000000000000000000"), query)

    async def _use(self, incarnation: str, key_id: str) -> None:
        hour = SystemClock().unix_ns() // 10**9 // HOUR_S * HOUR_S
        counters = [
            usage_pb2.Counter(
                slot=slot,
                key_id=key_id,
                hour_unix=hour,
                transport=account_pb2.TRANSPORT_HTTP,
                method="GetPrice",
                asset=asset,
                outcome=usage_pb2.OUTCOME_LOCAL,
                count=7 + slot,
            )
            for slot, asset in enumerate(("BTC", "ETH", "SOL"))
        ]
        await self.usage.RecordUsage(
            usage_pb2.RecordUsageRequest(incarnation=f"ledger-{incarnation}", counters=counters)
        )
