"""A real PostgreSQL for the webhook service's tests: one server a worker, a database a test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from account.databases import Databases
from stores import MISSING, programs, running_stores
from webhook.small_webhook import SmallWebhook


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """A server of the kind we carry, shared by all tests of a worker."""
    if programs("wheels") is None:
        pytest.skip(MISSING["wheels"])
    with running_stores("wheels") as stores:
        yield Databases(stores)


@pytest.fixture
async def database_url(databases: Databases) -> AsyncIterator[str]:
    """A migrated database of the test's own."""
    async with databases.fresh() as url:
        yield url


@pytest.fixture
async def webhook(database_url: str) -> AsyncIterator[SmallWebhook]:
    """A service on a database of its own, listening on a Unix socket."""
    async with SmallWebhook(database_url).running() as running:
        yield running
