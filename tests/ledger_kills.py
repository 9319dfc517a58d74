"""Usage under kill -9: clients that keep their own count, a killer, and the sums compared.

Everything is a real process: gateways (ledger_gateway.py), the usage service, PostgreSQL. The three
variants of the gateway run side by side through the same kills, and are judged by the same words.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import asyncpg

from ledger_gateway import KINDS
from processes import GENEROUS_S, until
from stores import PATIENT
from trinity_mesh.clock import SystemClock
from trinity_mesh.readiness import FileWritten
from trinity_mesh.restart import Restart
from trinity_mesh.socketdir import socket_dir
from trinity_mesh.supervise import Spec, State, Status, Supervisor
from trinity_storage.migrate import migrate
from trinity_storage.postgres import Postgres
from trinity_storage.resolve import StorageConfig, resolve_postgres

LEDGER: Final = "ledger"
DELTAS: Final = "deltas"
NO_ADOPTION: Final = "no-adoption"
GATEWAYS: Final = {LEDGER: 2, DELTAS: 1, NO_ADOPTION: 1}
"""How many processes each variant has."""

_SOON: Final = Restart(first_ms=20, cap_ms=500, healthy_ms=100, attempts_to_serve=20)
_GATEWAY: Final = str(Path(__file__).with_name("ledger_gateway.py"))


@dataclass
class Tally:
    """What clients of one variant know, by kind."""

    asked: list[int] = field(default_factory=lambda: [0] * KINDS)
    answered: list[int] = field(default_factory=lambda: [0] * KINDS)
    breaks: int = 0
    """Connections that ended with requests under way."""

    @property
    def total(self) -> int:
        return sum(self.answered)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a variant came through."""

    answered: int
    billed: int
    in_flight: int
    """Asked and never answered, when something was killed: they may be billed or not."""
    lost: int
    """Answered and not billed."""
    double: int
    """Billed beyond what was ever asked."""
    breaks: int


@dataclass(frozen=True, slots=True)
class Result:
    """How a fight ended."""

    verdicts: Mapping[str, Verdict]
    hours: int
    """Hours of the ledger variant that were billed: time runs fast."""
    closed: int
    """Hours of ledger files that the usage service had closed."""
    files: int
    """Ledger files of that variant that were recorded."""
    kills: int


def judge(tally: Tally, billed: Sequence[int]) -> Verdict:
    """answered <= billed <= answered + in flight, of each kind."""
    rows = list(zip(tally.asked, tally.answered, billed, strict=True))
    return Verdict(
        answered=sum(tally.answered),
        billed=sum(billed),
        in_flight=sum(asked - answered for asked, answered, _ in rows),
        lost=sum(max(0, answered - n) for _, answered, n in rows),
        double=sum(max(0, n - asked) for asked, _, n in rows),
        breaks=tally.breaks,
    )


class Client:
    """Asks one gateway over one connection at a time, and believes only what it reads."""

    def __init__(self, address: str, tally: Tally, *, dice: random.Random, chunk_max: int) -> None:
        self._address = address
        self._tally = tally
        self._dice = dice
        self._chunks = [bytes(dice.choices(range(KINDS), k=dice.randint(1, chunk_max))) for _ in range(50)]
        self.stopping = False

    async def run(self) -> None:
        while not self.stopping:
            try:
                reader, writer = await asyncio.open_unix_connection(self._address)
            except OSError:
                await asyncio.sleep(0.02)
                continue
            try:
                while not self.stopping:
                    if not await self._ask(reader, writer):
                        self._tally.breaks += 1
                        break
            finally:
                writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        chunk = self._dice.choice(self._chunks)
        _add(self._tally.asked, chunk)
        left = len(chunk)
        try:
            writer.write(chunk)
            while left:
                answers = await reader.read(left)
                if not answers:
                    return False
                _add(self._tally.answered, answers)
                left -= len(answers)
        except OSError:
            return False
        return True


def _add(counts: list[int], data: bytes) -> None:
    for kind in range(KINDS):
        counts[kind] += data.count(kind)


class Battle:
    """Everything that runs."""

    def __init__(self, backs: Supervisor, fronts: Supervisor, tallies: Mapping[str, Tally]) -> None:
        self._backs = backs
        self._fronts = fronts
        self._killed: set[int] = set()
        self.tallies = tallies
        self.kills = 0

    async def kill(self, *names: str) -> None:
        """SIGKILL processes that serve, at once."""
        for name in names:
            supervisor = self._backs if name in ("postgres", "usage") else self._fronts
            await until(lambda name=name, of=supervisor: self._serves(of.status(name)), f"{name} serves")  # type: ignore[misc]
            pid = supervisor.status(name).pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            self._killed.add(pid)
            self.kills += 1

    async def all_serve(self) -> None:
        """Return when every process serves."""
        await until(
            lambda: all(self._serves(status) for of in (self._backs, self._fronts) for status in of.statuses()),
            "everything serves",
        )

    def _serves(self, status: Status) -> bool:
        # A supervisor needs a moment to see that a process was killed.
        return status.state is State.SERVING and status.pid not in self._killed

    async def go_on(self, answers: int) -> None:
        """Return when every variant has answered so many times more."""
        goals = {name: tally.total + answers for name, tally in self.tallies.items()}
        await until(lambda: all(self.tallies[name].total >= goal for name, goal in goals.items()), f"{answers} answers")


