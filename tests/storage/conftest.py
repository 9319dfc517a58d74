"""Real servers for the tests of the stores."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from stores import KINDS, MISSING, Programs, Stores, fresh_database, programs, running_stores


@pytest.fixture(scope="session", params=KINDS)
def server_programs(request: pytest.FixtureRequest) -> Programs:
    """Programs of each kind in turn."""
    found = programs(request.param)
    if found is None:
        pytest.skip(MISSING[request.param])
    return found


@pytest.fixture(scope="session")
def wheel_programs() -> Programs:
    """The programs we carry, for tests that are the same with any."""
    found = programs("wheels")
    if found is None:
        pytest.skip(MISSING["wheels"])
    return found


@pytest.fixture(scope="session")
def stores(server_programs: Programs) -> Iterator[Stores]:
    """Running servers of each kind in turn, shared by all tests of a worker."""
    with running_stores(server_programs.kind) as running:
        yield running


@pytest.fixture
async def database_url(stores: Stores) -> AsyncIterator[str]:
    """An empty database of the test's own."""
    async with fresh_database(stores) as url:
        yield url
