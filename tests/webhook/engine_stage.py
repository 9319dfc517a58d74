"""An engine on the stores' twin, in virtual time, with a sender whose endpoints do as a test says."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from jumping_time import JumpingClock
from trinity_core.errors import Reason, TrinityError
from trinity_core.prices import State
from trinity_core.webhook_addresses import AddressPolicy
from trinity_core.webhook_memory import MemoryTables, MemoryWebhooks
from trinity_core.webhook_memory_outbox import MemoryDeliveryLog, MemoryOutbox
from trinity_core.webhook_retry import Outcome, RetryPolicy
from trinity_core.webhook_rules import Change, EveryChange, Rule
from trinity_core.webhook_secrets import Scheme, Sealer, SecretValue
from trinity_core.webhook_signing import Verifier
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
from trinity_webhook.counting import DeliveryCounts
from trinity_webhook.engine import Engine, EngineParts
from trinity_webhook.senders import Senders
from trinity_webhook.sending import Posting, Sent
from trinity_webhook.signing import Signing
from trinity_webhook.udp_sender import UdpSender
from trinity_webhook.worker import Answers
from trinity_webhook.worker_config import WebhookWorkerConfig

S = 10**9
SECRET = SecretValue(Scheme.V1, bytes(range(32)))
KEY = "0c7bgy9rbydg"
SELDOM: dict[str, Any] = {"log_waiting_max": 0, "lease_ms": 600_000, "poll_ms": 60_000, "claim_ms": 60_000}
"""Settings for days of virtual time."""
GOOD = Sent(outcome=Outcome.DELIVERED, status=200)
BAD = Sent(outcome=Outcome.REFUSED, status=500, error="the answer is 500")
Answer = Callable[["Arrival"], tuple[float, Sent]]


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request as an endpoint saw it."""

    endpoint: str
    message: str
    at_ns: int
    body: bytes = field(repr=False)

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)["data"]
        return found

    @property
    def is_tick(self) -> bool:
        return self.message.startswith("tck_")


class ScriptedSender:
    """Implements Sender: every request is verified and written down; `answer` says what follows, and after how long."""

    def __init__(self, clock: JumpingClock, answer: Answer) -> None:
        self._clock = clock
        self._verifier = Verifier([SECRET.text])
        self.answer = answer
        self.arrivals: list[Arrival] = []
        self.outcomes: list[tuple[Arrival, Sent]] = []
        self.under_way: Counter[tuple[str, bool]] = Counter()
        self.most: Counter[tuple[str, bool]] = Counter()
        """Most requests that were under way at once, by endpoint and whether they were ticks."""
        self.keep = True

    async def post(self, endpoint: str, target: Target, posting: Posting) -> Sent:
        now_ns = self._clock.unix_ns()
        fields = {
            "webhook-id": posting.message,
            "webhook-timestamp": str(posting.timestamp_s),
            "webhook-signature": posting.signature,
        }
        assert self._verifier.verify(fields, posting.body, now_s=now_ns // S) == posting.message
        arrival = Arrival(endpoint, posting.message, now_ns, posting.body)
        if self.keep:
            self.arrivals.append(arrival)
        place = (endpoint, arrival.is_tick)
        self.under_way[place] += 1
        self.most[place] = max(self.most[place], self.under_way[place])
        try:
            delay_s, sent = self.answer(arrival)
            await self._clock.sleep(delay_s)
        finally:
            self.under_way[place] -= 1
        if self.keep:
            self.outcomes.append((arrival, sent))
        return replace(sent, latency_us=round(delay_s * 1e6))

    def forget(self, endpoint: str) -> None:
        """Nothing is kept."""

    def taken(self) -> list[str]:
        """Messages that endpoints took, in the order in which they did."""
        return [arrival.message for arrival, sent in self.outcomes if sent.outcome is Outcome.DELIVERED]


class CountBook:
    """Implements trinity_admission.seat.Counts in memory; `full` stands for a ledger without room."""

    strict = False

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, int, str, str, int]] = Counter()
        self.full = False

    def slot(self, key_id: str, transport: int, method: str, asset: str, outcome: int) -> Any:
        if self.full:
            raise TrinityError(Reason.LEDGER_FULL, "no room")
        return (key_id, int(transport), method, asset, int(outcome))

    def count(self, slot: Any, n: int = 1) -> None:
        self.counts[slot] += n

    def count_each(self, slots: Sequence[Any], unix_ns: int, n: int = 1) -> bool:
        raise AssertionError("deliveries are counted one by one")

    def give_back(self, slot: Any, n: int = 1) -> None:
        raise AssertionError("nothing is given back")

    async def committed(self) -> None:
        """At once."""


