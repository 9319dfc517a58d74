"""Webhook workers, PostgreSQL and the price service under kill -9, and a receiver that fails and hangs.

A price is turned to the other side of a threshold and held there until the alerts of it are stored;
so every turn is one alert for each subscription, whoever was killed meanwhile. The receiver writes
down what it took. Endpoints of which some are served wrongly on purpose go through the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import secrets
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Final

from price.fake_feed import FakeFeed, made_tick
from processes import until
from trinity_core.errors import TrinityError
from trinity_core.ticks import Liveness, Tick
from trinity_core.venues import Venue
from trinity_core.webhook_rules import Crossing, Direction
from trinity_core.webhook_secrets import Scheme, Sealer, SecretValue
from trinity_core.webhook_signing import Verifier
from trinity_core.webhook_store import Scope, Standing
from trinity_core.webhook_urls import Kind
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
from trinity_mesh.clock import SystemClock, clock_id
from trinity_mesh.readiness import FileWritten
from trinity_mesh.restart import Restart
from trinity_mesh.secrets_file import load_secrets
from trinity_mesh.socketdir import socket_dir
from trinity_mesh.supervise import Spec, State, Supervisor
from trinity_storage.migrate import migrate
from trinity_storage.postgres import Postgres, PostgresConfig
from trinity_storage.resolve import StorageConfig, resolve_postgres
from trinity_storage.webhooks import PostgresWebhooks

ASSETS: Final = ("BTC", "ETH", "SOL", "XRP")
VENUES: Final = (Venue.COINBASE, Venue.KRAKEN, Venue.GATEIO)
THRESHOLD: Final = Decimal(100)
LOW, HIGH = "99.9", "100.1"
GOOD, WRONG = "/good", "/wrong"
ENDPOINTS: Final = {GOOD: 8, WRONG: 2}
"""How many endpoints are served in each way; each has one subscription an asset."""

_SOON: Final = Restart(first_ms=20, cap_ms=500, healthy_ms=100, attempts_to_serve=20)
_WORKER: Final = str(Path(__file__).with_name("webhook_worker_process.py"))
_SECRET: Final = SecretValue(Scheme.V1, bytes(range(1, 33)))


@dataclass
class Receiver:
    """Takes, refuses (10 %) or leaves unanswered (2 %) what is posted to it; `taken` is what it answered well."""

    dice: random.Random
    taken: dict[str, Counter[str]] = field(default_factory=lambda: {GOOD: Counter(), WRONG: Counter()})
    orders: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    """Numbers of those served rightly in the order in which they were taken first, by subscription and asset."""
    troubled: int = 0
    port: int = 0
    _verifier: Verifier = field(default_factory=lambda: Verifier([_SECRET.text], tolerance_s=600))

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Receiver]:
        tasks: set[asyncio.Task[None]] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            with contextlib.suppress(EOFError, ConnectionError, asyncio.CancelledError):
                while True:
                    await self._answer(reader, writer)
            tasks.discard(task)
            writer.transport.abort()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().rstrip().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines)
        body = await reader.readexactly(int(fields["content-length"]))
        message = self._verifier.verify(fields, body, now_s=SystemClock().unix_ns() // 10**9)
        chance = self.dice.random()
        if chance < 0.02:
            self.troubled += 1
            await reader.read()  # until the other side gives up
            raise EOFError
        if chance < 0.12:
            self.troubled += 1
            writer.write(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n")
            return
        kind = GOOD if first.split(" ")[1].startswith(GOOD) else WRONG
        self.taken[kind][message] += 1
        if kind == GOOD and self.taken[kind][message] == 1:
            data = json.loads(body)["data"]
            self.orders.setdefault((data["subscription"], data["price"]["asset"]), []).append(data["number"])
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")


class Market:
    """The prices of a fake feed: alive, and repeated so that they stay fresh."""

    def __init__(self) -> None:
        self.feed = FakeFeed(clock_id=clock_id())
        self.feed.snapshot = lambda: self._batch(snapshot=True)
        self.sides = dict.fromkeys(ASSETS, LOW)
        self._clock = SystemClock()

    async def run(self) -> None:
        while True:
            self.feed.push(self._batch(snapshot=False))
            await asyncio.sleep(0.05)

    def turn(self, asset: str) -> None:
        self.sides[asset] = HIGH if self.sides[asset] == LOW else LOW
        self.feed.push(self._batch(snapshot=False))

    def _batch(self, *, snapshot: bool) -> object:
        now_ns = self._clock.monotonic_ns()
        signs = [Liveness(venue, self.feed.worker, now_ns, True) for venue in VENUES]
        return self.feed.batch(self._ticks(now_ns), signs, sent_ns=now_ns, snapshot=snapshot)

    def _ticks(self, now_ns: int) -> list[Tick]:
        unix_ns = self._clock.unix_ns()
        return [
            made_tick(venue, asset, value, at_ns=now_ns, unix_ns=unix_ns)
            for asset, value in self.sides.items()
            for venue in VENUES
        ]


@dataclass
class Battle:
    """Everything that runs."""

    supervisor: Supervisor
    market: Market
    receiver: Receiver
    postgres: Postgres
    turns: Counter[str] = field(default_factory=Counter)
    """Crossings of each asset: every turn but the first, which is where rules begin."""
    kills: Counter[str] = field(default_factory=Counter)
    cleared_s: float = 0.0
    stopping: bool = False

    async def kill(self, *names: str) -> None:
        """SIGKILL processes that serve, at once."""
        for name in names:
            await until(lambda name=name: self.supervisor.status(name).state is State.SERVING, f"{name} serves")  # type: ignore[misc]
            pid = self.supervisor.status(name).pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            self.kills[name.partition("-")[0]] += 1

    async def turn_on(self, asset: str) -> None:
        """Turn an asset's price, and hold it until the alerts of it are stored."""
        while not self.stopping:
            self.market.turn(asset)
            self.turns[asset] += 1
            wanted = self.turns[asset] * sum(ENDPOINTS.values())
            while await self.stored(asset) < wanted:  # noqa: ASYNC110 - the database sets no event
                await asyncio.sleep(0.02)

    async def some_turns(self, turns: int) -> None:
        goal = self.turns.total() + turns
        await until(lambda: self.turns.total() >= goal, f"{turns} more turns")

    async def stored(self, asset: str) -> int:
        with contextlib.suppress(TrinityError):
            return int(
                await self.postgres.fetch_value(
                    "SELECT count(*) FROM webhook_deliveries WHERE kind = 2 AND asset = $1", asset
                )
            )
        return -1

    async def backlog(self) -> int:
        """Alerts that are not delivered; -1 where nobody knows."""
        with contextlib.suppress(TrinityError):
            return int(await self.postgres.fetch_value("SELECT count(*) FROM webhook_deliveries WHERE state = 1"))
        return -1


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the alerts of one kind came through."""

    made: int
    wanted: int
    taken: int
    lost: int
    """Stored and never taken."""
    strange: int
    """Taken and never stored."""
    duplicates: int
    """Taken once more than they had to be."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a battle ended."""

    verdicts: dict[str, Verdict]
    kills: Counter[str]
    cleared_s: float
    """From the last kill until nothing waited any more."""
    disordered: int
    """Subscriptions and assets whose alerts were not first taken in their order."""
    troubled: int
    counted: int
    """Alerts that the ledger recorded as served, for all endpoints."""


