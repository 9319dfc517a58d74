"""A real PostgreSQL for the webhook service's tests: one server a worker, a database a test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from account.databases import Databases
from webhook.small_webhook import SmallWebhook


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
