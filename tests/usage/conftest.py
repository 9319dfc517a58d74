"""A migrated database for each test, copied from one that was migrated once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import pytest

from stores import KINDS, MISSING, PATIENT, Stores, fresh_database, make_template, programs, running_stores
from trinity_mesh.clock import SystemClock
from trinity_storage.postgres import Postgres


def opened(url: str) -> Postgres:
    return Postgres(PATIENT, url=url, name="test", clock=SystemClock())


class Servers:
    """Servers of each kind that a test asks for, started once for all tests of a worker."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._by_kind: dict[str, Stores] = {}

    def of(self, kind: str) -> Stores:
        if programs(kind) is None:
            pytest.skip(MISSING[kind])
        if kind not in self._by_kind:
            stores = self._by_kind[kind] = self._stack.enter_context(running_stores(kind))
            asyncio.run(make_template(stores, "migrated"))
        return self._by_kind[kind]


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """Those that are needed."""
    with ExitStack() as stack:
        yield Servers(stack)


@pytest.fixture(scope="session", params=KINDS)
def any_stores(request: pytest.FixtureRequest, servers: Servers) -> Stores:
    """Servers of each kind in turn, for what SQL says."""
    return servers.of(request.param)


@pytest.fixture(scope="session")
def stores(servers: Servers) -> Stores:
    """The servers we carry, for everything else."""
    return servers.of("wheels")


@pytest.fixture
async def database_url(stores: Stores) -> AsyncIterator[str]:
    """A migrated database of the test's own."""
    async with fresh_database(stores, template="migrated") as url:
        yield url


@pytest.fixture
async def any_postgres(any_stores: Stores) -> AsyncIterator[Postgres]:
    """A pool to a migrated database of the test's own, on each kind of server."""
    async with fresh_database(any_stores, template="migrated") as url, opened(url) as postgres:
        yield postgres