async def fight(folder: Path, *, seed: int, rounds: int, turns: int) -> Result:
    """Kill each part in turn, and then some at random, with `turns` turns of prices between two kills."""
    clock, dice = SystemClock(), random.Random(seed)
    sockets = socket_dir(folder / "data", environ=os.environ)
    store = await resolve_postgres(
        config=StorageConfig(),
        data_dir=folder / "data",
        socket_dir=sockets,
        environ={**os.environ, "PATH": ""},
        clock=clock,
    )
    assert store.spec is not None
    secret_file = folder / "secrets.json"
    secret_file.touch(mode=0o600)
    secret_file.write_text(json.dumps({name: secrets.token_hex(32) for name in ("pepper", "udp_master", "cursor")}))
    market = Market()
    specs = [store.spec, _price_spec(folder, sockets), _usage_spec(folder, sockets, store.url)]
    workers = [_worker_spec(folder, sockets, store.url, f"worker-{number}") for number in range(2)]
    parts = Supervisor(specs, clock=clock, data_dir=folder / "parts")
    engines = Supervisor(workers, clock=clock, data_dir=folder / "engines")
    patient = PostgresConfig(acquire_timeout_ms=20_000)
    async with (
        Receiver(dice).listening() as receiver,
        market.feed.server(sockets),
        parts,
        Postgres(patient, url=store.url, name="test", clock=clock) as postgres,
    ):
        await migrate(postgres)
        await _register(postgres, receiver, load_secrets(secret_file).pepper)
        feeding = asyncio.create_task(market.run())
        try:
            async with engines:
                battle = Battle(_Both(parts, engines), market, receiver, postgres)  # type: ignore[arg-type]
                await _states(postgres)
                turning = [asyncio.create_task(battle.turn_on(asset)) for asset in ASSETS]
                await battle.some_turns(turns)
                victims = ["worker-0", "postgres", "price", "worker-1"]
                victims += [dice.choice(victims) for _ in range(rounds)]
                for victim in victims:
                    await battle.kill(victim)
                    await battle.some_turns(turns)
                await battle.kill("worker-0", "postgres")
                killed_ns = clock.monotonic_ns()
                battle.stopping = True
                for task in turning:
                    task.cancel()
                await asyncio.gather(*turning, return_exceptions=True)
                while await battle.backlog() or not await _all_made(battle):  # noqa: ASYNC110 - likewise
                    await asyncio.sleep(0.02)
                cleared_s = (clock.monotonic_ns() - killed_ns) / 1e9
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
        return await _judge(battle, cleared_s)


