"""A migrated database for each test, copied from one that was migrated once."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from account.databases import Databases
from stores import KINDS, PATIENT, shared_stores
from trinity_mesh.clock import SystemClock
from trinity_storage.postgres import Postgres


def opened(url: str) -> Postgres:
    return Postgres(PATIENT, url=url, name="test", clock=SystemClock())


@pytest.fixture(scope="session", params=KINDS)
def any_databases(request: pytest.FixtureRequest) -> Databases:
    """Databases on a server of each kind in turn, for what SQL says."""
    return Databases(shared_stores(request.param))


@pytest.fixture
async def database_url(databases: Databases) -> AsyncIterator[str]:
    """A migrated database of the test's own."""
    async with databases.fresh() as url:
        yield url


@pytest.fixture
async def any_postgres(any_databases: Databases) -> AsyncIterator[Postgres]:
    """A pool to a migrated database of the test's own, on each kind of server."""
    async with any_databases.fresh() as url, opened(url) as postgres:
        yield postgres
