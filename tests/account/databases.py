"""Databases with the tables of accounts, one a test, made of a template so that they are quick to have."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from stores import Stores
from trinity_mesh.clock import SystemClock
from trinity_storage.migrate import migrate
from trinity_storage.postgres import Postgres, PostgresConfig


class Databases:
    """Databases on one server."""

    def __init__(self, stores: Stores) -> None:
        self.stores = stores
        self._template = f"accounts_{uuid.uuid4().hex}"
        asyncio.run(self._make_template())

    def url_of(self, name: str) -> str:
        return self.stores.postgres_url.replace("//trinity@/trinity", f"//trinity@/{name}")

    @asynccontextmanager
    async def fresh(self) -> AsyncIterator[str]:
        """The address of a database of the test's own."""
        name = f"test_{uuid.uuid4().hex}"
        await self._execute(f"CREATE DATABASE {name} OWNER trinity TEMPLATE {self._template}")
        try:
            yield self.url_of(name)
        finally:
            await self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    async def _make_template(self) -> None:
        await self._execute(f"CREATE DATABASE {self._template} OWNER trinity TEMPLATE template0")
        async with open_postgres(self.url_of(self._template)) as postgres:
            await migrate(postgres)

    async def _execute(self, statement: str) -> None:
        admin = await asyncpg.connect(self.stores.admin_url)
        try:
            await admin.execute(statement)
        finally:
            await admin.close()


def open_postgres(url: str) -> Postgres:
    """A pool for a test."""
    return Postgres(PostgresConfig(acquire_timeout_ms=30_000), url=url, name="test", clock=SystemClock())