async def _all_made(battle: Battle) -> bool:
    found = [await battle.stored(asset) for asset in ASSETS]
    return found == [battle.turns[asset] * sum(ENDPOINTS.values()) for asset in ASSETS]


async def _states(postgres: Postgres) -> None:
    """Until every rule has seen where its price is: what comes after is a crossing."""
    wanted = sum(ENDPOINTS.values()) * len(ASSETS)
    for _ in range(3_000):
        if await postgres.fetch_value("SELECT count(*) FROM webhook_rule_states") >= wanted:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("never: every rule has a state")


async def _judge(battle: Battle, cleared_s: float) -> Result:
    rows = await battle.postgres.fetch(
        "SELECT d.delivery, e.url FROM webhook_deliveries d JOIN webhook_endpoints e USING (endpoint) WHERE d.kind = 2"
    )
    verdicts = {}
    for kind, endpoints in ENDPOINTS.items():
        made = {row["delivery"] for row in rows if kind in row["url"]}
        taken = battle.receiver.taken[kind]
        verdicts[kind] = Verdict(
            made=len(made),
            wanted=battle.turns.total() * endpoints,
            taken=len(taken),
            lost=len(made - taken.keys()),
            strange=len(taken.keys() - made),
            duplicates=taken.total() - len(taken),
        )
    counted = await battle.postgres.fetch_value(
        "SELECT coalesce(sum(n), 0)::bigint FROM usage_log "
        "WHERE method = 'PushAlert' AND associate = 'demo' AND outcome = 4 AND transport = 1"
    )
    disordered = sum(numbers != sorted(numbers) for numbers in battle.receiver.orders.values())
    return Result(verdicts, battle.kills, cleared_s, disordered, battle.receiver.troubled, counted)


class _Both:
    """Two supervisors as one, for `Battle.kill`."""

    def __init__(self, parts: Supervisor, engines: Supervisor) -> None:
        self._parts = parts
        self._engines = engines

    def status(self, name: str) -> object:
        return (self._engines if name.startswith("worker") else self._parts).status(name)


