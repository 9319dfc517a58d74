"""Two customers with everything they can have, and the services that hold it, behind each way to reach them."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc.aio

from account.small_account import SECRETS, SmallAccount
from account.tenant_furnishing import Customer, Furnishing
from account.tenant_things import Things
from account.tenant_ways import GrpcWay, HttpWay, Way, Who
from bridge_stage import Stage, serving_app
from price.fake_feed import FakeFeed
from price.small_price import SmallPrice
from trinity.account.v1 import account_pb2
from trinity.feed.v1 import feed_service_pb2, feed_service_pb2_grpc
from trinity.report.v1 import report_pb2, report_service_pb2_grpc
from trinity.webhook.v1 import webhook_pb2, webhook_service_pb2_grpc
from trinity_account.servicer import service as account_service
from trinity_admission.admission_config import AdmissionConfig, QuotaConfig
from trinity_admission.grpc_interceptor import with_admission
from trinity_admission.ledger_config import CollectorConfig
from trinity_admission.main import AdmissionPart, admission_part
from trinity_admission.principal import metadata_of
from trinity_core.assets import load_assets
from trinity_core.venues import Venue
from trinity_http.admitting import Admitting
from trinity_http.app import create_app
from trinity_http.main import own_contract
from trinity_http.settings import GatewaySettings
from trinity_mesh.channels import open_channel
from trinity_mesh.clock import SystemClock
from trinity_mesh.server import MeshServer, ServerLimits, Service
from trinity_price.servicer import service as price_service
from trinity_report.config import ReportConfig
from trinity_report.main import ReportPart
from trinity_report.servicer import service as report_service
from trinity_storage.postgres import Postgres, PostgresConfig
from trinity_storage.quota_leases import QuotaLeases
from trinity_storage.usage import UsageStore
from trinity_usage.config import LeaseConfig
from trinity_usage.servicer import UsageServicer
from trinity_usage.servicer import service as usage_service
from trinity_webhook.config import WebhookConfig
from trinity_webhook.main import WebhookPart
from trinity_webhook.servicer import service as webhook_service

NOBODY = Things(
    associate="nobody",
    plan="nobody-plan",
    key_id="999999999991",
    to_rotate="999999999992",
    to_revoke="999999999993",
    revoked="999999999994",
    tokens={
        "ListKeys": "A" * 60,
        "ListUsage": "A" * 86,
        "ListEndpoints": "A" * 90,
        "ListSubscriptions": "A" * 91,
        "ListDeliveries": "A" * 92,
        "ListNotices": "A" * 94,
        "ReplayRange": "A" * 93,
    },
)
"""Names of nothing."""
_PATIENT = QuotaConfig(wait_ms=20_000, deadline_ms=20_000)
_ACCOUNT_TABLES = ("plans", "associates", "api_keys", "account_version", "app_config")
_WEBHOOK_TABLES = ("webhook_endpoints", "webhook_secrets", "webhook_subscriptions", "webhook_deliveries")


@dataclass(frozen=True)
class World:
    """Everything, running."""

    way: Way
    """The one that the test is about."""
    ways: Mapping[str, Way]
    """All of `WAYS`."""
    plain_tcp: GrpcWay
    """The same services on TCP without anything that judges keys."""
    http: Stage
    part: AdmissionPart
    folder: Path
    """Where the processes of the mesh leave their files."""
    account: SmallAccount
    postgres: Postgres
    usage_stub: Any
    report_stub: Any
    webhook_stub: Any
    acme: Customer
    globex: Customer
    bare: Who
    """A key without scopes."""
    admin: Who

    async def accounts(self) -> str:
        """Every row that the account and webhook services have, as text."""
        found = []
        for table in _ACCOUNT_TABLES + _WEBHOOK_TABLES:
            rows = await self.postgres.fetch(f"SELECT t::text AS line FROM trinity.{table} t ORDER BY 1")
            found += [f"{table} {row['line']}" for row in rows]
        return "\n".join(found)

    async def webhooks_of(self, associate: str) -> list[str]:
        """Every row of an associate's webhooks, as text."""
        found = []
        for table in ("endpoints", "subscriptions", "deliveries"):
            query = f"SELECT t::text AS line FROM trinity.webhook_{table} t WHERE associate = $1 ORDER BY 1"
            found += [f"{table} {row['line']}" for row in await self.postgres.fetch(query, associate)]
        return found

    async def usage_of(self, key_id: str) -> list[tuple[Any, ...]]:
        """What stands in the log of a key, and what is leased for its associate."""
        log = (
            "SELECT hour, transport, method, asset, outcome, n FROM usage_log WHERE key_id = $1 ORDER BY 1, 2, 3, 4, 5"
        )
        leases = "SELECT count(*) FROM quota_leases WHERE holder = 'forged'"
        return [tuple(row) for row in [*await self.postgres.fetch(log, key_id), *await self.postgres.fetch(leases)]]

    async def tokens_of(self, who: Who, **wanted: Any) -> dict[str, str]:
        """Tokens of second pages, as lists with some filter give them to somebody."""
        keys = await self.account.caller(who.principal)(account_pb2.ListKeysRequest(page_size=1, **wanted))
        rows = await self.report_stub.ListUsage(
            report_pb2.ListUsageRequest(page_size=1, **wanted), metadata=metadata_of(who.principal)
        )
        tokens = {"ListKeys": keys.next_page_token, "ListUsage": rows.next_page_token}
        for name in ("ListEndpoints", "ListSubscriptions", "ListDeliveries", "ListNotices"):
            request = getattr(webhook_pb2, f"{name}Request")(page_size=1, **wanted)
            page = await getattr(self.webhook_stub, name)(request, metadata=metadata_of(who.principal))
            tokens[name] = page.next_page_token
        return tokens


