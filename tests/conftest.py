"""Servers that tests share, and generated examples.

Examples: new ones at every run of a developer, the same ones at every run of CI.

What a developer's run finds becomes an explicit example; a submission is judged by what it
changed and not by the luck of a draw.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from account.databases import Databases
from stores import end_shared_stores, shared_stores

settings.register_profile("developer", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "developer")


@pytest.fixture(scope="session", autouse=True)
def shared_servers() -> Iterator[None]:
    """What tests share ends with the run."""
    yield
    end_shared_stores()


@pytest.fixture(scope="session")
def databases() -> Databases:
    """Databases on a server of the kind we carry, shared by all tests of a worker."""
    return Databases(shared_stores("wheels"))
