"""A market, endpoints that fail in every way, a store that goes away, and workers that are killed: hours of it.

Everything is drawn from one seed, and passes in virtual time.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from jumping_time import JumpingClock
from trinity_core.errors import Reason, TrinityError
from trinity_core.webhook_memory_outbox import MemoryOutbox
from trinity_core.webhook_retry import Outcome
from trinity_core.webhook_rules import Change, Crossing, Direction, EveryChange, Interval, Moved
from trinity_core.webhooks import Endpoint, EndpointState, Subscription
from trinity_webhook.engine import Engine
from trinity_webhook.sending import Sent
from webhook.engine_stage import GOOD, Arrival, EngineStage

S: Final = 10**9
HOUR: Final = 3_600
ASSETS: Final = ("A", "B", "C")
THRESHOLD: Final = Decimal(1_000)
SETTINGS: Final[dict[str, Any]] = {
    "log_waiting_max": 0,
    "lease_ms": 600_000,
    "poll_ms": 60_000,
    "claim_ms": 60_000,
    "states_ms": 600_000,
}
"""So that an hour in which nothing happens costs little."""


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong, and how often."""

    pace_s: float = 1_500
    """Time between two moves of the market, each of one price or of a dozen, on average."""
    mood_s: float = 2 * HOUR
    """How long an endpoint stays as it is, on average."""
    kill_s: float | None = None
    """How long a worker lives, on average; None: for ever."""
    outage_s: float | None = None
    """Time between two outages of the store."""


@dataclass(slots=True)
class Call:
    """One request as an endpoint saw it."""

    arrival: Arrival
    life: int
    end_ns: int
    sent: Sent
    cut: bool = False
    """Its worker was killed before it heard the answer."""


@dataclass(slots=True)
class Offer:
    """One change of a price."""

    at_ns: int
    change: Change
    life: int


class FlakyOutbox:
    """An outbox, but for times in which nothing can be stored; what was under way may be, and nobody hears of it."""

    def __init__(self, outbox: MemoryOutbox, clock: JumpingClock, dice: random.Random) -> None:
        self._outbox = outbox
        self._clock = clock
        self._dice = dice
        self._until_ns = 0
        self._mute = False
        self.outages = 0

    def go_away(self, seconds: float) -> None:
        self._until_ns = self._clock.monotonic_ns() + round(seconds * S)
        self._mute = self._dice.random() < 0.5
        self.outages += 1

    def come_back(self) -> None:
        self._until_ns = 0

    def __getattr__(self, name: str) -> Any:
        """Every call of the port."""
        call = getattr(self._outbox, name)

        async def called(*args: Any, **more: Any) -> Any:
            if self._clock.monotonic_ns() >= self._until_ns:
                return await call(*args, **more)
            if self._mute:
                self._mute = False
                await call(*args, **more)
            raise TrinityError(Reason.STORE_UNAVAILABLE, "the store is away")

        return called


