"""Announcements of PostgreSQL: heard, and heard again after the connection was lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from account.databases import Databases, open_postgres
from account.small_account import Switch
from processes import until
from trinity_core.backoff import Backoff
from trinity_mesh.clock import SystemClock
from trinity_storage.notices import Notices
from trinity_storage.postgres import PostgresConfig


@dataclass
class Ear:
    """Counts what it hears."""

    url: str
    heard: int = 0
    notices: Notices = field(init=False)

    def __post_init__(self) -> None:
        self.notices = Notices(
            PostgresConfig(),
            url=self.url,
            name="test",
            channels=("one", "two"),
            heard=self._hear,
            clock=SystemClock(),
            backoff=Backoff(first_ms=1, cap_ms=20),
        )

    def _hear(self) -> None:
        self.heard += 1

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Ear]:
        task = asyncio.create_task(self.notices.run())
        try:
            await until(lambda: self.notices.connected, "it listens")
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_what_is_announced_is_heard_on_each_channel_and_no_other(database_url: str) -> None:
    async with Ear(database_url).listening() as ear, open_postgres(database_url) as postgres:
        assert ear.heard == 1, "whoever begins to listen must look first"
        for channel in ("one", "two"):
            before = ear.heard
            await postgres.execute("SELECT pg_notify($1, 'x')", channel)
            await until(lambda before=before: ear.heard == before + 1, "it is heard")  # type: ignore[misc]
        await postgres.execute("SELECT pg_notify('three', 'x')")
        await postgres.execute("SELECT pg_notify('one', 'x')")
        await until(lambda: ear.heard >= 4, "it is heard")
        assert ear.heard == 4


async def test_an_announcement_is_heard_at_the_commit_and_not_before(database_url: str) -> None:
    async with Ear(database_url).listening() as ear, open_postgres(database_url) as postgres:
        async with postgres.transaction() as session:
            await session.execute("SELECT pg_notify('one', '')")
            await postgres.execute("SELECT pg_notify('two', '')")
            await until(lambda: ear.heard == 2, "the other is heard")
        await until(lambda: ear.heard == 3, "it is heard")


async def test_a_lost_connection_is_made_again_and_says_so(databases: Databases, database_url: str) -> None:
    with Switch(database_url, databases.stores.admin_url) as switch:
        async with Ear(switch.url).listening() as ear:
            await switch.off()
            await until(lambda: not ear.notices.connected, "the loss is noticed")
            heard = ear.heard
            switch.on()
            await until(lambda: ear.notices.connected, "it listens again")
            assert ear.heard == heard + 1
            async with open_postgres(database_url) as postgres:
                await postgres.execute("SELECT pg_notify('one', '')")
            await until(lambda: ear.heard == heard + 2, "it is heard")


async def test_nobody_is_left_listening(database_url: str) -> None:
    async with open_postgres(database_url) as postgres:
        async with Ear(database_url).listening():
            pass
        count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'test-notices'"
        async with asyncio.timeout(30):
            while await postgres.fetch_value(count):
                pass
