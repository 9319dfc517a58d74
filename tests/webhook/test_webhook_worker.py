"""Workers on a real database: they share the endpoints, and nothing is sent twice while none dies."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from processes import until
from stores import PATIENT
from trinity_core.prices import State
from trinity_core.webhook_addresses import AddressPolicy
from trinity_core.webhook_retry import Outcome
from trinity_core.webhook_rules import Change, Crossing, Direction
from trinity_core.webhook_secrets import Scheme, Sealer, SecretValue
from trinity_core.webhook_store import Standing
from trinity_core.webhook_urls import Kind, Target
from trinity_core.webhooks import (
    Delivery,
    DeliveryClass,
    DeliveryState,
    Endpoint,
    EndpointState,
    Secret,
    Subscription,
    make_id,
)
from trinity_mesh.clock import SystemClock
from trinity_storage.postgres import Postgres, PostgresConfig
from trinity_storage.webhook_outbox import PostgresOutbox
from trinity_storage.webhooks import PostgresWebhooks
from trinity_webhook.counting import DeliveryCounts
from trinity_webhook.engine import Engine, EngineParts
from trinity_webhook.senders import Senders
from trinity_webhook.sending import Posting, Sent
from trinity_webhook.signing import Signing
from trinity_webhook.worker_config import WebhookWorkerConfig
from webhook.engine_stage import CountBook

ENDPOINTS = 24
SEALER = Sealer(key=b"k" * 32, random_bytes=os.urandom)
RULE = Crossing(Direction.EITHER, Decimal(100))


class Written:
    """Implements Sender: writes down what is posted, and by whom."""

    def __init__(self) -> None:
        self.messages: Counter[str] = Counter()
        self.by: Counter[str] = Counter()
        self.bad = 0

    def by_worker(self, name: str) -> Any:
        written = self

        class Sender:
            async def post(self, endpoint: str, target: Target, posting: Posting) -> Sent:
                await asyncio.sleep(0)
                if written.bad:
                    written.bad -= 1
                    return Sent(outcome=Outcome.GONE, status=410, error="the answer is 410")
                written.messages[posting.message] += 1
                written.by[name] += 1
                return Sent(outcome=Outcome.DELIVERED, status=200)

            def forget(self, endpoint: str) -> None:
                """Nothing is kept."""

        return Sender()


async def register(postgres: Postgres) -> list[Endpoint]:
    repo, made = PostgresWebhooks(postgres), []
    for number in range(ENDPOINTS):
        name, key = make_id("whe_", os.urandom(15)), make_id("whk_", os.urandom(15))
        endpoint = Endpoint(
            endpoint=name,
            associate="demo",
            url=f"https://hooks.acme.example/{number}",
            kind=Kind.HTTP,
            state=EndpointState.ACTIVE,
            rate_per_s=1_000,
            create_time_ns=10**15,
            update_time_ns=10**15,
        )
        sealed = SEALER.seal(SecretValue(Scheme.V1, bytes(range(32))), endpoint=name, secret=key)
        secret = Secret(secret=key, endpoint=name, scheme=Scheme.V1, sealed=sealed, create_time_ns=10**15)
        over = Delivery(
            delivery=make_id("msg_", os.urandom(15)),
            endpoint=name,
            associate="demo",
            kind=DeliveryClass.CHALLENGE,
            type="webhook.challenge",
            payload=b"{}",
            state=DeliveryState.DELIVERED,
            create_time_ns=10**15,
            done_time_ns=10**15,
        )
        pair = Standing(endpoint, (secret,)), over
        await repo.create_endpoint("demo", lambda _, pair=pair: pair)  # type: ignore[misc]
        subscription = Subscription(
            subscription=make_id("whs_", os.urandom(15)),
            endpoint=name,
            associate="demo",
            rule=RULE,
            create_time_ns=10**15,
            update_time_ns=10**15,
        )
        await repo.create_subscription(name, lambda _, __, each=subscription: each)  # type: ignore[misc]
        made.append(endpoint)
    return made


@asynccontextmanager
async def engine(url: str, name: str, written: Written, **settings: Any) -> AsyncIterator[Engine]:
    clock = SystemClock()
    signing = Signing(SEALER)
    async with Postgres(PATIENT, url=url, name=name, clock=clock) as postgres:
        made = Engine(
            WebhookWorkerConfig(poll_ms=50, claim_ms=50, lease_ms=3_000, **settings),
            EngineParts(
                outbox=PostgresOutbox(postgres),
                courier=Senders(https=written.by_worker(name), udp=None, signing=signing, clock=clock),
                signing=signing,
                counts=DeliveryCounts(CountBook()),
                policy=AddressPolicy(),
                answered=nobody,
                prices=lambda: (),
                clock=clock,
                rng=random.Random(1),
            ),
            holder=name,
        )
        stopping = asyncio.Event()
        running = asyncio.create_task(made.run(stopping))
        try:
            await made.holding.held.wait()
            yield made
        finally:
            stopping.set()
            await running


async def nobody(_endpoint: str, _text: str) -> None:
    raise AssertionError("no challenge is sent")


def change(value: int, sequence: int) -> Change:
    now_ns = SystemClock().unix_ns()
    return Change("BTC", Decimal(value), State.FRESH, Decimal(0), Decimal(0), (), sequence, 7, None, now_ns)


@pytest.fixture
async def postgres(database_url: str) -> AsyncIterator[Postgres]:
    config = PostgresConfig(acquire_timeout_ms=20_000)
    async with Postgres(config, url=database_url, name="test", clock=SystemClock()) as postgres:
        yield postgres


async def test_three_workers_share_the_endpoints_and_send_each_alert_once(
    postgres: Postgres, database_url: str
) -> None:
    await register(postgres)
    written = Written()
    async with (
        engine(database_url, "one", written) as one,
        engine(database_url, "two", written) as two,
        engine(database_url, "three", written) as three,
    ):
        workers = (one, two, three)
        await until(
            lambda: sorted(len(each.holding.leases) for each in workers) == [21, 21, 22], "they hold even shares"
        )
        await until(
            lambda: (
                sum(len(each.lanes) for each in workers) == ENDPOINTS and all(each.alerts.is_loaded for each in workers)
            ),
            "each endpoint has its worker",
        )
        rounds = 6
        for number in range(rounds + 1):
            for each in workers:
                each.price(change(90 if number % 2 else 110, number + 1))
            await until(lambda number=number: len(written.messages) >= number * ENDPOINTS, "all are sent")  # type: ignore[misc]
    assert set(written.messages.values()) == {1}
    assert len(written.messages) == rounds * ENDPOINTS
    assert set(written.by) == {"one", "two", "three"}
    states = await postgres.fetch("SELECT state, count(*) FROM webhook_deliveries WHERE kind = 2 GROUP BY 1")
    assert [tuple(row) for row in states] == [(2, rounds * ENDPOINTS)]


async def test_a_worker_that_stops_leaves_its_endpoints_to_another_at_once(
    postgres: Postgres, database_url: str
) -> None:
    await register(postgres)
    written = Written()
    async with engine(database_url, "one", written, drain_ms=1_000) as one:
        async with engine(database_url, "two", written):
            # What is held is told a moment before it is seen to.
            await until(lambda: len(one.holding.leases) == 32 and len(one.lanes) < ENDPOINTS, "they share")
        await until(lambda: len(one.lanes) == ENDPOINTS and one.alerts.is_loaded, "all are the one's")
        for number in range(2):
            one.price(change(90 if number % 2 else 110, number + 1))
        await until(lambda: len(written.messages) == ENDPOINTS, "all are sent")
    assert set(written.by) == {"one"}


async def test_an_endpoint_that_is_given_up_leaves_a_notice_for_its_owner(
    postgres: Postgres, database_url: str
) -> None:
    await postgres.execute("UPDATE associates SET email = 'ops@demo.example' WHERE associate = 'demo'")
    await register(postgres)
    written = Written()
    written.bad = 1
    async with engine(database_url, "one", written) as one:
        await until(lambda: len(one.lanes) == ENDPOINTS and one.alerts.is_loaded, "all are the one's")
        for number in range(2):
            one.price(change(90 if number % 2 else 110, number + 1))
        await until(lambda: len(written.messages) == ENDPOINTS - 1, "all others are sent")
    notices = await postgres.fetch("SELECT associate, email, reason FROM webhook_notices")
    assert [tuple(row) for row in notices] == [("demo", "ops@demo.example", 1)]
    assert await postgres.fetch_value("SELECT count(*) FROM webhook_endpoints WHERE state = 3") == 1


@pytest.mark.parametrize(
    "changes",
    [{"price": ""}, {"lease_ms": 1}, {"refused_networks": ("here",)}, {"log_waiting_max": -1}, {"in_flight_max": 0}],
    ids=lambda changes: next(iter(changes)),
)
def test_a_setting_that_makes_no_sense_is_named(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        replace(WebhookWorkerConfig(), **changes)
