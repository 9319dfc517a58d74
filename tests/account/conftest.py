"""Real stores for the account service's tests: one PostgreSQL a worker, a database a test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from account.databases import Databases
from account.small_account import SmallAccount


@pytest.fixture
async def database_url(databases: Databases) -> AsyncIterator[str]:
    """A migrated database of the test's own."""
    async with databases.fresh() as url:
        yield url


@pytest.fixture
async def account(database_url: str, tmp_path: Path) -> AsyncIterator[SmallAccount]:
    """A service on a database of its own, listening on a Unix socket."""
    async with SmallAccount(tmp_path, database_url).running() as running:
        yield running
