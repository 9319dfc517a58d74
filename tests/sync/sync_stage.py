"""What tests of the sync stand on: real stores, usage to put into them, and what the truth is."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from stores import MISSING, PATIENT, Stores, fresh_database, make_template, programs, running_stores
from trinity_core.usage import HOUR_S
from trinity_core.usage_log import UsageFilter, UsageRow
from trinity_mesh.clock import SystemClock
from trinity_storage.postgres import Postgres
from trinity_storage.reports import ReportStore
from trinity_storage.usage import Count, UsageStore
from trinity_storage.usage_cache import ValkeyUsageLog
from trinity_storage.usage_source import UsageSource
from trinity_storage.valkey import Valkey, ValkeyConfig
from trinity_sync.syncing import Syncing

HOUR = 1_790_000_000 // HOUR_S * HOUR_S
KEYS = {"annannannann": "acme", "bobbobbobbob": "acme", "cydcydcydcyd": "bolt", "lostlostlost": ""}
METHODS = ("GetPrice", "ListPrices")
ASSETS = ("", "BTC", "ETH")


@dataclass(slots=True)
class Stage:
    """Both stores of one test."""

    postgres: Postgres
    postgres_url: str
    valkey: Valkey
    valkey_url: str
    slots: int = 0

    @property
    def syncing(self) -> Syncing:
        return self.syncing_of(history_days=0)

    def syncing_of(self, *, history_days: int) -> Syncing:
        source = UsageSource(self.postgres, lasts_ms=60_000)
        return Syncing(source=source, valkey=self.valkey, history_days=history_days, clock=SystemClock())

    @property
    def log(self) -> ValkeyUsageLog:
        return ValkeyUsageLog(self.valkey, step_ms=20_000)

    async def truth(self, wanted: UsageFilter | None = None) -> list[UsageRow]:
        """The rows as the database has them, newest first."""
        return await ReportStore(self.postgres).page(wanted or UsageFilter(), after=None, limit=1_000_000)

    async def copied(self, wanted: UsageFilter | None = None) -> list[UsageRow]:
        """The rows as the copy has them."""
        coverage = await self.log.coverage()
        assert coverage is not None
        return [row async for batch in self.log.rows(coverage, wanted or UsageFilter()) for row in batch]

    async def use(self, rows: Sequence[tuple[str, int, int, str, str, int, int]]) -> None:
        """Count answers: key id, hour, transport, method, asset, outcome, n; in one commit."""
        file = f"6ab13b80-{uuid.uuid4().hex[:15]}-0"
        counts = [Count(slot, *row) for slot, row in enumerate(rows)]
        await UsageStore(self.postgres).record(file, counts)

    async def use_some(self, number: int, *, rng: random.Random, hours: int = 60) -> None:
        """Random usage of the last hours."""
        await self.use(
            [
                (
                    rng.choice(tuple(KEYS)),
                    HOUR - HOUR_S * rng.randrange(hours),
                    rng.randint(1, 3),
                    rng.choice(METHODS),
                    rng.choice(ASSETS),
                    rng.randint(1, 6),
                    rng.randint(1, 1_000),
                )
                for _ in range(number)
            ]
        )

    async def keys_of_copies(self) -> set[str]:
        """Names of everything that belongs to any copy."""
        found: set[str] = set()
        cursor = b"0"
        while True:
            cursor, names = await self.valkey.call("SCAN", cursor, "MATCH", "{usage}:*")
            found.update(name.decode() for name in names)
            if cursor == b"0":
                return found

    async def empty_valkey(self) -> None:
        """Be as a cache that was restarted."""
        if names := await self.keys_of_copies():
            await self.valkey.call("DEL", *names)


def running_migrated(kind: str) -> Iterator[Stores]:
    """Servers of a kind, with a template of the migrated database."""
    if programs(kind) is None:
        pytest.skip(MISSING[kind])
    with running_stores(kind) as stores:
        asyncio.run(_make_template(stores))
        yield stores


async def _make_template(stores: Stores) -> None:
    url = await make_template(stores, "migrated")
    async with Postgres(PATIENT, url=url, name="test", clock=SystemClock()) as postgres:
        await postgres.execute(
            "INSERT INTO plans VALUES ('p', '', 1, 1, 0, '{}', '{}', '{}', now(), now(), 1) ON CONFLICT DO NOTHING"
        )
        for key_id, associate in KEYS.items():
            if associate:
                await add_key(postgres, key_id, associate=associate)


async def add_key(postgres: Postgres, key_id: str, *, associate: str, name: str | None = None) -> None:
    """A key, with the associate that it needs."""
    await postgres.execute(
        "INSERT INTO associates VALUES ($1, '', '', 'p', false, now(), now(), 1) ON CONFLICT DO NOTHING", associate
    )
    await postgres.execute(
        """INSERT INTO api_keys (key_id, associate, name, digest, scopes, allowed_networks, create_time, version)
           VALUES ($1, $2, $3, sha256($1::text::bytea), '{}', '{}', now(), 1)""",
        key_id,
        associate,
        f'désk, "of"\t{key_id}' if name is None else name,
    )


@asynccontextmanager
async def migrated_copy(stores: Stores) -> AsyncIterator[Stage]:
    """A database of the test's own, and an empty Valkey."""
    clock = SystemClock()
    async with (
        fresh_database(stores, template="migrated") as url,
        Postgres(PATIENT, url=url, name="test", clock=clock) as postgres,
        Valkey(ValkeyConfig(timeout_ms=20_000), url=stores.valkey_url, clock=clock) as valkey,
    ):
        stage = Stage(postgres, url, valkey, stores.valkey_url)
        await stage.empty_valkey()
        yield stage