@dataclass
class World:
    """Everything of one run; `pass_hours` lets them pass."""

    seed: int
    faults: Faults
    stage: EngineStage = field(init=False)
    calls: list[Call] = field(default_factory=list)
    offers: list[Offer] = field(default_factory=list)
    kills: list[int] = field(default_factory=list)
    """When workers were killed."""
    life: int = 0
    endpoints: list[Endpoint] = field(default_factory=list)
    alerting: list[Subscription] = field(default_factory=list)
    ticking: dict[str, Subscription] = field(default_factory=dict)
    boards: dict[str, dict[int, tuple[int, int]]] = field(default_factory=dict)
    """Changes offered to an endpoint's ticks in each life of a worker, and those that waited at its end."""
    revived: dict[str, list[int]] = field(default_factory=dict)
    """When an owner made an endpoint active anew."""

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)
        self.stage = stage = EngineStage(seed=self.seed, **SETTINGS)
        stage.sender.answer = self._answer
        stage.sender.keep = False
        self._outbox = FlakyOutbox(stage.outbox, stage.clock, self._dice)
        stage.outbox = self._outbox  # type: ignore[assignment] # it has every call of it
        self._moods: dict[str, tuple[str, float]] = {}
        for number in range(5):
            endpoint = stage.endpoint(
                rate_per_s=self._dice.choice((1, 5, 100)),
                in_flight_max=self._dice.choice((1, 2, 4)),
                batch_max=self._dice.choice((1, 2, 50)),
                batch_ms=self._dice.choice((0, 500)),
                ttl_ms=self._dice.choice((1_000, 5_000)),
            )
            self.endpoints.append(endpoint)
            tick = (EveryChange(), Interval(30_000), Moved(Decimal(20)))[number % 3]
            self.ticking[endpoint.endpoint] = stage.subscription(endpoint, tick, assets=ASSETS)
            for direction in Direction:
                rule = Crossing(direction, THRESHOLD, Decimal(number), self._dice.choice((0, 60_000, 3 * 3_600_000)))
                self.alerting.append(stage.subscription(endpoint, rule, assets=ASSETS[:2]))

    @property
    def outages(self) -> int:
        return self._outbox.outages

    async def pass_hours(self, hours: float) -> None:
        """Let hours pass, then a time in which all is well."""
        clock, end_s = self.stage.clock, hours * HOUR
        market = asyncio.create_task(self._market(end_s))
        store = asyncio.create_task(self._store())
        while not market.done():
            if self.faults.kill_s is None:
                async with self._living():
                    await market
                break
            life_s = self._dice.expovariate(1 / self.faults.kill_s)
            async with self._dying():
                timer = asyncio.create_task(clock.sleep(life_s))
                await asyncio.wait((market, timer), return_when=asyncio.FIRST_COMPLETED)
                timer.cancel()
            await clock.sleep(self._dice.choice((0, 1, 30)))
        store.cancel()
        await asyncio.gather(market, store, return_exceptions=True)
        market.result()
        self._outbox.come_back()
        self._moods = {each.endpoint: ("well", float("inf")) for each in self.endpoints}
        async with self._living():
            await clock.sleep(40 * HOUR)

    @contextlib.asynccontextmanager
    async def _living(self) -> AsyncIterator[None]:
        self.life += 1
        async with self.stage.running() as engine:
            yield
            self._write_down(engine)

    @contextlib.asynccontextmanager
    async def _dying(self) -> AsyncIterator[None]:
        self.life += 1
        async with self.stage.doomed() as engine:
            yield
            self._write_down(engine)
        now_ns = self.stage.clock.unix_ns()
        self.kills.append(now_ns)
        for call in reversed(self.calls):
            if call.arrival.at_ns < now_ns - 60 * S:
                break
            call.cut |= call.end_ns > now_ns

    def _write_down(self, engine: Engine) -> None:
        given_up = {notice.endpoint for notice in self.stage.tables.notices}
        for endpoint in self.endpoints:
            board = engine.ticks.board(endpoint.endpoint)
            # Who was given up, and made active anew, has a board of its own for each.
            if board is not None and endpoint.endpoint not in given_up:
                self.boards.setdefault(endpoint.endpoint, {})[self.life] = board.offered, board.outstanding

    async def _market(self, end_s: float) -> None:
        clock, values = self.stage.clock, dict.fromkeys(ASSETS, 1_000)
        begun_ns = clock.monotonic_ns()
        while clock.monotonic_ns() - begun_ns < end_s * S:
            for _ in range(self._dice.choice((1, 1, 1, 12))):
                asset = self._dice.choice(ASSETS)
                value = values[asset] + self._dice.choice((-9, -4, -1, 1, 4, 9))
                values[asset] = value if 985 < value < 1_015 else 1_000
                change = self.stage.price(asset, f"{values[asset]}.5")
                self.offers.append(Offer(clock.unix_ns(), change, self.life if self.stage.engines else 0))
                await clock.sleep(self._dice.choice((0.001, 0.02, 0.4)))
            self._owners()
            await clock.sleep(self._dice.expovariate(1 / self.faults.pace_s))

    async def _store(self) -> None:
        while self.faults.outage_s is not None:
            await self.stage.clock.sleep(self._dice.expovariate(1 / self.faults.outage_s))
            self._outbox.go_away(self._dice.choice((0.5, 20, 900)))

    def _owners(self) -> None:
        """Owners of endpoints that were given up have them answer a challenge, some time later."""
        for endpoint in self.endpoints:
            found = self.stage.tables.standings[endpoint.endpoint].endpoint
            if found.state is EndpointState.DISABLED and self._dice.random() < 0.05:
                now_ns = self.stage.clock.unix_ns()
                self.stage.change_endpoint(
                    endpoint.endpoint,
                    state=EndpointState.ACTIVE,
                    verify_time_ns=now_ns,
                    failing_since_ns=None,
                    disable_reason=None,
                )
                self.revived.setdefault(endpoint.endpoint, []).append(now_ns)
                self._moods[endpoint.endpoint] = "well", now_ns / S + HOUR

    def _answer(self, arrival: Arrival) -> tuple[float, Sent]:
        delay_s, sent = self._drawn(arrival)
        self.calls.append(Call(arrival, self.life, arrival.at_ns + round(delay_s * S), sent))
        return delay_s, sent

    def _drawn(self, arrival: Arrival) -> tuple[float, Sent]:
        mood, until_s = self._moods.get(arrival.endpoint, ("", 0.0))
        if arrival.at_ns / S >= until_s:
            mood = self._dice.choices(tuple(MOODS), tuple(MOODS.values()))[0]
            longer = 60 if mood == "dead" else 1
            until_s = arrival.at_ns / S + longer * self._dice.expovariate(1 / self.faults.mood_s)
            self._moods[arrival.endpoint] = mood, until_s
        match mood:
            case "well":
                return self._dice.choice((0.01, 0.2)), GOOD
            case "slow":
                return self._dice.choice((3.0, 14.0)), GOOD
            case "flaky" if self._dice.random() < 0.6:
                return 0.05, GOOD
            case "busy":
                pause_s = self._dice.choice((7, 600, 3 * HOUR))
                return 0.01, Sent(outcome=Outcome.REFUSED, status=429, error="429", retry_after_s=pause_s)
            case "gone":
                return 0.01, Sent(outcome=Outcome.GONE, status=410, error="the answer is 410")
            case "hanging" | "dead":
                return 15.0, Sent(outcome=Outcome.TIMED_OUT, error="no answer within 15 s")
        return 0.05, Sent(outcome=Outcome.REFUSED, status=500, error="the answer is 500")


MOODS: Final = {"well": 8, "slow": 3, "flaky": 4, "failing": 3, "hanging": 2, "busy": 2, "gone": 0.15, "dead": 0.5}
"""How often an endpoint is in each."""
