"""Ticks by a whole engine: newest wins, one batch in flight, nothing kept for long, everything accounted for."""

from __future__ import annotations

import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from decimal import Decimal

import pytest

from jumping_time import run_jumping
from trinity_core.errors import Reason, TrinityError
from trinity_core.usage import Outcome as Use
from trinity_core.webhook_memory_outbox import MemoryOutbox
from trinity_core.webhook_retry import Outcome
from trinity_core.webhook_rules import Interval, Moved
from trinity_core.webhooks import Attempt, Delivery, DeliveryClass, DeliveryState
from trinity_webhook.engine import Engine
from trinity_webhook.sending import Sent
from webhook.engine_stage import BAD, GOOD, KEY, SELDOM, Arrival, EngineStage, S

ASSETS = [f"A{number}" for number in range(150)]


def told(arrivals: list[Arrival]) -> Counter[str]:
    """Changes that some requests told of each asset: delivered, or folded into one that was."""
    found: Counter[str] = Counter()
    for arrival in arrivals:
        for price in arrival.data["prices"]:
            found[price["asset"]] += 1 + price["skipped"]
    return found


def taken(stage: EngineStage, endpoint: str) -> list[Arrival]:
    return [
        arrival
        for arrival, sent in stage.sender.outcomes
        if arrival.endpoint == endpoint and sent.outcome is Outcome.DELIVERED
    ]


def test_a_slow_endpoint_gets_fewer_and_fresher_prices_at_constant_cost() -> None:
    async def play() -> None:
        stage = EngineStage()
        slow = stage.endpoint(batch_max=150)
        stage.subscription(slow, assets=ASSETS)
        stage.sender.answer = lambda _: (1.0, GOOD)
        offered: Counter[str] = Counter()
        newest: dict[str, int] = {}
        dice = random.Random(5)
        async with stage.running() as engine:
            for _ in range(20 * 100):
                for asset in dice.sample(ASSETS, 50):
                    newest[asset] = stage.price(asset, dice.randint(1, 10**6)).sequence
                    offered[asset] += 1
                board = engine.ticks.board(slow.endpoint)
                assert board is not None
                assert len(board) <= len(ASSETS)
                assert engine.ticks.in_flight <= 1
                await stage.clock.sleep(0.01)
            await stage.until(lambda: board.outstanding == 0, "everything is told", seconds=10)
        assert stage.sender.most[slow.endpoint, True] == 1
        arrivals = taken(stage, slow.endpoint)
        assert 20 <= len(arrivals) <= 23, "one a second"
        assert told(arrivals) == offered, "skipped adds up exactly"
        last = {price["asset"]: price["sequence"] for each in arrivals for price in each.data["prices"]}
        assert last == newest
        for arrival in arrivals[1:]:
            for price in arrival.data["prices"]:
                seconds = price["receive_time"].rpartition(":")[2].removesuffix("Z")
                age_s = (arrival.at_ns / 1e9 - float(seconds)) % 60
                assert age_s <= 1.0 + 0.1, "as old as the endpoint is slow, and 100 ms"

    run_jumping(play())


def test_what_was_not_delivered_in_time_is_dropped_and_counted() -> None:
    async def play() -> None:
        stage = EngineStage()
        down = stage.endpoint(ttl_ms=2_000)
        stage.subscription(down, assets=["BTC"])
        stage.sender.answer = lambda _: (0.01, BAD)
        async with stage.running() as engine:
            stage.price("BTC", 1)
            await stage.clock.sleep(600)
            tries = len(stage.sender.arrivals)
            assert 1 <= tries <= 10, "tried for its two seconds, and not for ten minutes"
            stage.sender.answer = lambda _: (0.01, GOOD)
            await stage.clock.sleep(120)
            assert len(stage.sender.arrivals) == tries
            stage.price("BTC", 2)
            await stage.clock.sleep(120)
            assert [arrival.data["prices"][0]["skipped"] for arrival in taken(stage, down.endpoint)] == [1]
            board = engine.ticks.board(down.endpoint)
            assert board is not None
            assert board.expired == 1

    run_jumping(play())


def test_one_change_is_rendered_once_and_signed_once_for_all_who_share_secret_and_subscription() -> None:
    async def play() -> None:
        stage = EngineStage()
        endpoints = [stage.endpoint() for _ in range(50)]
        for endpoint in endpoints:
            stage.subscription(endpoint, assets=["BTC"])
        async with stage.running() as engine:
            for value in range(1, 11):
                stage.price("BTC", value)
                await stage.clock.sleep(1)
            assert len(stage.sender.arrivals) == 500
            assert engine.ticks.rendered == 10
            assert engine.signed == 10
        assert len({arrival.message for arrival in stage.sender.arrivals}) == 10

    run_jumping(play())


