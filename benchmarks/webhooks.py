"""Ticks pushed to 1,000 endpoints by a whole webhook engine, beside a plain loop with httpx.

    python benchmarks/webhooks.py

`engine` is what a worker runs: prices change, boards fold them, each batch is rendered, signed with
its endpoint's secret, posted over HTTPS with verified certificates, counted in a real ledger, and
every attempt is logged in a real PostgreSQL; `engine, no log` leaves out the last. `httpx` posts one
message after the other to each endpoint, signed likewise, and neither folds, counts nor logs. The
receiver is a process of its own that speaks TLS and answers 204. Everything runs on this machine's
cores. Sides take turns; a side's rate is its best turn, because the machine is shared.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import random
import sys
import tempfile
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import uvloop
from webhook_sender import CLOCK, ENDPOINTS, NAME, Names, Receiver, cpu_s, make_certificate, rate, receive, with_httpx

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from account.databases import Databases  # noqa: E402 - from tests
from stores import running_stores  # noqa: E402
from trinity_admission.ledger import Ledger  # noqa: E402
from trinity_admission.ledger_config import LedgerConfig  # noqa: E402
from trinity_core.prices import State  # noqa: E402
from trinity_core.venues import Venue  # noqa: E402
from trinity_core.webhook_addresses import AddressPolicy  # noqa: E402
from trinity_core.webhook_rules import Change, EveryChange  # noqa: E402
from trinity_core.webhook_secrets import Scheme, Sealer, SecretValue  # noqa: E402
from trinity_core.webhook_store import Scope, Standing  # noqa: E402
from trinity_core.webhook_urls import Kind  # noqa: E402
from trinity_core.webhooks import (  # noqa: E402
    Delivery,
    DeliveryClass,
    DeliveryState,
    Endpoint,
    EndpointState,
    Secret,
    Subscription,
    make_id,
)
from trinity_storage.postgres import Postgres, PostgresConfig  # noqa: E402
from trinity_storage.webhook_outbox import PostgresOutbox  # noqa: E402
from trinity_storage.webhooks import PostgresWebhooks  # noqa: E402
from trinity_webhook.counting import DeliveryCounts  # noqa: E402
from trinity_webhook.engine import Engine, EngineParts  # noqa: E402
from trinity_webhook.https_sender import HttpsSender  # noqa: E402
from trinity_webhook.sender_config import SenderConfig  # noqa: E402
from trinity_webhook.senders import Senders  # noqa: E402
from trinity_webhook.signing import Signing  # noqa: E402
from trinity_webhook.worker_config import WebhookWorkerConfig  # noqa: E402

TURN_S = 6.0
TURNS = 2
ASSETS = [f"A{number}" for number in range(50)]
CHANGES_PER_S = 500
GOAL_PER_S, GOAL_FACTOR = 2_000, 3.0
KEY = "0c7bgy9rbydg"


async def register(postgres: Postgres, sealer: Sealer, port: int) -> None:
    """1,000 active endpoints, each with a secret of its own and ticks of two assets."""
    repo, dice = PostgresWebhooks(postgres), random.Random(1)
    await postgres.execute(
        "INSERT INTO api_keys (key_id, associate, name, digest, scopes, allowed_networks, create_time, version) "
        f"VALUES ('{KEY}', 'demo', '', sha256('x'::bytea), '{{}}', '{{}}', now(), 1)"
    )
    for number in range(ENDPOINTS):
        name, key, at_ns = make_id("whe_", os.urandom(15)), make_id("whk_", os.urandom(15)), 10**15
        endpoint = Endpoint(
            endpoint=name,
            associate="demo",
            url=f"https://{NAME}:{port}/hooks/{number}",
            kind=Kind.HTTP,
            state=EndpointState.ACTIVE,
            create_time_ns=at_ns,
            update_time_ns=at_ns,
        )
        sealed = sealer.seal(SecretValue(Scheme.V1, os.urandom(32)), endpoint=name, secret=key)
        secret = Secret(secret=key, endpoint=name, scheme=Scheme.V1, sealed=sealed, create_time_ns=at_ns)
        over = Delivery(
            delivery=make_id("msg_", os.urandom(15)),
            endpoint=name,
            associate="demo",
            kind=DeliveryClass.CHALLENGE,
            type="webhook.challenge",
            payload=b"{}",
            state=DeliveryState.DELIVERED,
            create_time_ns=at_ns,
            done_time_ns=at_ns,
        )
        subscription = Subscription(
            subscription=make_id("whs_", os.urandom(15)),
            endpoint=name,
            associate="demo",
            assets=tuple(sorted(dice.sample(ASSETS, 2))),
            rule=EveryChange(),
            create_time_ns=at_ns,
            update_time_ns=at_ns,
        )

        standing = Standing(endpoint, (secret,))

        def make_endpoint(_: Scope, made: tuple[Standing, Delivery] = (standing, over)) -> tuple[Standing, Delivery]:
            return made

        def make_subscription(_: Endpoint, __: Scope, made: Subscription = subscription) -> Subscription:
            return made

        await repo.create_endpoint("demo", make_endpoint)
        await repo.create_subscription(name, make_subscription)


@contextlib.asynccontextmanager
async def engine(url: str, port: int, ca_file: str, folder: Path, *, logged: bool) -> AsyncIterator[Engine]:
    """A whole engine on a database of its own."""
    policy = AddressPolicy(loopback=True)
    sealer = Sealer(key=b"k" * 32, random_bytes=os.urandom)
    config = WebhookWorkerConfig(loopback=True, **({} if logged else {"log_waiting_max": 0}))
    signing = Signing(sealer)
    async with (
        Postgres(PostgresConfig(), url=url, name="bench", clock=CLOCK) as postgres,
        Ledger(LedgerConfig(), spool=folder / "spool", clock=CLOCK) as ledger,
        HttpsSender(SenderConfig(ca_file=ca_file), policy=policy, clock=CLOCK, resolver=Names()) as https,
    ):
        await register(postgres, sealer, port)
        made = Engine(
            config,
            EngineParts(
                outbox=PostgresOutbox(postgres),
                courier=Senders(https=https, udp=None, signing=signing, clock=CLOCK),
                signing=signing,
                counts=DeliveryCounts(ledger),
                policy=policy,
                answered=nobody,
                prices=lambda: (),
                clock=CLOCK,
                rng=random.Random(1),
            ),
            holder=f"bench-{os.urandom(6).hex()}",
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
    """No challenge is sent."""


async def change_prices(made: Engine) -> None:
    """Every asset in turn, CHANGES_PER_S in all."""
    sequence, began_ns = 0, CLOCK.monotonic_ns()
    while True:
        due = (CLOCK.monotonic_ns() - began_ns) * CHANGES_PER_S // 10**9
        while sequence < due:
            sequence += 1
            price = Decimal(6_700_010 + sequence % 1_000) / 100
            spread = (Decimal("1.20"), Decimal("0.36"))
            venues, now_ns = (Venue.COINBASE, Venue.KRAKEN, Venue.OKX), CLOCK.unix_ns()
            asset = ASSETS[sequence % len(ASSETS)]
            made.price(Change(asset, price, State.FRESH, *spread, venues, sequence, 1, now_ns, now_ns))
        await CLOCK.sleep(0.01)


async def engine_rate(
    url: str, receiver: Receiver, certificate: str, folder: Path, *, logged: bool
) -> dict[str, float]:
    """Deliveries a second of one turn, connections made before."""
    async with engine(url, receiver.port, certificate, folder, logged=logged) as made:
        names = list(made.lanes)
        assert len(names) == ENDPOINTS
        changing = asyncio.create_task(change_prices(made))

        def delivered() -> tuple[int, int]:
            boards = [board for name in names if (board := made.ticks.board(name)) is not None]
            return sum(board.delivered for board in boards), made.ticks.delivered

        try:
            await CLOCK.sleep(5)
            prices, before = delivered()
            began_ns, used = CLOCK.monotonic_ns(), cpu_s() + receiver.cpu_s()
            await CLOCK.sleep(TURN_S)
            took_s = (CLOCK.monotonic_ns() - began_ns) / 1e9
            used = cpu_s() + receiver.cpu_s() - used
            prices, count = (after - each for after, each in zip(delivered(), (prices, before), strict=True))
        finally:
            changing.cancel()
            await asyncio.gather(changing, return_exceptions=True)
        return {
            "per_s": round(count / took_s),
            "prices_per_s": round(prices / took_s),
            "cpu_us": round(used / count * 1e6, 1),
            "logged_behind": made.tick_log.waiting,
        }


async def httpx_rate(receiver: Receiver, certificate: str) -> dict[str, float]:
    """Likewise."""
    async with with_httpx(receiver.port, certificate) as post:
        return await rate(post, receiver)


async def measure(databases: Databases, folder: Path) -> dict[str, list[dict[str, float]]]:
    """All turns of all sides."""
    certificate = make_certificate(folder)
    turns: dict[str, list[dict[str, float]]] = {"engine": [], "engine, no log": [], "httpx": []}
    for turn in range(TURNS):
        for name, found in turns.items():
            receiver = Receiver(certificate)
            if name == "httpx":
                found.append(await httpx_rate(receiver, certificate))
            else:
                async with databases.fresh() as url:
                    place = folder / f"{turn}-{len(name)}"
                    found.append(await engine_rate(url, receiver, certificate, place, logged=name == "engine"))
            receiver.end()
            print(f"  turn {turn + 1}: {name}: {found[-1]}", flush=True)
    return turns


def main() -> None:
    """Measure, print, and keep the results; fails when a goal is missed."""
    with tempfile.TemporaryDirectory() as folder, running_stores("wheels") as stores:
        databases = Databases(stores)
        turns = uvloop.run(measure(databases, Path(folder)))
    best = {name: max(found, key=lambda turn: turn["per_s"]) for name, found in turns.items()}
    for name, found in best.items():
        print(f"{found['per_s']:8,.0f} deliveries/s  {found['cpu_us']:8.1f} us CPU of engine and receiver each  {name}")
    factor = round(best["engine"]["per_s"] / best["httpx"]["per_s"], 1)
    print(f"{factor:8.1f} times as many as httpx")
    result = {
        "endpoints": ENDPOINTS,
        "changes_per_s": CHANGES_PER_S,
        "best": best,
        "turns": turns,
        "factor": factor,
        "load_average": [round(value, 2) for value in os.getloadavg()],
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    (HERE / "results" / "webhooks.json").write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    assert best["engine"]["per_s"] >= GOAL_PER_S, f"fewer than {GOAL_PER_S} deliveries a second"
    assert factor >= GOAL_FACTOR, f"less than {GOAL_FACTOR} times httpx"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--receive"]:
        uvloop.run(receive(sys.argv[2]))
    else:
        main()