WAYS = ("gateway", "direct", "http")
"""By the metadata of a gateway on a Unix socket; directly with a key on TCP; over HTTP through the bridge."""


@contextlib.asynccontextmanager
async def a_world(
    way: str, database_url: str, folder: Path, *, valkey_url: str = "", quota: QuotaConfig = _PATIENT
) -> AsyncIterator[World]:
    """Everything, reached in one of `WAYS`."""
    clock = SystemClock()
    async with contextlib.AsyncExitStack() as stack:
        # Paths of sockets are short; a test's folder is not.
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="tw-"))
        account = await stack.enter_async_context(SmallAccount(folder, database_url, valkey_url=valkey_url).running())
        postgres = await stack.enter_async_context(
            Postgres(PostgresConfig(acquire_timeout_ms=20_000), url=database_url, name="test", clock=clock)
        )
        usage = UsageServicer(
            store=UsageStore(postgres), leases=QuotaLeases(postgres), lease=LeaseConfig(), waiting_max=64, clock=clock
        )
        report = ReportPart(
            ReportConfig(listen=f"unix:{name}/report.sock", postgres=PostgresConfig(url=database_url), drain_ms=100),
            clock=clock,
            secret=SECRETS,
        )
        await stack.enter_async_context(report.serving())
        webhook = WebhookPart(
            WebhookConfig(
                listen=f"unix:{name}/webhook.sock",
                postgres=PostgresConfig(url=database_url, acquire_timeout_ms=20_000),
                asked_per_minute_max=1_000,
                drain_ms=100,
            ),
            clock=clock,
            secret=SECRETS,
        )
        await stack.enter_async_context(webhook.serving())
        price = await stack.enter_async_context(SmallPrice(Path(name)).running())
        await price.say([price.tick(Venue.KRAKEN, "BTC", "67000.10")])
        services = [
            account_service(account.part.servicer),
            usage_service(usage),
            report_service(report.servicer),
            webhook_service(webhook.servicer),
            price_service(price.part.servicer, price.part.quick),
            _feed_service(price.feed),
        ]

        async def channel_to(address: str, **how: Any) -> grpc.aio.Channel:
            limits = ServerLimits(drain_ms=100)
            server = MeshServer(address=address, services=services, limits=limits, **how)
            await stack.enter_async_context(server)
            return await stack.enter_async_context(open_channel(server.address))

        mesh = await channel_to(f"unix:{name}/all.sock")
        plain = await channel_to("127.0.0.1:0")
        part = await stack.enter_async_context(
            admission_part(
                AdmissionConfig(
                    account=account.address,
                    usage=f"unix:{name}/all.sock",
                    spool=f"{name}/spool",
                    keys_copy=f"{name}/run/keys.bin",
                    rates_file=f"{name}/run/rates",
                    collector=CollectorConfig(flush_ms=20),
                    quota=quota,
                ),
                clock=clock,
                assets=load_assets().ids,
                secret=SECRETS,
            )
        )
        direct = await channel_to("127.0.0.1:0", interceptors=with_admission(part.admission))
        raw = await stack.enter_async_context(grpc.aio.insecure_channel(f"unix:{name}/all.sock"))
        admitting = Admitting(part.admission)
        app = create_app(
            descriptor_set=own_contract(),
            channels={each.descriptor.full_name: raw for each in services},
            settings=GatewaySettings(stream_open_ms=50),
            authenticate=admitting,
            admission=admitting,
            ready=part.missing,
        )
        http = await stack.enter_async_context(serving_app(app))
        ways: Mapping[str, Way] = {
            "gateway": GrpcWay(mesh, judges_keys=False),
            "direct": GrpcWay(direct, judges_keys=True),
            "http": HttpWay(http.client, http.base),
        }
        furnishing = Furnishing(account, mesh, webhook, part)
        acme, globex = await asyncio.gather(furnishing.customer("acmeco"), furnishing.customer("globex"))
        await account.plan("bare-plan", scopes=[], rate_per_s=1_000_000, burst=1_000_000)
        await account.associate("bareco", "bare-plan")
        bare, admin = await asyncio.gather(furnishing.key("bareco"), furnishing.key("operator", scopes=["admin"]))
        world = World(
            way=ways[way],
            ways=ways,
            http=http,
            part=part,
            folder=Path(name),
            plain_tcp=GrpcWay(plain, judges_keys=True),
            account=account,
            postgres=postgres,
            usage_stub=furnishing.usage,
            report_stub=report_service_pb2_grpc.ReportServiceStub(mesh),
            webhook_stub=webhook_service_pb2_grpc.WebhookServiceStub(mesh),
            acme=acme,
            globex=globex,
            bare=bare,
            admin=admin,
        )
        yield replace(world, acme=await _with_tokens(world, acme), globex=await _with_tokens(world, globex))


async def _with_tokens(world: World, customer: Customer) -> Customer:
    tokens = {**customer.things.tokens, **await world.tokens_of(customer.whole)}
    assert all(tokens.values()), "there is more than one page of everything"
    return replace(customer, things=replace(customer.things, tokens=tokens))


def _feed_service(feed: FakeFeed) -> Service:
    return Service(
        descriptor=feed_service_pb2.DESCRIPTOR.services_by_name["FeedService"],
        add=lambda server: feed_service_pb2_grpc.add_FeedServiceServicer_to_server(feed, server),
    )
