"""Prices and alerts pushed as datagrams by a whole engine, over real sockets, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pytest

from jumping_time import run_jumping
from trinity_client.webhook_datagrams import Push
from trinity_core.usage import Outcome as Use
from trinity_core.webhook_challenge import make_challenge
from trinity_core.webhook_datagram import RENEW_S
from trinity_core.webhook_payload import challenge_body
from trinity_core.webhook_retry import Outcome
from trinity_core.webhook_rules import Crossing, Direction
from trinity_core.webhook_urls import Kind
from trinity_core.webhooks import DeliveryClass, DeliveryState, Endpoint, EndpointState
from trinity_webhook.engine import Engine
from trinity_webhook.udp_config import UdpSenderConfig
from trinity_webhook.udp_sender import UdpSender
from webhook.engine_stage import KEY, EngineStage, S
from webhook.listening import Listener
from webhook.receiving import POLICY, Names

UDP = 2
UP = Crossing(Direction.UP, Decimal(100))


@dataclass
class Pushed:
    """An engine that pushes to one customer."""

    stage: EngineStage
    engine: Engine
    listener: Listener
    endpoint: Endpoint

    @property
    def prices(self) -> list[Push]:
        return [push for push in self.listener.pushes if push.prices]

    @property
    def messages(self) -> list[Push]:
        return [push for push in self.listener.pushes if push.message]

    @property
    def beats(self) -> list[Push]:
        return [push for push in self.listener.pushes if not push.prices and not push.message]

    def told(self) -> Counter[str]:
        """Changes that datagrams told of each asset: shown, or folded into one that was."""
        found: Counter[str] = Counter()
        for push in self.prices:
            for price in push.prices:
                found[price.asset] += 1 + price.skipped
        return found

    async def live(self) -> None:
        """The engine has read what its customer asks for, and the flow is renewed."""
        await self.stage.clock.sleep(2)
        await self.stage.until(lambda: bool(self.beats) and self.is_live, "the customer renews", seconds=70)

    @property
    def is_live(self) -> bool:
        assert self.stage.udp is not None
        return self.stage.udp.is_live(self.endpoint.endpoint)

    def attempts(self) -> list[Any]:
        found = [attempt for each in self.stage.tables.attempts.values() for attempt in each]
        return sorted(found, key=lambda attempt: attempt.at_ns)


@contextlib.asynccontextmanager
async def pushed(stage: EngineStage, **changes: Any) -> AsyncIterator[Pushed]:
    """One customer with one endpoint, and an engine that sees to it."""
    loop = asyncio.get_running_loop()
    transport, listener = await loop.create_datagram_endpoint(Listener, local_addr=("127.0.0.1", 0))
    listener.now_s = lambda: stage.clock.unix_ns() // S
    endpoint = stage.endpoint(url=f"udp://127.0.0.1:{listener.port}", kind=Kind.UDP, **changes)
    sender = UdpSender(
        UdpSenderConfig(),
        policy=POLICY,
        clock=stage.clock,
        random_bytes=random.Random(1).randbytes,
        resolver=Names({}),
    )
    try:
        async with sender:
            stage.udp = sender
            async with stage.running() as engine:
                yield Pushed(stage, engine, listener, endpoint)
    finally:
        transport.abort()


def test_who_answers_a_challenge_is_pushed_prices_that_the_verifier_takes_and_the_ledger_counts() -> None:
    async def play() -> None:
        stage = EngineStage()
        async with pushed(stage, state=EndpointState.PENDING) as push:
            name = push.endpoint.endpoint
            stage.subscription(push.endpoint, assets=["BTC", "ETH"])
            text, challenge = make_challenge(stage.dice.randbytes, now_ns=stage.clock.unix_ns())
            stage.tables.standings[name] = replace(stage.tables.standings[name], challenge=challenge)
            body = challenge_body(endpoint=name, challenge=text, at_ns=stage.clock.unix_ns())
            stage.delivery(push.endpoint, DeliveryClass.CHALLENGE, body=body)
            await stage.until(
                lambda: stage.tables.standings[name].endpoint.state is EndpointState.ACTIVE, "it is active", seconds=5
            )
            assert not push.prices, "nothing but the challenge before that"
            await push.live()
            for step in range(1, 101):
                stage.price("BTC", 60_000 + step)
                stage.price("ETH", 3_000 + step)
                await stage.clock.sleep(0.1)
            assert push.told() == {"BTC": 100, "ETH": 100}
            assert push.prices[-1].prices[-1].price in (60_100, 3_100)
            sequences = [price.sequence for each in push.prices for price in each.prices if price.asset == "BTC"]
            assert sequences == sorted(sequences)
            assert not push.listener.refused, "every datagram is genuine"
            assert [each.missed for each in push.listener.pushes] == [0] * len(push.listener.pushes)
            await stage.until(lambda: stage.tables.standings[name].endpoint.renew_time_ns is not None, "it is stored")
            await stage.clock.sleep(1)
            served = stage.counts.counts[KEY, UDP, "PushTick", "", int(Use.SERVED)]
            assert served == len(push.prices) == stage.states(DeliveryClass.TICK)[DeliveryState.DELIVERED] == 100
            assert not any(outcome == int(Use.FAILED) for *_, outcome in stage.counts.counts)

    run_jumping(play())


def test_a_customer_that_renews_is_pushed_to_for_hours_with_a_heartbeat_every_fifteen_seconds() -> None:
    async def play() -> None:
        stage = EngineStage(log_waiting_max=0, lease_ms=60_000, poll_ms=60_000, claim_ms=60_000)
        async with pushed(stage) as push:
            stage.subscription(push.endpoint, assets=["BTC"])
            await stage.clock.sleep(61)
            await push.live()
            begun = len(push.beats)
            for step in range(4 * 60):
                stage.price("BTC", 60_000 + step)
                await stage.clock.sleep(60)
            assert push.told() == {"BTC": 4 * 60}
            beats = len(push.beats) - begun
            assert abs(beats - 4 * 3_600 / 15) <= 0.02 * beats + 1, "a quarter of a second late at most"
            assert {each.missed for each in push.listener.pushes} == {0}

    run_jumping(play())


def test_a_flow_that_is_not_renewed_ends_within_a_minute_and_goes_on_with_the_newest_price_once_it_is() -> None:
    async def play() -> None:
        stage = EngineStage()
        async with pushed(stage) as push:
            stage.subscription(push.endpoint, assets=["BTC"])
            await push.live()
            stage.price("BTC", 1)
            await stage.clock.sleep(1)
            assert push.told() == {"BTC": 1}
            push.listener.answers = False
            silent_ns = stage.clock.unix_ns()
            last_ns, offered = silent_ns, 1
            for _ in range(600):
                offered += 1
                stage.price("BTC", offered)
                seen = len(push.prices)
                await stage.clock.sleep(1)
                if len(push.prices) > seen:
                    last_ns = stage.clock.unix_ns()
            assert 40 * S <= last_ns - silent_ns <= (RENEW_S + 1) * S, "a minute after the last renewal"
            assert not push.is_live
            shown = len(push.prices)
            quiet = push.listener.raw[-8:]
            assert all(data.startswith(b"TBW1 BEAT ") for data in quiet), "nothing but heartbeats"
            push.listener.answers = True
            await push.live()
            await stage.clock.sleep(70)
            offered += 1
            stage.price("BTC", offered)
            await stage.until(lambda: len(push.prices) > shown, "prices come again", seconds=70)
            newest = push.prices[-1].prices[0]
            assert newest.price == offered
            assert push.told() == {"BTC": offered}, "what was not sent is told as skipped"
            assert Outcome.NO_RECEIPT in {attempt.outcome for attempt in push.attempts()}
            failed = stage.counts.counts[KEY, UDP, "PushTick", "BTC", int(Use.FAILED)]
            assert 0 < failed < 60, "its circuit is open meanwhile"

    run_jumping(play())


def test_an_alert_is_sent_until_it_is_confirmed_and_waits_for_a_customer_that_is_away() -> None:
    async def play() -> None:
        stage = EngineStage()
        async with pushed(stage) as push:
            stage.subscription(push.endpoint, UP, assets=["BTC"])
            await push.live()
            push.listener.lose = 1
            stage.price("BTC", 99)
            stage.price("BTC", 101)
            await stage.until(lambda: stage.states(DeliveryClass.ALERT)[DeliveryState.DELIVERED] == 1, "it is taken")
            assert [attempt.outcome for attempt in push.attempts()] == [Outcome.DELIVERED]
            push.listener.answers = False
            await stage.clock.sleep(120)
            stage.price("BTC", 99)
            stage.price("BTC", 102)
            await stage.clock.sleep(120)
            assert stage.states(DeliveryClass.ALERT)[DeliveryState.PENDING] == 1
            push.listener.answers = True
            await stage.until(lambda: stage.states(DeliveryClass.ALERT)[DeliveryState.DELIVERED] == 2, "it comes late")
            numbers = [each.body["data"]["number"] for each in push.messages]
            assert [number for number, _ in itertools.groupby(numbers)] == [1, 2]
            assert stage.counts.counts[KEY, UDP, "PushAlert", "BTC", int(Use.SERVED)] == 2

    run_jumping(play())


@pytest.mark.parametrize("share", [0.02, 0.2])
def test_datagrams_that_are_lost_show_as_gaps_that_add_up(share: float) -> None:
    async def play() -> None:
        stage, dice = EngineStage(), random.Random(7)
        async with pushed(stage) as push:
            stage.subscription(push.endpoint, assets=["BTC"])
            await push.live()
            lost = 0
            for step in range(2_000):
                if dice.random() < share:
                    push.listener.lose += 1
                    lost += 1
                stage.price("BTC", 1 + step)
                await stage.clock.sleep(0.05)
            await stage.clock.sleep(20)
            last = push.listener.pushes[-1].number
            assert push.listener.lose == 0
            assert len(push.listener.raw) == last, "every datagram was numbered"
            assert sum(each.missed for each in push.listener.pushes) == lost
            assert len(push.listener.pushes) == last - lost
            assert not push.listener.refused

    run_jumping(play())