async def fight(
    folder: Path,
    plan: Callable[[Battle], Awaitable[None]],
    *,
    variants: Sequence[str] = tuple(GATEWAYS),
    seed: int,
    clients: int = 1,
    chunk_max: int = 400,
) -> Result:
    """Put gateways under load, `clients` connections each, play `plan`, stop and drain everything, and judge."""
    clock, dice = SystemClock(), random.Random(seed)
    sockets = socket_dir(folder / "data", environ=os.environ)
    environ = {**os.environ, "PATH": ""}
    store = await resolve_postgres(
        config=StorageConfig(), data_dir=folder / "data", socket_dir=sockets, environ=environ, clock=clock
    )
    assert store.spec is not None
    usage = f"unix:{sockets / 'usage.sock'}"
    tallies = {variant: Tally() for variant in variants}
    specs: list[Spec] = []
    asking: list[Client] = []
    for variant in variants:
        for number in range(GATEWAYS[variant]):
            name = f"{variant}-{number}"
            address = str(sockets / f"{name}.sock")
            specs.append(_gateway_spec(folder, variant, name, address, usage, store.url, dice.randrange(1 << 30)))
            for _ in range(clients):
                asking.append(Client(address, tallies[variant], dice=random.Random(dice.random()), chunk_max=chunk_max))
    backs = Supervisor([store.spec, _usage_spec(folder, usage, store.url)], clock=clock, data_dir=folder / "backs")
    fronts = Supervisor(specs, clock=clock, data_dir=folder / "fronts")
    async with backs:
        async with Postgres(PATIENT, url=store.url, name="test", clock=clock) as postgres:
            await migrate(postgres)
            await postgres.execute("CREATE TABLE deltas (asset text PRIMARY KEY, n bigint NOT NULL)")
        async with fronts:
            tasks = [asyncio.create_task(client.run()) for client in asking]
            try:
                await plan(on := Battle(backs, fronts, tallies))
                await on.all_serve()  # one that is being started would end without a word
            finally:
                for client in asking:
                    client.stopping = True
                await asyncio.wait_for(asyncio.gather(*tasks), GENEROUS_S)
        for variant in variants:
            left = sorted(path.name for path in (folder / "spool" / variant).glob("*.uctr"))
            assert variant == NO_ADOPTION or not left, f"{variant} was not recorded: {left}"
        told, hours, closed = await billed(store.url)
    files = len(list((folder / "spool" / LEDGER / "done").glob("*.uctr")))
    verdicts = {variant: judge(tallies[variant], told[variant]) for variant in variants}
    return Result(verdicts, hours, closed, files, on.kills)


async def billed(postgres_url: str) -> tuple[dict[str, list[int]], int, int]:
    """What the database says, by variant and kind; how many hours it has, and how many were closed."""
    connection = await asyncpg.connect(postgres_url, server_settings={"search_path": "trinity"})
    try:
        rows = await connection.fetch("SELECT key_id, asset, sum(n)::bigint AS n FROM usage_log GROUP BY 1, 2")
        rows += await connection.fetch("SELECT 'deltas' AS key_id, asset, n FROM deltas")
        found = {(row["key_id"], row["asset"]): row["n"] for row in rows}
        sums = {variant: [found.get((variant, f"A{kind}"), 0) for kind in range(KINDS)] for variant in GATEWAYS}
        hours = await connection.fetchval("SELECT count(DISTINCT hour) FROM usage_log WHERE key_id = $1", LEDGER)
        return sums, hours, await connection.fetchval("SELECT count(*) FROM usage_closed")
    finally:
        connection.terminate()


def _usage_spec(folder: Path, address: str, postgres_url: str) -> Spec:
    ready = folder / "usage.ready"
    settings = {
        "TRINITY_USAGE_LISTEN": address,
        "TRINITY_USAGE_POSTGRES_URL": postgres_url,
        "TRINITY_USAGE_TIDY_S": "1",
    }
    return Spec(
        name="usage",
        argv=(sys.executable, "-m", "trinity_usage", str(ready)),
        env={**os.environ, **settings},
        ready=FileWritten(ready),
        ready_timeout_ms=60_000,
        depends_on=("postgres",),
        restart=_SOON,
    )


def _gateway_spec(
    folder: Path, variant: str, name: str, address: str, usage: str, postgres_url: str, seed: int
) -> Spec:
    ready, spool = folder / f"{name}.ready", folder / "spool" / variant
    words = (variant, address, str(spool), usage, postgres_url, str(ready), str(seed))
    return Spec(
        name=name,
        argv=(sys.executable, _GATEWAY, *words),
        ready=FileWritten(ready),
        ready_timeout_ms=60_000,
        stop_timeout_ms=30_000,
        restart=_SOON,
    )
