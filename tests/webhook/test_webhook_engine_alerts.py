"""Alerts by a whole engine: stored before they are sent, in order, until they are taken or given up."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from dataclasses import replace
from decimal import Decimal

import pytest

from jumping_time import run_jumping
from trinity_core.prices import State
from trinity_core.usage import Outcome as Use
from trinity_core.webhook_alerts import RuleState, evaluate
from trinity_core.webhook_challenge import make_challenge
from trinity_core.webhook_retry import DELAYS_S, JITTER, Outcome
from trinity_core.webhook_rules import Crossing, Direction, Recovery, Staleness
from trinity_core.webhook_store import DeliveryFilter
from trinity_core.webhooks import Delivery, DeliveryClass, DeliveryState, EndpointState, alert_id
from trinity_webhook.sending import Sent
from webhook.engine_stage import BAD, GOOD, KEY, SELDOM, EngineStage, S

UP = Crossing(Direction.UP, Decimal(100))
EITHER = Crossing(Direction.EITHER, Decimal(100))


def alerts(stage: EngineStage) -> list[Delivery]:
    return [each for each in stage.tables.deliveries.values() if each.kind is DeliveryClass.ALERT]


async def cross(stage: EngineStage, *, times: int = 1, asset: str = "BTC", pause_s: float = 0.0) -> None:
    for _ in range(times):
        stage.price(asset, 99)
        stage.price(asset, 101)
        if pause_s:
            await stage.clock.sleep(pause_s)


def test_a_crossing_is_stored_sent_logged_and_counted() -> None:
    async def play() -> None:
        stage = EngineStage()
        endpoint = stage.endpoint()
        subscription = stage.subscription(endpoint, UP)
        async with stage.running():
            await cross(stage)
            await stage.until(lambda: bool(stage.sender.taken()), "it is taken", seconds=1)
        (alert,) = alerts(stage)
        wanted = alert_id(
            subscription=subscription.subscription, rule_version=subscription.rule_version, asset="BTC", number=1
        )
        assert (alert.delivery, alert.state, alert.ordered) == (wanted, DeliveryState.DELIVERED, True)
        assert stage.sender.arrivals[0].data["price"]["price"] == "101"
        (attempt,) = stage.tables.attempts[wanted]
        assert (attempt.number, attempt.outcome, attempt.status) == (1, Outcome.DELIVERED, 200)
        assert stage.counts.counts == {(KEY, 1, "PushAlert", "BTC", int(Use.SERVED)): 1}

    run_jumping(play())


def test_an_alert_is_tried_by_the_schedule_and_its_endpoint_given_up_after_five_days() -> None:
    async def play() -> None:
        stage = EngineStage(**SELDOM)
        endpoint = stage.endpoint()
        stage.subscription(endpoint, UP)
        stage.sender.answer = lambda _: (0.0, BAD)
        async with stage.running():
            await cross(stage, times=1)
            await stage.clock.sleep(80 * 3_600)
            assert [each.state for each in alerts(stage)] == [DeliveryState.FAILED]
            assert stage.tables.standings[endpoint.endpoint].endpoint.state is EndpointState.ACTIVE
            await cross(stage, times=1)
            await stage.clock.sleep(50 * 3_600)
            assert stage.tables.standings[endpoint.endpoint].endpoint.state is EndpointState.DISABLED
        first, second = alerts(stage)
        times = [each.at_ns for each in stage.tables.attempts[first.delivery]]
        assert len(times) == len(DELAYS_S)
        for earlier, later, pause_s in zip(times, times[1:], DELAYS_S[1:], strict=False):
            assert abs((later - earlier) / S - pause_s) <= pause_s * JITTER + 1
        assert second.state is DeliveryState.FAILED
        assert stage.tables.standings[endpoint.endpoint].endpoint.disable_reason is not None

    run_jumping(play())


def test_a_pause_that_is_asked_for_is_longer_than_the_schedule() -> None:
    async def play() -> None:
        stage = EngineStage()
        stage.subscription(stage.endpoint(), UP)
        busy = Sent(outcome=Outcome.REFUSED, status=503, error="the answer is 503", retry_after_s=600)
        turns = iter([busy, GOOD])
        stage.sender.answer = lambda _: (0.0, next(turns))
        async with stage.running():
            await cross(stage)
            await stage.until(lambda: bool(stage.sender.taken()), "it is taken", seconds=700)
        first, second = (arrival.at_ns for arrival in stage.sender.arrivals)
        assert 600 * S <= second - first <= 602 * S

    run_jumping(play())


def test_an_endpoint_that_is_gone_gets_nothing_more_and_one_made_active_anew_does() -> None:
    async def play() -> None:
        stage = EngineStage()
        endpoint = stage.endpoint()
        stage.subscription(endpoint, UP)
        stage.sender.answer = lambda _: (0.0, Sent(outcome=Outcome.GONE, status=410, error="the answer is 410"))
        async with stage.running():
            await cross(stage, times=5)
            await stage.clock.sleep(60)
            assert len(stage.sender.arrivals) == 1
            assert {each.state for each in alerts(stage)} == {DeliveryState.FAILED}
            stage.sender.answer = lambda _: (0.0, GOOD)
            stage.change_endpoint(
                endpoint.endpoint, state=EndpointState.ACTIVE, verify_time_ns=5, failing_since_ns=None
            )
            await stage.clock.sleep(2)
            await cross(stage)
            await stage.clock.sleep(2)
            assert len(stage.sender.taken()) == 1

    run_jumping(play())


def test_a_request_that_met_a_closed_connection_is_made_again_at_once() -> None:
    async def play() -> None:
        stage = EngineStage()
        stage.subscription(stage.endpoint(), UP)
        stale = Sent(outcome=Outcome.NOT_CONNECTED, error="closed", reused=True, stale=True)
        turns = iter([stale, GOOD])
        stage.sender.answer = lambda _: (0.0, next(turns))
        async with stage.running():
            await cross(stage)
            await stage.until(lambda: bool(stage.sender.taken()), "it is taken", seconds=1)
        assert [each.number for each in stage.tables.attempts[alerts(stage)[0].delivery]] == [1, 2]

    run_jumping(play())


def test_an_endpoint_has_no_more_under_way_than_it_allows_and_one_subscription_has_one() -> None:
    async def play() -> None:
        stage = EngineStage()
        wide, single = stage.endpoint(in_flight_max=3), stage.endpoint(in_flight_max=8)
        for _ in range(10):
            stage.subscription(wide, UP)
        stage.subscription(single, UP)
        stage.sender.answer = lambda _: (0.5, GOOD)
        async with stage.running():
            await cross(stage, times=4)
            await stage.until(lambda: len(stage.sender.taken()) == 44, "all are taken", seconds=60)
        assert stage.sender.most[wide.endpoint, False] == 3
        assert stage.sender.most[single.endpoint, False] == 1

    run_jumping(play())


def test_one_slow_endpoint_keeps_no_other_waiting() -> None:
    async def play() -> None:
        stage = EngineStage(in_flight_max=8)
        slow, quick = stage.endpoint(in_flight_max=4), stage.endpoint()
        for _ in range(50):
            stage.subscription(slow, UP)
        stage.subscription(quick, UP)
        stage.sender.answer = lambda arrival: (15.0 if arrival.endpoint == slow.endpoint else 0.01, GOOD)
        async with stage.running():
            await cross(stage)
            await stage.clock.sleep(1)
            quickly = [arrival for arrival in stage.sender.arrivals if arrival.endpoint == quick.endpoint]
            assert len(quickly) == 1

    run_jumping(play())


def test_a_circuit_that_opened_is_probed_with_one_request() -> None:
    async def play() -> None:
        stage = EngineStage()
        endpoint = stage.endpoint(in_flight_max=16)
        for _ in range(40):
            stage.subscription(endpoint, UP)
        down = Sent(outcome=Outcome.NOT_CONNECTED, error="refused")
        stage.sender.answer = lambda _: (0.2, down)
        async with stage.running():
            await cross(stage)
            await stage.clock.sleep(3.5)
            times = sorted(arrival.at_ns for arrival in stage.sender.arrivals)
            opened = times[4] + S // 5
            probes = [at for at in times if at > opened + S // 2]
            assert len(probes) >= 2
            assert all(later - earlier >= S for earlier, later in itertools.pairwise(probes))
            stage.sender.answer = lambda _: (0.2, GOOD)
            await stage.until(lambda: len(stage.sender.taken()) == 40, "all are taken", seconds=700)

    run_jumping(play())


def test_what_waits_for_a_cooldown_and_what_grows_stale_is_told_without_another_price() -> None:
    async def play() -> None:
        stage = EngineStage()
        endpoint = stage.endpoint()
        stage.subscription(endpoint, replace_cooldown(UP, 60_000), assets=["BTC"])
        stage.subscription(endpoint, Staleness(after_ms=30_000), assets=["ETH"])
        stage.subscription(endpoint, Recovery(after_ms=10_000), assets=["ETH"])
        async with stage.running():
            await cross(stage, times=2)
            stage.price("ETH", 5, state=State.STALE)
            await stage.clock.sleep(90)
            stage.price("ETH", 6)
            await stage.clock.sleep(5)
        kinds = [each.type for each in sorted(alerts(stage), key=lambda each: each.create_time_ns)]
        assert kinds == ["alert.crossing", "alert.staleness", "alert.crossing", "alert.recovery"]

    run_jumping(play())


def replace_cooldown(rule: Crossing, cooldown_ms: int) -> Crossing:
    return Crossing(rule.direction, rule.threshold, rule.hysteresis, cooldown_ms)


def test_a_paused_endpoint_gets_its_alerts_when_it_goes_on() -> None:
    async def play() -> None:
        stage = EngineStage()
        endpoint = stage.endpoint(paused=True)
        stage.subscription(endpoint, UP)
        async with stage.running():
            await cross(stage, times=3)
            await stage.clock.sleep(10)
            assert not stage.sender.arrivals
            stage.change_endpoint(endpoint.endpoint, paused=False)
            await stage.clock.sleep(10)
            assert [arrival.data["number"] for arrival in stage.sender.arrivals] == [1, 2, 3]

    run_jumping(play())


def test_a_challenge_that_is_answered_makes_its_endpoint_active() -> None:
    async def play() -> None:
        stage = EngineStage()
        endpoint = stage.endpoint(state=EndpointState.PENDING)
        stage.subscription(endpoint, UP)
        text, challenge = make_challenge(stage.dice.randbytes, now_ns=stage.clock.unix_ns())
        standing = stage.tables.standings[endpoint.endpoint]
        stage.tables.standings[endpoint.endpoint] = replace(standing, challenge=challenge)
        stage.delivery(endpoint, DeliveryClass.CHALLENGE)
        stage.sender.answer = lambda _: (0.0, Sent(outcome=Outcome.DELIVERED, status=200, answer=text.encode()))
        async with stage.running():
            await stage.clock.sleep(3)
            assert stage.tables.standings[endpoint.endpoint].endpoint.state is EndpointState.ACTIVE
            await cross(stage)
            await stage.clock.sleep(1)
            assert len(stage.sender.arrivals) == 2
        assert set(stage.counts.counts.values()) == {1}, "the challenge is not counted"

    run_jumping(play())


def test_a_challenge_is_tried_for_as_long_as_it_can_be_answered_and_a_test_once() -> None:
    async def play() -> None:
        stage = EngineStage()
        endpoint = stage.endpoint()
        stage.sender.answer = lambda _: (0.0, BAD)
        for kind in (DeliveryClass.CHALLENGE, DeliveryClass.TEST):
            stage.delivery(endpoint, kind)
        async with stage.running():
            await stage.clock.sleep(3_600)
        assert stage.states(DeliveryClass.CHALLENGE) == {DeliveryState.FAILED: 1}
        assert stage.states(DeliveryClass.TEST) == {DeliveryState.FAILED: 1}
        tries = sorted(each.tries for each in stage.tables.deliveries.values())
        assert tries == [1, 3], "at 0 s, 5 s and 5 min; the next would be after the 15 min that it lasts"

    run_jumping(play())


def test_a_redelivery_and_a_replay_are_sent_from_the_outbox() -> None:
    async def play() -> None:
        stage = EngineStage()
        endpoint = stage.endpoint()
        stage.subscription(endpoint, UP)
        async with stage.running():
            await cross(stage, times=3)
            await stage.clock.sleep(2)
            first = stage.sender.taken()
            await stage.log.redeliver(first[1], due_ns=stage.clock.unix_ns())
            await stage.clock.sleep(2)
            assert stage.sender.taken() == [*first, first[1]]
            await stage.log.replay(
                DeliveryFilter(endpoint=endpoint.endpoint), after=None, due_ns=stage.clock.unix_ns(), limit=100
            )
            await stage.clock.sleep(2)
            assert sorted(stage.sender.taken()) == sorted([*first, first[1], *first])

    run_jumping(play())


@pytest.mark.parametrize("seed", range(6))
def test_in_seeded_hours_without_a_kill_alerts_are_those_that_the_rule_makes_each_once_and_in_order(seed: int) -> None:
    async def play() -> None:
        stage, dice = EngineStage(seed=seed, **SELDOM), random.Random(seed)
        subscriptions = [
            stage.subscription(stage.endpoint(), Crossing(Direction.EITHER, Decimal(100), Decimal(dice.randint(0, 3))))
            for _ in range(5)
        ]
        stage.sender.answer = lambda _: (dice.choice((0.01, 0.3)), BAD if dice.random() < 0.2 else GOOD)
        states = {(each.subscription, asset): RuleState() for each in subscriptions for asset in "AB"}
        wanted: defaultdict[tuple[str, str], list[Decimal]] = defaultdict(list)
        async with stage.running():
            for _ in range(200):
                await stage.clock.sleep(dice.choice((0.0, 0.02, 30.0)))
                asset = dice.choice("AB")
                change = stage.price(asset, dice.randint(95, 105))
                for each in subscriptions:
                    place = (each.subscription, asset)
                    assert isinstance(each.rule, Crossing)
                    states[place], alert = evaluate(each.rule, states[place], change, stage.clock.unix_ns())
                    if alert is not None:
                        wanted[place].append(alert.change.price)
            await stage.until(
                lambda: stage.states(DeliveryClass.ALERT)[DeliveryState.PENDING] == 0, "all are over", seconds=90_000
            )
        firsts: defaultdict[tuple[str, str], list[Decimal]] = defaultdict(list)
        for arrival, sent in stage.sender.outcomes:
            if sent is GOOD:
                firsts[arrival.data["subscription"], arrival.data["price"]["asset"]].append(
                    Decimal(arrival.data["price"]["price"])
                )
        assert firsts == wanted, "each once, in order"

    run_jumping(play())


@pytest.mark.parametrize("seed", range(6))
def test_in_seeded_hours_with_kills_no_alert_is_lost_and_each_crossing_that_lasts_is_told(seed: int) -> None:
    async def play() -> None:
        stage, dice = EngineStage(seed=seed), random.Random(seed)
        subscriptions = [stage.subscription(stage.endpoint(), EITHER) for _ in range(4)]
        stage.sender.answer = lambda _: (dice.choice((0.01, 0.3, 5.0)), BAD if dice.random() < 0.1 else GOOD)
        for _ in range(12):
            async with stage.doomed():
                for _ in range(dice.randint(1, 8)):
                    await turn(stage, dice)
            await stage.clock.sleep(dice.choice((0.0, 1.0, 10.0)))
        async with stage.running():
            await turn(stage, dice)
            await stage.until(
                lambda: stage.states(DeliveryClass.ALERT)[DeliveryState.PENDING] == 0, "all are over", seconds=90_000
            )
        taken = set(stage.sender.taken())
        assert {each.delivery for each in alerts(stage)} == taken, "none is lost, and none is made up"
        for each in subscriptions:
            numbers = sorted(
                {
                    arrival.data["number"]
                    for arrival in stage.sender.arrivals
                    if arrival.data["subscription"] == each.subscription
                }
            )
            assert numbers == list(range(1, len(numbers) + 1))
            # Every turn was held until it was stored, but for the first, which is no crossing.
            assert len(numbers) == stage.sides - 1
            in_order(stage, each.subscription)

    run_jumping(play())


async def turn(stage: EngineStage, dice: random.Random) -> None:
    """The price goes to the other side, and stays there until that is stored."""
    wanted = len(alerts(stage)) + (4 if stage.sides else 0)
    stage.sides += 1
    stage.price("BTC", 110 if stage.sides % 2 else 90)
    await stage.until(lambda: len(alerts(stage)) >= wanted, "the alerts are stored", seconds=60)
    if stage.sides == 1:
        await stage.clock.sleep(6)
    await stage.clock.sleep(dice.choice((0.0, 0.1, 2.0)))


def in_order(stage: EngineStage, subscription: str) -> None:
    first: dict[int, int] = {}
    for arrival, sent in stage.sender.outcomes:
        if sent.outcome is Outcome.DELIVERED and arrival.data["subscription"] == subscription:
            first.setdefault(arrival.data["number"], len(first))
    assert list(first) == sorted(first)


def test_two_workers_share_the_endpoints_and_a_killed_ones_pass_on_within_seconds() -> None:
    async def play() -> None:
        stage = EngineStage()
        endpoints = [stage.endpoint() for _ in range(40)]
        for endpoint in endpoints:
            stage.subscription(endpoint, UP)
            stage.subscription(endpoint, assets=["ETH"])
        async with stage.running() as one:
            async with stage.doomed() as two:
                await stage.clock.sleep(3)
                assert (len(one.holding.leases), len(two.holding.leases)) == (32, 32)
                await cross(stage)
                stage.price("ETH", 1)
                await stage.clock.sleep(1)
                assert len(stage.sender.arrivals) == 80, "each endpoint is one worker's"
            await stage.clock.sleep(7)
            assert len(one.holding.leases) == 64
            await cross(stage)
            await stage.clock.sleep(1)
            assert len(stage.sender.arrivals) == 120

    run_jumping(play())


def test_an_alert_while_the_limit_of_those_that_wait_is_reached_is_made_of_the_newest_price() -> None:
    async def play() -> None:
        stage = EngineStage(alerts_waiting_max=2)
        stage.subscription(stage.endpoint(), EITHER)
        async with stage.running() as engine:
            stage.price("BTC", 90)
            for step in range(10):
                stage.price("BTC", 110 if step % 2 == 0 else 90)
            assert engine.alerts.waiting == 2
            await stage.clock.sleep(3)
            stage.price("BTC", 110)
            await stage.clock.sleep(3)
            assert [arrival.data["price"]["price"] for arrival in stage.sender.arrivals] == ["110", "90", "110"]

    run_jumping(play())