class EngineStage:
    """Tables, a sender, and engines on them."""

    def __init__(self, *, seed: int = 1, retry: RetryPolicy | None = None, **settings: Any) -> None:
        self.clock = JumpingClock()
        self.dice = random.Random(seed)
        self.tables = MemoryTables()
        self.tables.add_associate("acme")
        self.tables.keys["acme"] = KEY
        self.outbox = MemoryOutbox(self.tables)
        self.log = MemoryDeliveryLog(self.tables)
        self.repo = MemoryWebhooks(self.tables)
        self.sender = ScriptedSender(self.clock, lambda _: (0.01, GOOD))
        self.counts = CountBook()
        self.prices: dict[str, Change] = {}
        self.config = WebhookWorkerConfig(loopback=True, **settings)
        self.engines: list[Engine] = []
        self.udp: UdpSender | None = None
        """What pushes datagrams, where a test has endpoints of UDP."""
        self._sealer = Sealer(key=b"k" * 32, random_bytes=self.dice.randbytes)
        self._retry = retry or RetryPolicy()
        self.sides = 0
        """How often a test let a price change sides."""
        self._sequence = 0
        self._lives = 0

    def endpoint(self, **changes: Any) -> Endpoint:
        """An active endpoint with a secret."""
        name = make_id("whe_", self.dice.randbytes(15))
        fields: dict[str, Any] = {
            "endpoint": name,
            "associate": "acme",
            "url": f"https://hooks.acme.example/{name}",
            "kind": Kind.HTTP,
            "state": EndpointState.ACTIVE,
            **changes,
        }
        made = Endpoint(**fields, version=self.tables.count_up())
        secret = make_id("whk_", self.dice.randbytes(15))
        sealed = self._sealer.seal(SECRET, endpoint=name, secret=secret)
        self.tables.standings[name] = Standing(
            made, (Secret(secret=secret, endpoint=name, scheme=Scheme.V1, sealed=sealed, create_time_ns=1),)
        )
        return made

    def change_endpoint(self, endpoint: str, **changes: Any) -> None:
        """What its owner does."""
        old = self.tables.standings[endpoint]
        version = self.tables.count_up()
        self.tables.standings[endpoint] = replace(old, endpoint=replace(old.endpoint, version=version, **changes))

    def subscription(self, endpoint: Endpoint, rule: Rule | None = None, *, assets: Iterable[str] = ()) -> Subscription:
        name = make_id("whs_", self.dice.randbytes(15))
        version = self.tables.count_up()
        made = self.tables.subscriptions[name] = Subscription(
            subscription=name,
            endpoint=endpoint.endpoint,
            associate=endpoint.associate,
            assets=tuple(assets),
            rule=rule or EveryChange(),
            version=version,
            rule_version=version,
        )
        return made

    def delivery(self, endpoint: Endpoint, kind: DeliveryClass, *, body: bytes = b'{"data":{}}') -> Delivery:
        """Something to be sent, as the service asks for it."""
        now_ns = self.clock.unix_ns() // 1_000 * 1_000
        return self.tables.add_delivery(
            Delivery(
                delivery=make_id("msg_", self.dice.randbytes(15)),
                endpoint=endpoint.endpoint,
                associate=endpoint.associate,
                kind=kind,
                type="webhook.test",
                payload=body,
                create_time_ns=now_ns,
                due_time_ns=now_ns,
            )
        )

    def price(self, asset: str, value: object, *, state: State = State.FRESH) -> Change:
        """A price changes, and every engine hears of it."""
        self._sequence += 1
        now_ns = self.clock.unix_ns()
        change = Change(asset, Decimal(str(value)), state, Decimal(0), Decimal(0), (), self._sequence, 7, None, now_ns)
        self.prices[asset] = change
        for engine in self.engines:
            engine.price(change)
        return change

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Engine]:
        """One engine, until the block ends; then it stops as it does by itself."""
        engine, stopping = self._made(), asyncio.Event()
        task = asyncio.create_task(engine.run(stopping))
        try:
            await engine.holding.held.wait()
            await self.clock.sleep(0.05)
            yield engine
        finally:
            stopping.set()
            self.engines.remove(engine)
            await task

    @contextlib.asynccontextmanager
    async def doomed(self) -> AsyncIterator[Engine]:
        """One engine that is killed at the end of the block: it stores nothing and gives nothing back."""
        engine = self._made()
        task = asyncio.create_task(engine.run(asyncio.Event()))
        try:
            await engine.holding.held.wait()
            await self.clock.sleep(0.05)
            yield engine
        finally:
            self.engines.remove(engine)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def states(self, kind: DeliveryClass) -> Counter[DeliveryState]:
        """How many deliveries of a class are in which state."""
        return Counter(each.state for each in self.tables.deliveries.values() if each.kind is kind)

    async def until(self, condition: Callable[[], bool], what: str, *, seconds: float = 600.0) -> None:
        """Let virtual time pass until a condition holds."""
        step_s, passed_s = 0.05, 0.0
        while passed_s < seconds:
            if condition():
                return
            await self.clock.sleep(step_s)
            passed_s += step_s
            step_s = min(step_s * 1.05, 60.0)
        raise AssertionError(f"never: {what}")

    def _made(self) -> Engine:
        self._lives += 1
        signing = Signing(self._sealer)
        engine = Engine(
            self.config,
            EngineParts(
                outbox=self.outbox,
                courier=Senders(https=self.sender, udp=self.udp, signing=signing, clock=self.clock),
                signing=signing,
                counts=DeliveryCounts(self.counts),
                policy=AddressPolicy(),
                answered=Answers(self.repo, clock=self.clock).take,
                prices=lambda: list(self.prices.values()),
                clock=self.clock,
                rng=random.Random(self.dice.random()),
                retry=self._retry,
            ),
            holder=f"worker-{self._lives}",
        )
        self.engines.append(engine)
        return engine