def test_an_interval_and_a_move_are_kept_to() -> None:
    async def play() -> None:
        stage = EngineStage()
        paced, moved = stage.endpoint(), stage.endpoint()
        stage.subscription(paced, Interval(10_000), assets=["BTC"])
        stage.subscription(moved, Moved(Decimal(100)))
        async with stage.running():
            for step in range(1_000):
                stage.price("BTC", 10_000 + step)
                await stage.clock.sleep(0.1)
        times = [arrival.at_ns for arrival in taken(stage, paced.endpoint)]
        assert len(times) == 10
        assert all(later - earlier >= 10 * S for earlier, later in itertools.pairwise(times))
        values = [Decimal(arrival.data["prices"][0]["price"]) for arrival in taken(stage, moved.endpoint)]
        assert values[0] == 10_000
        assert all(later >= earlier * Decimal("1.01") for earlier, later in itertools.pairwise(values))
        assert len(values) == 10

    run_jumping(play())


def test_rate_and_breaker_bound_what_is_sent_to_an_endpoint() -> None:
    async def play() -> None:
        stage = EngineStage()
        rated, broken = stage.endpoint(rate_per_s=5), stage.endpoint()
        for endpoint in (rated, broken):
            stage.subscription(endpoint)
        stage.sender.answer = lambda arrival: (0.001, BAD if arrival.endpoint == broken.endpoint else GOOD)
        async with stage.running():
            for step in range(12_000):
                stage.price("BTC", 1 + step)
                await stage.clock.sleep(0.05)
        seconds = Counter(arrival.at_ns // S for arrival in stage.sender.arrivals if arrival.endpoint == rated.endpoint)
        assert max(seconds.values()) <= 5
        assert sum(seconds.values()) >= 2_990
        probes = [arrival for arrival in stage.sender.arrivals if arrival.endpoint == broken.endpoint]
        assert 15 <= len(probes) <= 25, "five, and then a probe at pauses that double up to a minute"

    run_jumping(play())


def test_a_pause_that_is_asked_for_is_given_and_an_endpoint_that_is_gone_is_given_up() -> None:
    async def play() -> None:
        stage = EngineStage()
        busy, gone = stage.endpoint(), stage.endpoint()
        for endpoint in (busy, gone):
            stage.subscription(endpoint)
        later = Sent(outcome=Outcome.REFUSED, status=429, error="the answer is 429", retry_after_s=300)
        away = Sent(outcome=Outcome.GONE, status=410, error="the answer is 410")
        stage.sender.answer = lambda arrival: (0.01, later if arrival.endpoint == busy.endpoint else away)
        async with stage.running():
            for step in range(2_990):
                stage.price("BTC", 1 + step)
                await stage.clock.sleep(0.1)
        assert Counter(arrival.endpoint for arrival in stage.sender.arrivals) == {busy.endpoint: 1, gone.endpoint: 1}
        found = stage.tables.standings[gone.endpoint].endpoint
        assert (found.state.name, found.disable_reason and found.disable_reason.name) == ("DISABLED", "GONE")
        assert stage.tables.standings[busy.endpoint].endpoint.failing_since_ns is not None

    run_jumping(play())


def test_an_endpoint_of_ticks_alone_that_fails_for_five_days_is_given_up() -> None:
    async def play() -> None:
        stage = EngineStage(**SELDOM)
        dead = stage.endpoint()
        stage.subscription(dead)
        stage.sender.answer = lambda _: (0.01, BAD)
        async with stage.running():
            for hour in range(5 * 24 + 2):
                if hour == 5 * 24 - 1:
                    assert stage.tables.standings[dead.endpoint].endpoint.state.name == "ACTIVE"
                for step in range(60):
                    stage.price("BTC", 1 + step)
                    await stage.clock.sleep(60)
        found = stage.tables.standings[dead.endpoint].endpoint
        assert (found.state.name, found.disable_reason and found.disable_reason.name) == ("DISABLED", "FAILING")

    run_jumping(play())


def test_every_attempt_is_logged_and_what_was_taken_is_counted_under_a_key_of_its_owner() -> None:
    async def play() -> None:
        stage = EngineStage()
        endpoint = stage.endpoint()
        stage.subscription(endpoint)
        turns = iter([BAD, GOOD, GOOD])
        stage.sender.answer = lambda _: (0.25, next(turns))
        async with stage.running():
            stage.price("BTC", 1)
            await stage.clock.sleep(2)
            stage.price("ETH", 2)
            await stage.clock.sleep(2)
        deliveries = [each for each in stage.tables.deliveries.values() if each.kind is DeliveryClass.TICK]
        attempts = [attempt for each in deliveries for attempt in stage.tables.attempts[each.delivery]]
        assert [each.state for each in deliveries] == [DeliveryState.DELIVERED] * 2
        assert [(each.number, each.outcome, each.status, each.latency_us) for each in attempts] == [
            (1, Outcome.REFUSED, 500, 250_000),
            (2, Outcome.DELIVERED, 200, 250_000),
            (1, Outcome.DELIVERED, 200, 250_000),
        ]
        assert stage.counts.counts == {
            (KEY, 1, "PushTick", "BTC", int(Use.FAILED)): 1,
            (KEY, 1, "PushTick", "BTC", int(Use.SERVED)): 1,
            (KEY, 1, "PushTick", "ETH", int(Use.SERVED)): 1,
        }

    run_jumping(play())


class SlowOutbox(MemoryOutbox):
    """Takes `pause_s` for every part of the log, or does not take it at all."""

    def __init__(self, stage: EngineStage) -> None:
        super().__init__(stage.tables)
        self._clock = stage.clock
        self.pause_s = 1.0
        self.is_down = False

    async def log(self, entries: Sequence[tuple[Delivery, Attempt]]) -> None:
        await self._clock.sleep(self.pause_s)
        if self.is_down:
            raise TrinityError(Reason.STORE_UNAVAILABLE, "the store is down")
        await super().log(entries)


def test_ticks_wait_for_a_log_that_is_slower_than_they_are_and_every_attempt_is_in_it() -> None:
    async def play() -> None:
        stage = EngineStage(log_waiting_max=20)
        stage.outbox = outbox = SlowOutbox(stage)
        endpoints = [stage.endpoint() for _ in range(5)]
        for endpoint in endpoints:
            stage.subscription(endpoint, assets=["BTC"])
        offered = 0
        async with stage.running() as engine:
            for step in range(3_000):
                outbox.is_down = 500 <= step < 1_000
                offered += 1
                stage.price("BTC", offered)
                await stage.clock.sleep(0.05)
                assert engine.tick_log.waiting <= 20
                if outbox.is_down and step > 600:
                    assert engine.ticks.in_flight == 0, "nothing is sent that could not be logged"
            await stage.clock.sleep(5)
        for endpoint in endpoints:
            assert told(taken(stage, endpoint.endpoint)) == {"BTC": offered}, "what waited was folded"
        logged = sum(len(stage.tables.attempts[name]) for name in stage.tables.deliveries)
        assert logged == len(stage.sender.arrivals)
        assert 500 < logged < 5 * offered / 2

    run_jumping(play())


def test_ticks_that_could_not_be_counted_are_not_sent() -> None:
    async def play() -> None:
        stage = EngineStage()
        endpoint = stage.endpoint(ttl_ms=60_000)
        stage.subscription(endpoint)
        async with stage.running():
            stage.counts.full = True
            stage.price("BTC", 1)
            await stage.clock.sleep(5)
            assert not stage.sender.arrivals
            stage.counts.full = False
            await stage.clock.sleep(2)
            assert len(stage.sender.arrivals) == 1

    run_jumping(play())


@pytest.mark.parametrize("seed", range(6))
def test_in_seeded_hours_every_change_is_delivered_or_told_as_skipped_or_still_waits(seed: int) -> None:
    async def play() -> None:
        stage, dice = EngineStage(seed=seed, log_waiting_max=0), random.Random(seed)
        assets = ASSETS[:6]
        endpoints = [
            stage.endpoint(
                batch_max=dice.randint(1, 6), batch_ms=dice.choice((0, 500)), ttl_ms=dice.choice((500, 5_000))
            )
            for _ in range(4)
        ]
        for endpoint in endpoints:
            stage.subscription(endpoint, dice.choice((None, Interval(3_000), Moved(Decimal(20)))), assets=assets)
        moods: defaultdict[str, float] = defaultdict(float)

        def answer(arrival: Arrival) -> tuple[float, Sent]:
            if dice.random() < 0.05:
                moods[arrival.endpoint] = dice.choice((0.0, 0.1, 0.9))
            return dice.choice((0.005, 0.05, 3.0)), BAD if dice.random() < moods[arrival.endpoint] else GOOD

        stage.sender.answer = answer
        offered: Counter[str] = Counter()
        value = 10_000
        async with stage.running() as engine:
            for _ in range(500):
                await stage.clock.sleep(dice.choice((0.01, 0.5, 12.0)))
                for asset in dice.sample(assets, dice.randint(1, 6)):
                    value += dice.randint(-30, 30)
                    stage.price(asset, value)
                    offered[asset] += 1
            await stage.clock.sleep(700)
            check(stage, engine, [endpoint.endpoint for endpoint in endpoints], offered)

    run_jumping(play())


def check(stage: EngineStage, engine: Engine, endpoints: list[str], offered: Counter[str]) -> None:
    for name in endpoints:
        board = engine.ticks.board(name)
        assert board is not None
        arrivals = taken(stage, name)
        assert board.offered == sum(offered.values())
        assert board.offered == board.delivered + board.folded + board.outstanding
        assert sum(told(arrivals).values()) == board.delivered + board.folded
        assert stage.sender.most[name, True] == 1
        newest: defaultdict[str, int] = defaultdict(int)
        for arrival in arrivals:
            for price in arrival.data["prices"]:
                assert price["sequence"] > newest[price["asset"]], "a newer one each time"
                newest[price["asset"]] = price["sequence"]
