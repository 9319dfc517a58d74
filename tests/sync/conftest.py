"""Real stores: a migrated database for each test, and an empty Valkey."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from stores import Stores
from sync.sync_stage import Stage, migrated_copy, running_migrated


@pytest.fixture(scope="session", params=["wheels", "debian"])
def sync_stores(request: pytest.FixtureRequest) -> Iterator[Stores]:
    """Servers of each kind in turn."""
    yield from running_migrated(request.param)


@pytest.fixture
async def stage(sync_stores: Stores) -> AsyncIterator[Stage]:
    """Both stores, with nothing in them."""
    async with migrated_copy(sync_stores) as made:
        yield made
