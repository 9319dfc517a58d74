"""Databases with the tables of accounts, one a test, made of a template so that they are quick to have."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import AbstractAsyncContextManager

from stores import Stores, fresh_database, make_template, url_of
from trinity_mesh.clock import SystemClock
from trinity_storage.postgres import Postgres, PostgresConfig


class Databases:
    """Databases on one server."""

    def __init__(self, stores: Stores) -> None:
        self.stores = stores
        self._template = f"accounts_{uuid.uuid4().hex}"
        asyncio.run(make_template(stores, self._template))

    def url_of(self, name: str) -> str:
        return url_of(self.stores, name)

    def fresh(self) -> AbstractAsyncContextManager[str]:
        """The address of a database of the test's own."""
        return fresh_database(self.stores, template=self._template)


def open_postgres(url: str) -> Postgres:
    """A pool for a test."""
    return Postgres(PostgresConfig(acquire_timeout_ms=30_000), url=url, name="test", clock=SystemClock())
