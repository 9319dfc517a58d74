"""A whole webhook service on a real database and a real socket, and callers of it."""

from __future__ import annotations

import contextlib
import json
import secrets
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from stores import PATIENT
from trinity.webhook.v1 import webhook_pb2, webhook_service_pb2_grpc
from trinity_admission.principal import Principal, metadata_of
from trinity_core.webhook_retry import Outcome
from trinity_core.webhook_store import Result
from trinity_core.webhooks import Attempt, DeliveryState, DisableReason, shard_of
from trinity_mesh.channels import call, open_channel
from trinity_mesh.clock import SystemClock
from trinity_mesh.secrets_file import MeshSecrets
from trinity_storage.webhook_outbox import PostgresOutbox
from trinity_webhook.config import WebhookConfig
from trinity_webhook.main import WebhookPart

SECRETS = MeshSecrets(
    pepper=b"pepper-for-tests" * 2, udp_master=b"master-for-tests" * 2, cursor=b"cursor-for-tests" * 2
)
PATIENT_S = 30.0
DEMO = Principal("demokey", "demo", frozenset({"webhooks.manage"}))
OTHER = Principal("otherkey", "other", frozenset({"webhooks.manage"}))
ADMIN = Principal("adminkey", "operator", frozenset({"admin"}))
AT_NS = 1_790_000_000_000_000_000
URL = "https://hooks.acme.example/prices"


class Caller:
    """Calls the service with some metadata; what fails is raised as TrinityError."""

    def __init__(self, channel: Any, metadata: tuple[tuple[str, str], ...]) -> None:
        self._stub = webhook_service_pb2_grpc.WebhookServiceStub(channel)
        self._metadata = metadata

    async def __call__(self, request: Any) -> Any:
        """The RPC is the one that takes this message."""
        name = type(request).__name__.removesuffix("Request")
        return await call(getattr(self._stub, name)(request, metadata=self._metadata, timeout=PATIENT_S))


class SmallWebhook:
    """The service (`part`) and its callers, once `running` is entered."""

    def __init__(self, database_url: str, **settings: Any) -> None:
        # Paths of sockets are short; a test's folder is not.
        self._folder = tempfile.TemporaryDirectory(prefix="tw-")
        self.config = WebhookConfig(
            listen=f"unix:{self._folder.name}/w.sock",
            postgres=replace(PATIENT, url=database_url),
            drain_ms=200,
            **settings,
        )
        self.part = WebhookPart(self.config, clock=SystemClock(), secret=SECRETS)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[SmallWebhook]:
        with self._folder:
            async with self.part.serving() as server, open_channel(server.address) as self._channel:
                await self.part.postgres.execute(
                    "INSERT INTO trinity.associates SELECT 'other', '', '', 'demo', false, now(), now(), 1"
                )
                yield self

    def caller(self, principal: Principal | None) -> Caller:
        """None: a part of the mesh."""
        return Caller(self._channel, () if principal is None else metadata_of(principal))

    @property
    def demo(self) -> Caller:
        return self.caller(DEMO)

    @property
    def other(self) -> Caller:
        return self.caller(OTHER)

    @property
    def admin(self) -> Caller:
        return self.caller(ADMIN)

    async def endpoint(self, caller: Caller | None = None, **fields: Any) -> webhook_pb2.CreateEndpointResponse:
        secret = fields.pop("secret", "")
        wanted = webhook_pb2.Endpoint(**{"url": URL, **fields})
        made = await (caller or self.demo)(webhook_pb2.CreateEndpointRequest(endpoint=wanted, secret=secret))
        assert isinstance(made, webhook_pb2.CreateEndpointResponse)
        return made

    async def active(self, caller: Caller | None = None, **fields: Any) -> webhook_pb2.Endpoint:
        """An endpoint whose owner has answered the challenge that it received."""
        made = (await self.endpoint(caller, **fields)).endpoint
        verify = webhook_pb2.VerifyEndpointRequest(
            endpoint=made.endpoint, challenge=await self.challenge(made.endpoint)
        )
        found: webhook_pb2.Endpoint = (await (caller or self.demo)(verify)).endpoint
        return found

    async def challenge(self, endpoint: str) -> str:
        """The challenge that is on its way to an endpoint."""
        payload = await self.part.postgres.fetch_value(
            "SELECT payload FROM trinity.webhook_deliveries WHERE endpoint = $1 AND kind = 4 AND state = $2",
            endpoint,
            DeliveryState.PENDING.value,
        )
        return str(json.loads(payload)["data"]["challenge"])

    async def subscription(self, endpoint: str, caller: Caller | None = None, **fields: Any) -> Any:
        wanted = webhook_pb2.Subscription(**(fields or {"every_change": webhook_pb2.EveryChange()}))
        made = await (caller or self.demo)(
            webhook_pb2.CreateSubscriptionRequest(endpoint=endpoint, subscription=wanted)
        )
        return made.subscription


async def give_up(webhook: SmallWebhook, endpoint: str, *, at_ns: int = AT_NS) -> None:
    """A worker gives an endpoint up."""
    outbox, holder = PostgresOutbox(webhook.part.postgres), secrets.token_hex(4)
    leases = await outbox.lease(holder, now_ns=AT_NS, until_ns=AT_NS + 10**9)
    lease = next(each for each in leases if each.shard == shard_of(endpoint))
    attempt = Attempt(delivery="tck_x", number=1, at_ns=at_ns, latency_us=1, outcome=Outcome.GONE, status=410)
    result = Result(attempt=attempt, state=DeliveryState.FAILED, failing=True, disable=DisableReason.GONE)
    await outbox.judge(lease, endpoint, result)
    await outbox.end_lease(holder)
