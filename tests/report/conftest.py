"""A database a worker, emptied for each test, and a service on it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from report.database import empty, make_database
from report.report_gateway import Gateway, report_gateway
from report.small_report import SmallReport
from stores import Stores, shared_stores


@pytest.fixture(scope="session")
def stores() -> Stores:
    """Servers of the kind we carry, shared by all tests of a worker."""
    return shared_stores("wheels")


@pytest.fixture(scope="session")
def made_database(stores: Stores) -> str:
    """A migrated database."""
    return make_database(stores)


@pytest.fixture
async def url(made_database: str) -> str:
    """A database with KEYS and no usage."""
    await empty(made_database)
    return made_database


@pytest.fixture
async def report(url: str) -> AsyncIterator[SmallReport]:
    """A service without a copy."""
    async with SmallReport(url).running() as running:
        yield running


@pytest.fixture
async def gateway(report: SmallReport) -> AsyncIterator[Gateway]:
    """Our gateway in front of it."""
    async with report_gateway(report.address) as running:
        yield running
