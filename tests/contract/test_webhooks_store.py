"""One suite, every adapter of the webhook ports: PostgreSQL, the newest and the oldest we promise, and the twin."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pytest

from account.databases import Databases, open_postgres
from stores import shared_stores
from trinity_core.errors import Reason, TrinityError
from trinity_core.webhook_activity import Activity, Seen
from trinity_core.webhook_alerts import RuleState
from trinity_core.webhook_breaker import Circuit
from trinity_core.webhook_memory import MemoryTables, MemoryWebhooks
from trinity_core.webhook_memory_outbox import MemoryDeliveryLog, MemoryOutbox
from trinity_core.webhook_retry import Outcome
from trinity_core.webhook_rules import Crossing, Direction, EveryChange
from trinity_core.webhook_secrets import Scheme
from trinity_core.webhook_store import (
    Changed,
    DeliveryFilter,
    DeliveryLog,
    Lease,
    Outbox,
    Result,
    Scope,
    Standing,
    StoredState,
    WebhookRepo,
    notice_place,
)
from trinity_core.webhook_urls import Kind
from trinity_core.webhooks import (
    SHARDS,
    Attempt,
    Challenge,
    Delivery,
    DeliveryClass,
    DeliveryState,
    DisableReason,
    Endpoint,
    EndpointState,
    Secret,
    Subscription,
    alert_id,
    make_id,
    tick_delivery_id,
)
from trinity_storage.postgres import Postgres
from trinity_storage.webhook_log import PostgresDeliveryLog
from trinity_storage.webhook_outbox import PostgresOutbox
from trinity_storage.webhooks import PostgresWebhooks

NOW_NS = 1_790_000_000_123_456_000
S = 10**9
RULE = Crossing(Direction.UP, Decimal(100), Decimal(5))


@dataclass
class Stores:
    """The three ports of one store, and what only accounts can do."""

    repo: WebhookRepo
    log: DeliveryLog
    outbox: Outbox
    tables: MemoryTables | None = None
    postgres: Postgres | None = None

    async def suspend(self, associate: str) -> None:
        if self.tables is not None:
            self.tables.add_associate(associate, suspended=True)
            return
        assert self.postgres is not None
        await self.postgres.execute(
            "UPDATE trinity.account_version SET version = version + 1; "
            f"UPDATE trinity.associates SET suspended = true WHERE associate = '{associate}'"
        )


@pytest.fixture(scope="module", params=["memory", "wheels", "debian"])
def databases(request: pytest.FixtureRequest) -> Databases | None:
    return None if request.param == "memory" else Databases(shared_stores(request.param))


@pytest.fixture
async def stores(databases: Databases | None) -> AsyncIterator[Stores]:
    """Each adapter in turn, with the associates demo and operator."""
    if databases is None:
        tables = MemoryTables()
        for associate in ("demo", "operator"):
            tables.add_associate(associate)
        yield Stores(MemoryWebhooks(tables), MemoryDeliveryLog(tables), MemoryOutbox(tables), tables=tables)
        return
    async with databases.fresh() as url, open_postgres(url) as postgres:
        yield Stores(
            PostgresWebhooks(postgres), PostgresDeliveryLog(postgres), PostgresOutbox(postgres), postgres=postgres
        )


def name(prefix: str, number: int) -> str:
    return make_id(prefix, number.to_bytes(15, "big"))


def endpoint(number: int, **changes: Any) -> Endpoint:
    fields: dict[str, Any] = {
        "endpoint": name("whe_", number),
        "associate": "demo",
        "name": f"desk {number}",
        "url": "https://hooks.acme.example/",
        "kind": Kind.HTTP,
        "schemes": (Scheme.V1, Scheme.V1A),
        "state": EndpointState.ACTIVE,
        "create_time_ns": NOW_NS + number * 1_000,
        "update_time_ns": NOW_NS,
        **changes,
    }
    return Endpoint(**fields)


def secret(number: int, owner: str, **changes: Any) -> Secret:
    fields: dict[str, Any] = {
        "secret": name("whk_", number),
        "endpoint": owner,
        "scheme": Scheme.V1,
        "sealed": bytes(60),
        "create_time_ns": NOW_NS + number * 1_000,
        **changes,
    }
    return Secret(**fields)


def delivery(number: int, owner: str, **changes: Any) -> Delivery:
    fields: dict[str, Any] = {
        "delivery": name("msg_", number),
        "endpoint": owner,
        "associate": "demo",
        "kind": DeliveryClass.TEST,
        "type": "webhook.test",
        "payload": b"{}",
        "create_time_ns": NOW_NS + number * 1_000,
        "due_time_ns": NOW_NS,
        **changes,
    }
    return Delivery(**fields)


def over(made: Delivery, **changes: Any) -> Delivery:
    return replace(made, state=DeliveryState.DELIVERED, due_time_ns=None, done_time_ns=NOW_NS, **changes)


def attempt(made: Delivery | str, number: int = 1, **changes: Any) -> Attempt:
    fields: dict[str, Any] = {
        "delivery": made if isinstance(made, str) else made.delivery,
        "number": number,
        "at_ns": NOW_NS + number * S,
        "latency_us": 12_345,
        "outcome": Outcome.DELIVERED,
        "status": 200,
        "answer": b"\x00ok",
        **changes,
    }
    return Attempt(**fields)


async def add(stores: Stores, number: int, **changes: Any) -> Endpoint:
    made = endpoint(number, **changes)
    challenge = Challenge(digest=bytes(32), expire_time_ns=NOW_NS + S)
    sent = delivery(
        1_000_000 + number, made.endpoint, associate=made.associate, kind=DeliveryClass.CHALLENGE, payload=b"?"
    )
    standing = Standing(made, (secret(number, made.endpoint),), challenge)
    found = await stores.repo.create_endpoint(made.associate, lambda _: (standing, sent))
    return found.endpoint


async def subscribe(stores: Stores, number: int, owner: Endpoint, **changes: Any) -> Subscription:
    fields: dict[str, Any] = {
        "subscription": name("whs_", number),
        "endpoint": owner.endpoint,
        "associate": owner.associate,
        "rule": RULE,
        "assets": ("BTC", "ETH"),
        "create_time_ns": NOW_NS + number * 1_000,
        "update_time_ns": NOW_NS,
        **changes,
    }
    return await stores.repo.create_subscription(owner.endpoint, lambda _, __: Subscription(**fields))


async def lease_of(stores: Stores, owner: Endpoint, *, holder: str = "one") -> Lease:
    leases = await stores.outbox.lease(holder, now_ns=NOW_NS, until_ns=NOW_NS + 10 * S)
    return next(lease for lease in leases if lease.shard == owner.shard)


def alert(owner: Subscription, number: int, *, asset: str = "BTC", **changes: Any) -> Delivery:
    made = alert_id(subscription=owner.subscription, rule_version=owner.rule_version, asset=asset, number=number)
    return delivery(
        number,
        owner.endpoint,
        **{
            "delivery": made,
            "subscription": owner.subscription,
            "asset": asset,
            "kind": DeliveryClass.ALERT,
            "type": "alert.crossing",
            "ordered": True,
            **changes,
        },
    )


def state(owner: Subscription, number: int, *, asset: str = "BTC") -> StoredState:
    return StoredState(
        subscription=owner.subscription,
        rule_version=owner.rule_version,
        asset=asset,
        state=RuleState(number=number, told_ns=NOW_NS),
    )


async def claim(stores: Stores, lease: Lease, **changes: Any) -> list[str]:
    wanted: dict[str, Any] = {"now_ns": NOW_NS + S, "limit": 100, "per_endpoint": 100, "busy": (), **changes}
    return [each.delivery for each in await stores.outbox.claim([lease], **wanted)]


async def reason_of(call: Awaitable[object]) -> Reason:
    with pytest.raises(TrinityError) as caught:
        await call
    return caught.value.reason


async def test_an_endpoint_is_found_as_it_was_made(stores: Stores) -> None:
    made = await add(stores, 1, batch_ms=100, ttl_ms=700, paused=True, renew_time_ns=NOW_NS)
    found = await stores.repo.get_endpoint(made.endpoint)
    assert found is not None
    assert found.endpoint == made
    assert replace(found.endpoint, version=0) == endpoint(
        1, batch_ms=100, ttl_ms=700, paused=True, renew_time_ns=NOW_NS
    )
    assert found.secrets == (secret(1, made.endpoint),)
    assert found.challenge == Challenge(digest=bytes(32), expire_time_ns=NOW_NS + S)
    assert await stores.repo.get_endpoint(name("whe_", 99)) is None


async def test_an_endpoint_of_nobody_is_refused(stores: Stores) -> None:
    assert await reason_of(add(stores, 1, associate="nobody")) is Reason.UNKNOWN_ASSOCIATE


async def test_who_makes_an_endpoint_sees_how_many_there_are(stores: Stores) -> None:
    seen: list[Scope] = []

    def full(scope: Scope) -> tuple[Standing, Delivery]:
        seen.append(scope)
        raise TrinityError(Reason.TOO_MANY_ENDPOINTS, "full")

    await add(stores, 1)
    await add(stores, 2, associate="operator")
    assert await reason_of(stores.repo.create_endpoint("demo", full)) is Reason.TOO_MANY_ENDPOINTS
    assert [scope.endpoints for scope in seen] == [1]
    assert len(await stores.repo.list_endpoints(associate=None, after=None, limit=10)) == 2


async def test_endpoints_come_in_pages_newest_first(stores: Stores) -> None:
    for number in range(5):
        await add(stores, number, create_time_ns=NOW_NS + number // 2 * 1_000)
    await add(stores, 9, associate="operator")
    pages, after = [], None
    while page := await stores.repo.list_endpoints(associate="demo", after=after, limit=2):
        pages.append([each.endpoint.endpoint for each in page])
        after = (page[-1].endpoint.create_time_ns, page[-1].endpoint.endpoint)
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [each for page in pages for each in page] == [name("whe_", number) for number in (4, 3, 2, 1, 0)]
    assert len(await stores.repo.list_endpoints(associate=None, after=None, limit=10)) == 6


async def test_a_change_of_an_endpoint_has_a_new_version_and_none_has_none(stores: Stores) -> None:
    made = await add(stores, 1)
    before = await stores.outbox.version()
    same = await stores.repo.change_endpoint(made.endpoint, lambda _: Changed())
    assert same.endpoint == made
    assert await stores.outbox.version() == before
    new = await stores.repo.change_endpoint(
        made.endpoint, lambda old: Changed(endpoint=replace(old.endpoint, name="other"), end_challenge=True)
    )
    assert (new.endpoint.name, new.challenge) == ("other", None)
    assert new.endpoint.version > made.version
    assert await stores.outbox.version() > before
    assert await reason_of(stores.repo.change_endpoint(name("whe_", 9), lambda _: Changed())) is Reason.UNKNOWN_ENDPOINT


async def test_a_change_that_raises_leaves_no_trace(stores: Stores) -> None:
    made = await add(stores, 1)

    def refuse(_: Standing) -> Changed:
        raise TrinityError(Reason.INVALID_FIELD, "no")

    assert await reason_of(stores.repo.change_endpoint(made.endpoint, refuse)) is Reason.INVALID_FIELD
    found = await stores.repo.get_endpoint(made.endpoint)
    assert found is not None
    assert found.endpoint == made


async def test_secrets_are_replaced_together_and_come_newest_first(stores: Stores) -> None:
    made = await add(stores, 1)
    old = replace(secret(1, made.endpoint), expire_time_ns=NOW_NS + S)
    new = (
        secret(3, made.endpoint),
        secret(2, made.endpoint, scheme=Scheme.V1A, public=bytes(32), sealed=bytes(60)),
        old,
    )
    await stores.repo.change_endpoint(made.endpoint, lambda _: Changed(secrets=new))
    found = await stores.repo.get_endpoint(made.endpoint)
    assert found is not None
    assert found.secrets == new


async def test_a_new_challenge_takes_the_place_of_one_that_is_not_sent_yet(stores: Stores) -> None:
    made = await add(stores, 1)
    sent = delivery(5, made.endpoint, kind=DeliveryClass.CHALLENGE)
    challenge = Challenge(digest=bytes(31) + b"x", expire_time_ns=NOW_NS + 5 * S, tries_left=3)
    found = await stores.repo.change_endpoint(
        made.endpoint, lambda _: Changed(challenge=challenge, deliveries=(sent,), end_challenges_ns=NOW_NS + S)
    )
    assert found.challenge == challenge
    listed = await stores.log.list_deliveries(DeliveryFilter(), after=None, limit=10, attempts_max=1)
    assert {each.delivery.delivery: (each.delivery.state, each.delivery.done_time_ns) for each in listed} == {
        sent.delivery: (DeliveryState.PENDING, None),
        name("msg_", 1_000_001): (DeliveryState.FAILED, NOW_NS + S),
    }


async def test_a_deleted_endpoint_takes_everything_along(stores: Stores) -> None:
    made = await add(stores, 1)
    owned = await subscribe(stores, 1, made)
    before = await stores.outbox.version()
    await stores.repo.delete_endpoint(made.endpoint, lambda _: None)
    assert await stores.outbox.version() > before
    assert await stores.repo.get_endpoint(made.endpoint) is None
    assert await stores.repo.get_subscription(owned.subscription) is None
    assert not await stores.log.list_deliveries(DeliveryFilter(), after=None, limit=10, attempts_max=1)
    assert await reason_of(stores.repo.delete_endpoint(made.endpoint, lambda _: None)) is Reason.UNKNOWN_ENDPOINT


async def test_a_subscription_is_found_as_it_was_made(stores: Stores) -> None:
    owner = await add(stores, 1)
    made = await subscribe(stores, 1, owner, name="☂", paused=True)
    assert await stores.repo.get_subscription(made.subscription) == made
    assert (made.rule, made.assets, made.name, made.paused) == (RULE, ("BTC", "ETH"), "☂", True)
    assert made.rule_version == made.version > owner.version
    listed = await stores.repo.list_subscriptions(associate="demo", endpoint=owner.endpoint, after=None, limit=5)
    assert listed == [made]
    assert not await stores.repo.list_subscriptions(associate="operator", endpoint=None, after=None, limit=5)
    place = (made.create_time_ns, made.subscription)
    assert not await stores.repo.list_subscriptions(associate=None, endpoint=None, after=place, limit=5)


async def test_who_makes_a_subscription_sees_the_others_of_its_endpoint(stores: Stores) -> None:
    one, other = await add(stores, 1), await add(stores, 2)
    first = await subscribe(stores, 1, one)
    await subscribe(stores, 2, other)
    seen: list[Scope] = []

    def make(_: Endpoint, scope: Scope) -> Subscription:
        seen.append(scope)
        raise TrinityError(Reason.TOO_MANY_SUBSCRIPTIONS, "full")

    assert await reason_of(stores.repo.create_subscription(one.endpoint, make)) is Reason.TOO_MANY_SUBSCRIPTIONS
    assert seen[0].subscriptions == (first,)


async def test_another_rule_makes_alerts_begin_anew_and_another_name_does_not(stores: Stores) -> None:
    owner = await add(stores, 1)
    made = await subscribe(stores, 1, owner)
    lease = await lease_of(stores, owner)
    await stores.outbox.commit(lease, [state(made, 3)], [])
    named = await stores.repo.change_subscription(made.subscription, lambda old, _: replace(old, name="x"))
    assert named.rule_version == made.rule_version
    assert len(await stores.outbox.states([made.subscription])) == 1
    ruled = await stores.repo.change_subscription(
        made.subscription, lambda old, _: replace(old, rule=replace_rule(old))
    )
    assert ruled.rule_version == ruled.version > named.version
    assert await stores.outbox.states([made.subscription]) == []
    assert await stores.outbox.commit(lease, [state(made, 4)], [alert(made, 4)]) == 0
    assert await stores.outbox.commit(lease, [state(ruled, 1)], [alert(ruled, 1)]) == 1


def replace_rule(old: Subscription) -> Crossing:
    assert isinstance(old.rule, Crossing)
    return Crossing(Direction.DOWN, old.rule.threshold)


async def test_a_removed_subscription_leaves_its_deliveries(stores: Stores) -> None:
    owner = await add(stores, 1)
    made = await subscribe(stores, 1, owner)
    lease = await lease_of(stores, owner)
    await stores.outbox.commit(lease, [state(made, 1)], [alert(made, 1)])
    await stores.repo.delete_subscription(made.subscription, lambda _: None)
    assert await stores.repo.get_subscription(made.subscription) is None
    assert alert(made, 1).delivery in await claim(stores, lease)
    assert (
        await reason_of(stores.repo.delete_subscription(made.subscription, lambda _: None))
        is Reason.UNKNOWN_SUBSCRIPTION
    )


async def test_the_log_filters_and_pages(stores: Stores) -> None:
    one, other = await add(stores, 1), await add(stores, 2, associate="operator")
    for number in range(6):
        await stores.log.enqueue(delivery(number, one.endpoint, payload=b"x" * number))
    await stores.log.enqueue(over(delivery(10, other.endpoint, associate="operator", subscription="s")))

    async def found(after: Any = None, limit: int = 10, **wanted: Any) -> list[str]:
        listed = await stores.log.list_deliveries(DeliveryFilter(**wanted), after=after, limit=limit, attempts_max=5)
        return [each.delivery.delivery for each in listed]

    tests = [name("msg_", number) for number in (5, 4, 3, 2, 1, 0)]
    assert await found(associate="demo", kinds=(DeliveryClass.TEST,)) == tests
    assert await found(endpoint=other.endpoint, states=(DeliveryState.DELIVERED,)) == [name("msg_", 10)]
    assert await found(subscription="s") == [name("msg_", 10)]
    assert await found(associate="demo", start_ns=NOW_NS + 2_000, end_ns=NOW_NS + 4_000) == tests[2:4]
    page = await found(associate="demo", kinds=(DeliveryClass.TEST,), limit=4)
    assert page == tests[:4]
    place = (NOW_NS + 2_000, page[-1])
    assert await found(associate="demo", kinds=(DeliveryClass.TEST,), after=place) == tests[4:]
    listed = await stores.log.list_deliveries(
        DeliveryFilter(kinds=(DeliveryClass.TEST,)), after=None, limit=3, attempts_max=5
    )
    assert [each.payload_bytes for each in listed] == [2, 5, 4]


async def test_a_delivery_with_a_known_id_or_for_no_endpoint_is_refused(stores: Stores) -> None:
    owner = await add(stores, 1)
    await stores.log.enqueue(delivery(1, owner.endpoint))
    assert await reason_of(stores.log.enqueue(delivery(1, owner.endpoint))) is Reason.ALREADY_EXISTS
    assert await reason_of(stores.log.enqueue(delivery(2, name("whe_", 9)))) is Reason.UNKNOWN_ENDPOINT


async def test_what_was_made_lately_is_counted(stores: Stores) -> None:
    owner = await add(stores, 1)
    for number in range(3):
        await stores.log.enqueue(delivery(number, owner.endpoint))
    assert await stores.log.count_recent(owner.endpoint, DeliveryClass.TEST, since_ns=NOW_NS) == 2
    assert await stores.log.count_recent(owner.endpoint, DeliveryClass.ALERT, since_ns=0) == 0


async def test_shares_are_even_and_what_is_beyond_them_is_given_up(stores: Stores) -> None:
    async def lease(holder: str, at_ns: int = NOW_NS) -> set[int]:
        return {each.shard for each in await stores.outbox.lease(holder, now_ns=at_ns, until_ns=at_ns + 10 * S)}

    assert len(await lease("one")) == SHARDS
    assert await lease("two") == set()
    one = await lease("one")
    two = await lease("two")
    assert (len(one), len(two), one & two) == (SHARDS // 2, SHARDS // 2, set())
    # The first is killed: its leases end, and the other has all.
    assert len(await lease("two", NOW_NS + 11 * S)) == SHARDS


async def test_a_worker_that_leaves_hands_over_at_once(stores: Stores) -> None:
    await stores.outbox.lease("one", now_ns=NOW_NS, until_ns=NOW_NS + 10 * S)
    await stores.outbox.end_lease("one")
    assert len(await stores.outbox.lease("two", now_ns=NOW_NS, until_ns=NOW_NS + 10 * S)) == SHARDS


async def test_a_renewed_lease_keeps_its_token_and_a_new_holder_has_a_greater_one(stores: Stores) -> None:
    owner = await add(stores, 1)
    first = await lease_of(stores, owner)
    assert await lease_of(stores, owner) == first
    await stores.outbox.end_lease("one")
    assert (await lease_of(stores, owner, holder="two")).token > first.token


async def test_what_ran_out_and_was_nobodys_meanwhile_goes_on_under_its_token(stores: Stores) -> None:
    async def lease(holder: str, at_ns: int, *, take: bool = True) -> list[Lease]:
        return list(await stores.outbox.lease(holder, now_ns=at_ns, until_ns=at_ns + 10 * S, take=take))

    await lease("one", NOW_NS)
    await lease("two", NOW_NS)
    before = {each: await lease(each, NOW_NS) for each in ("one", "two")}
    late = {each: await lease(each, NOW_NS + 60 * S, take=False) for each in ("one", "two")}
    assert late == before
    assert await lease("three", NOW_NS + 61 * S, take=False) == []
    # One that does not come back for its own loses it.
    both = await lease("two", NOW_NS + 120 * S)
    assert len(both) == SHARDS
    assert set(before["two"]) < set(both)
    assert await lease("one", NOW_NS + 121 * S, take=False) == []


async def test_many_workers_at_once_share_without_two_having_one_part(stores: Stores) -> None:
    async def lease(holder: str) -> list[Lease]:
        return list(await stores.outbox.lease(holder, now_ns=NOW_NS, until_ns=NOW_NS + 10 * S))

    names = [f"w{number}" for number in range(5)]
    for _ in range(3):
        held = await asyncio.gather(*map(lease, names))
    tokens = [each.shard for leases in held for each in leases]
    assert len(tokens) == len(set(tokens))
    for each in names:
        await lease(each)
    sizes = [len(await lease(each)) for each in names]
    assert sum(sizes) == SHARDS
    assert max(sizes) - min(sizes) <= 1


async def test_state_and_alert_commit_together_and_an_alert_only_once(stores: Stores) -> None:
    owner = await add(stores, 1)
    made = await subscribe(stores, 1, owner)
    lease = await lease_of(stores, owner)
    assert await stores.outbox.commit(lease, [state(made, 1)], [alert(made, 1)]) == 1
    assert await stores.outbox.commit(lease, [state(made, 1)], [alert(made, 1)]) == 0
    assert await stores.outbox.states([made.subscription]) == [state(made, 1)]
    # What an older evaluation brings is left out, whatever it says.
    assert await stores.outbox.commit(lease, [state(made, 3)], [alert(made, 2), alert(made, 3)]) == 2
    assert await stores.outbox.commit(lease, [state(made, 2)], [replace(alert(made, 9))]) == 0
    assert await stores.outbox.states([made.subscription]) == [state(made, 3)]


async def test_what_is_written_under_a_lost_lease_is_refused_whole(stores: Stores) -> None:
    owner = await add(stores, 1)
    made = await subscribe(stores, 1, owner)
    lost = await lease_of(stores, owner)
    await stores.outbox.end_lease("one")
    await lease_of(stores, owner, holder="two")
    sent = delivery(1, owner.endpoint)
    await stores.log.enqueue(sent)
    done = Result(attempt=attempt(sent), state=DeliveryState.DELIVERED, failing=False)
    assert await reason_of(stores.outbox.commit(lost, [state(made, 1)], [alert(made, 1)])) is Reason.STORE_CONFLICT
    assert await reason_of(stores.outbox.record(lost, [done])) is Reason.STORE_CONFLICT
    assert await stores.outbox.states([made.subscription]) == []
    found = await stores.log.find_delivery(sent.delivery)
    assert found is not None
    assert found.state is DeliveryState.PENDING


async def test_a_claim_holds_until_the_lease_passes_on(stores: Stores) -> None:
    owner = await add(stores, 1)
    await stores.log.enqueue(delivery(1, owner.endpoint))
    lease = await lease_of(stores, owner)
    both = await claim(stores, lease)
    assert set(both) == {name("msg_", 1), name("msg_", 1_000_001)}
    assert await claim(stores, lease) == []
    await stores.outbox.unclaim([name("msg_", 1)])
    assert await claim(stores, lease) == [name("msg_", 1)]
    # The worker is killed; what it was sending is sent again, by another, without waiting.
    later = await stores.outbox.lease("two", now_ns=NOW_NS + 11 * S, until_ns=NOW_NS + 30 * S)
    new = next(each for each in later if each.shard == owner.shard)
    assert set(await claim(stores, new)) == set(both)


async def test_only_what_is_due_of_endpoints_that_may_be_called_is_claimed(stores: Stores) -> None:
    active, paused, pending, busy = [
        await add(stores, number, **changes)
        for number, changes in enumerate(
            ({}, {"paused": True}, {"state": EndpointState.PENDING}, {"name": "busy"}), start=1
        )
    ]
    for number, owner in enumerate((active, paused, pending, busy), start=1):
        await stores.log.enqueue(delivery(number, owner.endpoint))
    await stores.log.enqueue(delivery(9, active.endpoint, due_time_ns=NOW_NS + 60 * S))
    leases = await stores.outbox.lease("one", now_ns=NOW_NS, until_ns=NOW_NS + 10 * S)
    found = await stores.outbox.claim(leases, now_ns=NOW_NS + S, limit=100, per_endpoint=100, busy=[busy.endpoint])
    tests = [each.delivery for each in found if each.kind is DeliveryClass.TEST]
    challenges = {each.endpoint for each in found if each.kind is DeliveryClass.CHALLENGE}
    assert tests == [name("msg_", 1)]
    assert challenges == {active.endpoint, paused.endpoint, pending.endpoint}


async def test_claims_are_bounded_in_all_and_for_each_endpoint(stores: Stores) -> None:
    one, other = await add(stores, 1), await add(stores, 2)
    for number in range(10):
        await stores.log.enqueue(delivery(number, one.endpoint))
        await stores.log.enqueue(delivery(100 + number, other.endpoint))
    leases = await stores.outbox.lease("one", now_ns=NOW_NS, until_ns=NOW_NS + 10 * S)
    found = await stores.outbox.claim(leases, now_ns=NOW_NS + S, limit=100, per_endpoint=3, busy=())
    owners = [each.endpoint for each in found]
    assert (owners.count(one.endpoint), owners.count(other.endpoint)) == (3, 3)
    assert len(await stores.outbox.claim(leases, now_ns=NOW_NS + S, limit=5, per_endpoint=100, busy=())) == 5


async def test_alerts_of_one_subscription_go_one_after_the_other(stores: Stores) -> None:
    owner = await add(stores, 1)
    one, other = await subscribe(stores, 1, owner), await subscribe(stores, 2, owner)
    lease = await lease_of(stores, owner)
    await claim(stores, lease)
    alerts = [alert(one, 1), alert(one, 2, asset="ETH"), alert(one, 3), alert(other, 1)]
    states = [state(one, 3), state(one, 2, asset="ETH"), state(other, 1)]
    await stores.outbox.commit(lease, states, alerts)
    assert await claim(stores, lease) == [alerts[0].delivery, alerts[3].delivery]
    failed = attempt(alerts[0], outcome=Outcome.REFUSED, status=500)
    again = Result(attempt=failed, state=DeliveryState.PENDING, due_time_ns=NOW_NS + 60 * S, failing=True)
    await stores.outbox.record(lease, [again])
    # The first failed and waits: the later ones wait behind it.
    assert await claim(stores, lease) == []
    assert await claim(stores, lease, now_ns=NOW_NS + 61 * S) == [alerts[0].delivery]
    done = Result(attempt=attempt(alerts[0], 2), state=DeliveryState.DELIVERED, failing=False)
    await stores.outbox.record(lease, [done])
    assert await claim(stores, lease) == [alerts[1].delivery]


async def test_attempts_are_kept_with_what_they_say_of_the_endpoint(stores: Stores) -> None:
    owner = await add(stores, 1)
    sent = delivery(1, owner.endpoint)
    await stores.log.enqueue(sent)
    lease = await lease_of(stores, owner)
    for number in (1, 2, 3):
        failed = attempt(sent, number, outcome=Outcome.TIMED_OUT, status=0, answer=b"", error="no answer in 15 s")
        await stores.outbox.record(
            lease, [Result(attempt=failed, state=DeliveryState.PENDING, due_time_ns=NOW_NS + 9 * S, failing=True)]
        )
    found = await stores.repo.get_endpoint(owner.endpoint)
    assert found is not None
    assert found.endpoint.failing_since_ns == NOW_NS + S
    await stores.outbox.record(lease, [Result(attempt=attempt(sent, 4), state=DeliveryState.DELIVERED, failing=False)])
    found = await stores.repo.get_endpoint(owner.endpoint)
    assert found is not None
    assert found.endpoint.failing_since_ns is None
    wanted = DeliveryFilter(kinds=(DeliveryClass.TEST,))
    (logged,) = await stores.log.list_deliveries(wanted, after=None, limit=5, attempts_max=3)
    assert [each.number for each in logged.attempts] == [4, 3, 2]
    assert logged.attempts[0] == attempt(sent, 4)
    told = logged.delivery
    assert (told.state, told.tries, told.last_status, told.last_outcome, told.due_time_ns, told.done_time_ns) == (
        DeliveryState.DELIVERED,
        4,
        200,
        Outcome.DELIVERED,
        None,
        NOW_NS + 4 * S,
    )


async def test_an_endpoint_that_is_given_up_loses_what_waits(stores: Stores) -> None:
    owner = await add(stores, 1)
    for number in (1, 2):
        await stores.log.enqueue(delivery(number, owner.endpoint))
    lease = await lease_of(stores, owner)
    before = await stores.outbox.version()
    gone = attempt(name("msg_", 1), outcome=Outcome.GONE, status=410)
    await stores.outbox.record(
        lease, [Result(attempt=gone, state=DeliveryState.FAILED, failing=True, disable=DisableReason.GONE)]
    )
    found = await stores.repo.get_endpoint(owner.endpoint)
    assert found is not None
    assert (found.endpoint.state, found.endpoint.disable_reason, found.endpoint.disable_time_ns) == (
        EndpointState.DISABLED,
        DisableReason.GONE,
        NOW_NS + S,
    )
    assert await stores.outbox.version() > before
    assert await claim(stores, lease, now_ns=NOW_NS + 100 * S) == []
    wanted = DeliveryFilter(states=(DeliveryState.FAILED,))
    assert len(await stores.log.list_deliveries(wanted, after=None, limit=9, attempts_max=1)) == 3


async def test_a_result_that_is_told_again_changes_nothing(stores: Stores) -> None:
    owner = await add(stores, 1)
    lease = await lease_of(stores, owner)
    waits, gone = delivery(1, owner.endpoint), delivery(2, owner.endpoint)
    for each in (waits, gone):
        await stores.log.enqueue(each)
    failed = attempt(waits, outcome=Outcome.REFUSED, status=500)
    again = Result(attempt=failed, state=DeliveryState.PENDING, due_time_ns=NOW_NS + S, failing=True)
    for _ in range(3):
        await stores.outbox.record(lease, [again])
    found = await stores.log.find_delivery(waits.delivery)
    assert found is not None
    assert (found.attempts, found.tries, found.state) == (1, 1, DeliveryState.PENDING)
    end = attempt(gone, outcome=Outcome.GONE, status=410)
    for _ in range(2):
        result = Result(attempt=end, state=DeliveryState.FAILED, failing=True, disable=DisableReason.GONE)
        await stores.outbox.record(lease, [result])
    assert len(await stores.repo.list_notices(associate="demo", after=None, limit=9)) == 1


async def test_a_result_of_what_was_deleted_meanwhile_is_nothing(stores: Stores) -> None:
    owner = await add(stores, 1)
    lease = await lease_of(stores, owner)
    await stores.repo.delete_endpoint(owner.endpoint, lambda _: None)
    lost = Result(attempt=attempt(name("msg_", 1)), state=DeliveryState.DELIVERED, failing=False)
    await stores.outbox.record(lease, [lost])
    assert await stores.log.find_delivery(name("msg_", 1)) is None


async def test_one_redelivery_is_out_of_order_and_keeps_its_id_and_attempts(stores: Stores) -> None:
    owner = await add(stores, 1)
    made = await subscribe(stores, 1, owner)
    lease = await lease_of(stores, owner)
    await claim(stores, lease)
    await stores.outbox.commit(lease, [state(made, 2)], [alert(made, 1), alert(made, 2)])
    first = alert(made, 1)
    for each in (1, 2):
        await stores.outbox.record(
            lease, [Result(attempt=attempt(alert(made, each)), state=DeliveryState.DELIVERED, failing=False)]
        )
    again = await stores.log.redeliver(first.delivery, due_ns=NOW_NS)
    assert (again.delivery, again.state, again.attempts, again.tries) == (first.delivery, DeliveryState.PENDING, 0, 1)
    await stores.outbox.commit(lease, [state(made, 3)], [alert(made, 3)])
    assert set(await claim(stores, lease)) == {first.delivery, alert(made, 3).delivery}
    await stores.outbox.record(lease, [Result(attempt=attempt(first, 2), state=DeliveryState.DELIVERED, failing=False)])
    wanted = DeliveryFilter(subscription=made.subscription, end_ns=first.create_time_ns + 1_000)
    (logged,) = await stores.log.list_deliveries(wanted, after=None, limit=5, attempts_max=5)
    assert [each.number for each in logged.attempts] == [2, 1]
    assert await reason_of(stores.log.redeliver(name("msg_", 999), due_ns=0)) is Reason.UNKNOWN_DELIVERY


async def test_a_replay_takes_what_is_over_in_pages_oldest_first(stores: Stores) -> None:
    owner = await add(stores, 1)
    for number in range(5):
        await stores.log.enqueue(over(delivery(number, owner.endpoint)))
    await stores.log.enqueue(delivery(9, owner.endpoint, due_time_ns=NOW_NS + 60 * S))
    lease = await lease_of(stores, owner)
    await claim(stores, lease)
    wanted = DeliveryFilter(endpoint=owner.endpoint, kinds=(DeliveryClass.TEST,), end_ns=NOW_NS + 4_000)
    count, rest = await stores.log.replay(wanted, after=None, due_ns=NOW_NS, limit=3)
    assert (count, rest) == (3, (NOW_NS + 2_000, name("msg_", 2)))
    assert set(await claim(stores, lease)) == {name("msg_", number) for number in range(3)}
    assert await stores.log.replay(wanted, after=rest, due_ns=NOW_NS, limit=3) == (1, None)
    assert await claim(stores, lease) == [name("msg_", 3)]


async def test_ticks_are_logged_once_they_are_over(stores: Stores) -> None:
    owner = await add(stores, 1)
    logged = over(
        delivery(1, owner.endpoint, kind=DeliveryClass.TICK, type="price.tick"),
        delivery=tick_delivery_id(name("tck_", 1), owner.endpoint),
        tries=1,
        attempts=1,
    )
    failed = replace(logged, state=DeliveryState.FAILED)
    await stores.outbox.log([(failed, attempt(logged, outcome=Outcome.REFUSED, status=503))])
    await stores.outbox.log([(replace(logged, tries=2, attempts=2), attempt(logged, 2))])
    await stores.outbox.log([(failed, attempt(logged, outcome=Outcome.REFUSED, status=503))])
    wanted = DeliveryFilter(kinds=(DeliveryClass.TICK,))
    (found,) = await stores.log.list_deliveries(wanted, after=None, limit=5, attempts_max=5)
    assert (found.delivery.state, found.delivery.tries) == (DeliveryState.DELIVERED, 2)
    assert [each.status for each in found.attempts] == [200, 503]
    await stores.repo.delete_endpoint(owner.endpoint, lambda _: None)
    await stores.outbox.log([(logged, attempt(logged, 3))])
    assert await stores.log.find_delivery(logged.delivery) is None


async def test_what_is_over_is_forgotten_in_its_time_and_what_waits_is_not(stores: Stores) -> None:
    owner = await add(stores, 1)
    for number in range(4):
        await stores.log.enqueue(over(delivery(number, owner.endpoint)))
    await stores.log.enqueue(delivery(9, owner.endpoint, create_time_ns=NOW_NS - S))
    assert await stores.outbox.forget(before_ns=NOW_NS + 3_000, limit=2) == 2
    assert await stores.outbox.forget(before_ns=NOW_NS + 3_000, limit=2) == 1
    assert await stores.outbox.forget(before_ns=NOW_NS + 3_000, limit=2) == 0
    assert await stores.log.find_delivery(name("msg_", 3)) is not None
    assert await stores.log.find_delivery(name("msg_", 9)) is not None


async def test_an_engine_sees_its_parts_without_what_is_paused_or_suspended(stores: Stores) -> None:
    one, other = await add(stores, 1), await add(stores, 2, associate="operator")
    active = await subscribe(stores, 1, one)
    await subscribe(stores, 2, one, paused=True)
    ticks = await subscribe(stores, 3, other, rule=EveryChange(), assets=())
    everything = await stores.outbox.watched(range(SHARDS))
    assert {each.endpoint.endpoint for each in everything.standings} == {one.endpoint, other.endpoint}
    assert all(each.secrets for each in everything.standings)
    assert {each.subscription for each in everything.subscriptions} == {active.subscription, ticks.subscription}
    part = await stores.outbox.watched([one.shard])
    assert one.endpoint in {each.endpoint.endpoint for each in part.standings}
    before = await stores.outbox.version()
    await stores.log.enqueue(delivery(1, other.endpoint, associate="operator"))
    await stores.suspend("operator")
    leases = await stores.outbox.lease("one", now_ns=NOW_NS, until_ns=NOW_NS + 10 * S)
    due = await stores.outbox.claim(leases, now_ns=NOW_NS + S, limit=10, per_endpoint=10, busy=())
    assert {each.endpoint for each in due} == {one.endpoint}
    assert await stores.outbox.version() > before
    left = await stores.outbox.watched(range(SHARDS))
    assert [each.endpoint.endpoint for each in left.standings] == [one.endpoint]
    assert [each.subscription for each in left.subscriptions] == [active.subscription]


async def test_changes_at_once_happen_one_after_the_other(stores: Stores) -> None:
    owner = await add(stores, 1)

    async def raise_rate() -> None:
        await stores.repo.change_endpoint(
            owner.endpoint,
            lambda old: Changed(endpoint=replace(old.endpoint, rate_per_s=old.endpoint.rate_per_s + 1)),
        )

    await asyncio.gather(*(raise_rate() for _ in range(10)))
    found = await stores.repo.get_endpoint(owner.endpoint)
    assert found is not None
    assert found.endpoint.rate_per_s == owner.rate_per_s + 10


async def test_claims_whose_answer_was_lost_are_given_back_but_for_those_that_arrived(stores: Stores) -> None:
    owner = await add(stores, 1)
    lease = await lease_of(stores, owner)
    for number in (1, 2, 3):
        await stores.log.enqueue(delivery(number, owner.endpoint))
    claimed = await claim(stores, lease, busy=())
    assert len(claimed) == 4
    await stores.outbox.release([lease], but=claimed[:1])
    assert sorted(await claim(stores, lease)) == sorted(claimed[1:])


async def test_what_ticks_say_of_an_endpoint_is_kept_and_can_be_its_end(stores: Stores) -> None:
    owner = await add(stores, 1)
    lease = await lease_of(stores, owner)
    await stores.log.enqueue(delivery(1, owner.endpoint))
    failed = attempt(tick_delivery_id("tck_" + "0" * 24, owner.endpoint), outcome=Outcome.REFUSED, status=500)
    await stores.outbox.judge(lease, owner.endpoint, Result(attempt=failed, state=DeliveryState.FAILED, failing=True))
    found = await stores.repo.get_endpoint(owner.endpoint)
    assert found is not None
    assert (found.endpoint.failing_since_ns, found.endpoint.version) == (failed.at_ns, owner.version)
    version = await stores.outbox.version()
    gone = replace(failed, outcome=Outcome.GONE, status=410)
    await stores.outbox.judge(
        lease,
        owner.endpoint,
        Result(attempt=gone, state=DeliveryState.FAILED, failing=True, disable=DisableReason.GONE),
    )
    found = await stores.repo.get_endpoint(owner.endpoint)
    assert found is not None
    assert (found.endpoint.state, found.endpoint.disable_reason) == (EndpointState.DISABLED, DisableReason.GONE)
    assert await stores.outbox.version() > version
    waiting = await stores.log.find_delivery(name("msg_", 1))
    assert waiting is not None
    assert waiting.state is DeliveryState.FAILED
    (notice,) = await stores.repo.list_notices(associate="demo", after=None, limit=10)
    assert (notice.endpoint, notice.url, notice.reason) == (owner.endpoint, owner.url, DisableReason.GONE)
    assert notice.time_ns == gone.at_ns


async def test_a_verdict_of_a_worker_that_lost_its_lease_is_refused(stores: Stores) -> None:
    owner = await add(stores, 1)
    lease = await lease_of(stores, owner)
    await stores.outbox.end_lease("one")
    await lease_of(stores, owner, holder="two")
    failed = attempt("tck_x", outcome=Outcome.REFUSED, status=500)
    result = Result(attempt=failed, state=DeliveryState.FAILED, failing=True)
    assert await reason_of(stores.outbox.judge(lease, owner.endpoint, result)) is Reason.STORE_CONFLICT


async def test_notices_are_the_owners_come_in_pages_and_stay_for_their_time(stores: Stores) -> None:
    for number, associate in enumerate(("demo", "operator", "demo", "demo"), 1):
        owner = await add(stores, number, associate=associate)
        lease = await lease_of(stores, owner)
        failed = attempt("tck_x", at_ns=NOW_NS + number // 3 * 1_000, outcome=Outcome.REFUSED, status=500)
        result = Result(attempt=failed, state=DeliveryState.FAILED, failing=True, disable=DisableReason.FAILING)
        await stores.outbox.judge(lease, owner.endpoint, result)
        await stores.repo.delete_endpoint(owner.endpoint, lambda _: None)

    async def found(associate: str | None, after: Any = None, limit: int = 10) -> list[int]:
        notices = await stores.repo.list_notices(associate=associate, after=after, limit=limit)
        return [int.from_bytes(base64.b32hexdecode(each.endpoint[4:].upper()), "big") for each in notices]

    assert await found(None) == [4, 3, 2, 1]
    assert await found("demo") == [4, 3, 1]
    (newest,) = await stores.repo.list_notices(associate="demo", after=None, limit=1)
    assert await found("demo", after=notice_place(newest)) == [3, 1]
    assert await found("demo", after=notice_place(newest), limit=1) == [3]
    await stores.outbox.forget(before_ns=NOW_NS + 1_000, limit=10)
    assert await found(None) == [4, 3]


async def test_what_workers_see_of_an_endpoint_adds_up_and_the_newest_holders_word_counts(stores: Stores) -> None:
    owner = await add(stores, 1)
    version = await stores.outbox.version()
    failure = {"failure_outcome": Outcome.REFUSED, "failure_status": 500, "failure_error": "the answer is 500"}
    first = Activity(
        ticks_delivered=5,
        ticks_failed=1,
        prices=9,
        skipped=4,
        in_flight=1,
        circuit=Circuit.OPEN,
        ready_time_ns=NOW_NS + S,
        success_time_ns=NOW_NS,
        failure_time_ns=NOW_NS + 1_000,
        time_ns=NOW_NS,
        **failure,  # type: ignore[arg-type]
    )
    second = Activity(
        ticks_delivered=2, alerts_delivered=3, alerts_failed=7, success_time_ns=NOW_NS + 2_000, time_ns=NOW_NS + S
    )
    late = Activity(ticks_delivered=1, in_flight=64, circuit=Circuit.HALF_OPEN, time_ns=NOW_NS + 2 * S)
    gone = Seen(endpoint=name("whe_", 99), token=1, activity=first)
    await stores.outbox.see([Seen(endpoint=owner.endpoint, token=7, activity=first), gone])
    await stores.outbox.see([Seen(endpoint=owner.endpoint, token=8, activity=second)])
    await stores.outbox.see([Seen(endpoint=owner.endpoint, token=7, activity=late)])
    found = await stores.repo.get_endpoint(owner.endpoint)
    assert found is not None
    assert found.activity == Activity(
        ticks_delivered=8,
        ticks_failed=1,
        alerts_delivered=3,
        alerts_failed=7,
        prices=9,
        skipped=4,
        success_time_ns=NOW_NS + 2_000,
        failure_time_ns=NOW_NS + 1_000,
        time_ns=NOW_NS + S,
        **failure,  # type: ignore[arg-type]
    )
    assert [each.activity for each in await stores.repo.list_endpoints(associate=None, after=None, limit=9)] == [
        found.activity
    ]
    assert await stores.outbox.version() == version


async def test_a_renewal_is_kept_and_is_no_change(stores: Stores) -> None:
    owner = await add(stores, 1)
    version = await stores.outbox.version()
    await stores.outbox.renewed({owner.endpoint: NOW_NS + 7_000, "whe_gone": NOW_NS})
    found = await stores.repo.get_endpoint(owner.endpoint)
    assert found is not None
    assert found.endpoint.renew_time_ns == NOW_NS + 7_000
    assert await stores.outbox.version() == version


async def test_an_engine_learns_the_key_that_deliveries_are_counted_under(stores: Stores) -> None:
    owner = await add(stores, 1)
    if stores.tables is not None:
        stores.tables.keys["demo"] = "00000000000b"
    else:
        assert stores.postgres is not None
        for key_id, day, revoked in (
            ("00000000000a", 1, "now()"),
            ("00000000000b", 2, "NULL"),
            ("00000000000c", 3, "NULL"),
        ):
            await stores.postgres.execute(
                "INSERT INTO trinity.api_keys (key_id, associate, name, digest, scopes, allowed_networks, create_time, "
                f"revoke_time, version) VALUES ('{key_id}', 'demo', '', sha256('{key_id}'), '{{}}', '{{}}', "
                f"'2026-01-0{day}', {revoked}, 1)"
            )
    watched = await stores.outbox.watched([owner.shard])
    assert [each.key_id for each in watched.standings] == ["00000000000b"]