async def _register(postgres: Postgres, receiver: Receiver, pepper: bytes) -> None:
    """Active endpoints, as if their owners had answered."""
    repo = PostgresWebhooks(postgres)
    sealer = Sealer(key=pepper, random_bytes=secrets.token_bytes)
    rule = Crossing(Direction.EITHER, THRESHOLD)
    await postgres.execute(
        "INSERT INTO api_keys (key_id, associate, name, digest, scopes, allowed_networks, create_time, version) "
        "VALUES ('0c7bgy9rbydg', 'demo', '', sha256('x'::bytea), '{}', '{}', now(), 1)"
    )
    for kind, endpoints in ENDPOINTS.items():
        for number in range(endpoints):
            name = make_id("whe_", secrets.token_bytes(15))
            endpoint = Endpoint(
                endpoint=name,
                associate="demo",
                url=f"http://127.0.0.1:{receiver.port}{kind}/{number}",
                kind=Kind.HTTP,
                state=EndpointState.ACTIVE,
                rate_per_s=1_000,
                in_flight_max=8,
                create_time_ns=10**15,
                update_time_ns=10**15,
            )
            key = make_id("whk_", secrets.token_bytes(15))
            sealed = sealer.seal(_SECRET, endpoint=name, secret=key)
            secret = Secret(secret=key, endpoint=name, scheme=Scheme.V1, sealed=sealed, create_time_ns=10**15)
            over = Delivery(
                delivery=make_id("msg_", secrets.token_bytes(15)),
                endpoint=name,
                associate="demo",
                kind=DeliveryClass.CHALLENGE,
                type="webhook.challenge",
                payload=b"{}",
                state=DeliveryState.DELIVERED,
                create_time_ns=10**15,
                done_time_ns=10**15,
            )
            standing = Standing(endpoint, (secret,))
            await repo.create_endpoint("demo", lambda _: (standing, over))  # noqa: B023 # called at once
            for asset in ASSETS:
                subscription = Subscription(
                    subscription=make_id("whs_", secrets.token_bytes(15)),
                    endpoint=name,
                    associate="demo",
                    assets=(asset,),
                    rule=rule,
                    create_time_ns=10**15,
                    update_time_ns=10**15,
                )

                def make(_owner: Endpoint, _scope: Scope, made: Subscription = subscription) -> Subscription:
                    return made

                await repo.create_subscription(name, make)


def _price_spec(folder: Path, sockets: Path) -> Spec:
    settings = {
        "TRINITY_PRICE_LISTEN": f"unix:{sockets}/price.sock",
        "TRINITY_PRICE_FEEDS": json.dumps([f"unix:{sockets}/feed.sock"]),
    }
    return _spec(folder, "price", ("-m", "trinity_price"), settings)


def _usage_spec(folder: Path, sockets: Path, postgres_url: str) -> Spec:
    settings = {"TRINITY_USAGE_LISTEN": f"unix:{sockets}/usage.sock", "TRINITY_USAGE_POSTGRES_URL": postgres_url}
    return _spec(folder, "usage", ("-m", "trinity_usage"), settings, depends_on=("postgres",))


def _worker_spec(folder: Path, sockets: Path, postgres_url: str, name: str) -> Spec:
    settings = {
        "PRICE": f"unix:{sockets}/price.sock",
        "USAGE": f"unix:{sockets}/usage.sock",
        "SPOOL": str(folder / "spool"),
        "SECRETS_FILE": str(folder / "secrets.json"),
        "LOOPBACK": "true",
        "CLAIM_MS": "100",
        "HTTPS_TOTAL_MS": "1500",
        "POSTGRES_URL": postgres_url,
    }
    return _spec(folder, name, (_WORKER,), {f"TRINITY_WEBHOOK_WORKER_{key}": each for key, each in settings.items()})


def _spec(
    folder: Path, name: str, words: tuple[str, ...], settings: dict[str, str], *, depends_on: tuple[str, ...] = ()
) -> Spec:
    ready = folder / f"{name}.ready"
    return Spec(
        name=name,
        argv=(sys.executable, *words, str(ready)),
        env={**os.environ, **settings},
        ready=FileWritten(ready),
        ready_timeout_ms=60_000,
        stop_timeout_ms=30_000,
        depends_on=depends_on,
        restart=_SOON,
    )
