"""What owners are told of their endpoints: how calls of them go, and that one was given up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal

import pytest

from jumping_time import run_jumping
from trinity.webhook.v1 import webhook_pb2
from trinity_core.errors import Reason, TrinityError
from trinity_core.webhook_activity import Activity, Seen
from trinity_core.webhook_breaker import Circuit
from trinity_core.webhook_retry import Outcome
from trinity_core.webhook_rules import Crossing, Direction
from trinity_mesh.wire import stamp
from trinity_storage.webhook_outbox import PostgresOutbox
from trinity_webhook.sending import Sent
from webhook.engine_stage import BAD, GOOD, EngineStage, S
from webhook.small_webhook import AT_NS, SmallWebhook, give_up


async def test_an_owner_is_told_of_every_endpoint_that_was_given_up_page_by_page(webhook: SmallWebhook) -> None:
    endpoints = [await webhook.active(url=f"https://hooks.acme.example/{number}") for number in range(3)]
    for number, each in enumerate(endpoints):
        await give_up(webhook, each.endpoint, at_ns=AT_NS + number * 1_000)
    first = await webhook.demo(webhook_pb2.ListNoticesRequest(page_size=2))
    rest = await webhook.demo(webhook_pb2.ListNoticesRequest(page_size=2, page_token=first.next_page_token))
    told = [*first.notices, *rest.notices]
    assert [each.url for each in told] == [each.url for each in reversed(endpoints)]
    assert {each.reason for each in told} == {webhook_pb2.DISABLE_REASON_GONE}
    assert told[0].time == stamp(AT_NS + 2_000)
    assert rest.next_page_token == ""
    assert not (await webhook.other(webhook_pb2.ListNoticesRequest())).notices
    assert len((await webhook.admin(webhook_pb2.ListNoticesRequest(associate="demo"))).notices) == 3
    with pytest.raises(TrinityError) as caught:
        await webhook.other(webhook_pb2.ListNoticesRequest(page_token=first.next_page_token))
    assert caught.value.reason is Reason.INVALID_PAGE_TOKEN


async def test_an_endpoint_shows_how_calls_of_it_go(webhook: SmallWebhook) -> None:
    endpoint = (await webhook.active()).endpoint
    assert not (await webhook.demo(webhook_pb2.GetEndpointRequest(endpoint=endpoint))).endpoint.HasField("activity")
    activity = Activity(
        ticks_delivered=7,
        ticks_failed=6,
        alerts_delivered=5,
        alerts_failed=4,
        prices=30,
        skipped=2,
        in_flight=1,
        circuit=Circuit.OPEN,
        ready_time_ns=AT_NS + S,
        failure_time_ns=AT_NS,
        failure_outcome=Outcome.REFUSED,
        failure_status=503,
        failure_error="the answer is 503",
        time_ns=AT_NS,
    )
    await PostgresOutbox(webhook.part.postgres).see([Seen(endpoint=endpoint, token=1, activity=activity)])
    shown = (await webhook.demo(webhook_pb2.GetEndpointRequest(endpoint=endpoint))).endpoint.activity
    assert shown == webhook_pb2.Activity(
        ticks_delivered=7,
        ticks_failed=6,
        alerts_delivered=5,
        alerts_failed=4,
        prices=30,
        skipped=2,
        in_flight=1,
        circuit=webhook_pb2.CIRCUIT_OPEN,
        ready_time=stamp(AT_NS + S),
        failure_time=stamp(AT_NS),
        failure_outcome=webhook_pb2.OUTCOME_REFUSED,
        failure_status=503,
        failure_error="the answer is 503",
        time=stamp(AT_NS),
    )
    (listed,) = (await webhook.demo(webhook_pb2.ListEndpointsRequest())).endpoints
    assert listed.activity == shown


def test_an_engine_tells_what_its_attempts_came_to_whatever_the_store_does_meanwhile() -> None:
    async def play() -> None:
        stage = EngineStage()
        endpoint = stage.endpoint()
        stage.subscription(endpoint, assets=["BTC"])
        stage.subscription(endpoint, Crossing(Direction.EITHER, Decimal(100)), assets=["ETH"])
        answers = iter([GOOD, GOOD, BAD, GOOD])
        stage.sender.answer = lambda _: (0.1, next(answers, GOOD))
        for life in range(3):
            async with stage.running():
                for step in range(50):
                    stage.price("BTC", 1_000 * life + step)
                    stage.price("ETH", 90 if step % 10 == 0 else 110)
                    await stage.clock.sleep(1)
                await stage.clock.sleep(5)
        taken: Counter[bool] = Counter()
        failed = prices = skipped = 0
        for arrival, sent in stage.sender.outcomes:
            if sent.outcome is not Outcome.DELIVERED:
                failed += 1
                continue
            taken[arrival.is_tick] += 1
            for price in arrival.data.get("prices", ()):
                prices, skipped = prices + 1, skipped + price["skipped"]
        _, activity = stage.tables.activities[endpoint.endpoint]
        assert (activity.ticks_delivered, activity.alerts_delivered) == (taken[True], taken[False])
        assert (activity.ticks_failed + activity.alerts_failed, failed) == (1, 1)
        assert (activity.prices, activity.skipped) == (prices, skipped)
        assert (activity.in_flight, activity.circuit) == (0, Circuit.CLOSED)
        assert activity.failure_error == "the answer is 500"

    run_jumping(play())


def test_an_engine_tells_that_an_endpoint_is_left_alone_and_until_when() -> None:
    async def play() -> None:
        stage = EngineStage()
        endpoint = stage.endpoint()
        stage.subscription(endpoint)
        down = Sent(outcome=Outcome.TIMED_OUT, error="no answer within 15 s")
        stage.sender.answer = lambda _: (0.01, down)
        async with stage.running():
            for step in range(600):
                stage.price("BTC", 1 + step)
                await stage.clock.sleep(0.1)
            _, activity = stage.tables.activities[endpoint.endpoint]
            assert (activity.circuit, activity.failure_outcome) == (Circuit.OPEN, Outcome.TIMED_OUT)
            assert activity.ready_time_ns is not None
            assert 0 < activity.ready_time_ns - activity.time_ns <= 60 * S
            assert activity.ticks_failed == len(stage.sender.arrivals)

    run_jumping(play())


def test_an_endpoint_that_comes_back_under_another_lease_is_told_of_once_with_all_that_was_seen() -> None:
    async def play() -> None:
        stage = EngineStage()
        endpoint = stage.endpoint()
        stage.subscription(endpoint)
        told: list[Seen] = []

        async def see(seen: Sequence[Seen]) -> None:
            assert len({each.endpoint for each in seen}) == len(seen)
            told.extend(seen)

        stage.outbox.see = see  # type: ignore[method-assign]
        async with stage.running() as engine:
            stage.price("BTC", 1)
            await stage.clock.sleep(0.1)
            await stage.outbox.end_lease(engine.holder)
            engine.holding.wake()
            await stage.clock.sleep(1.0)
            stage.price("BTC", 2)
            await stage.clock.sleep(5)
        assert len(stage.sender.arrivals) == 2
        assert told[0].activity.ticks_delivered == 2, "two lanes, told as one"

    run_jumping(play())
