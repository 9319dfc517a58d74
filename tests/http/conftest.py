"""The stranger's contract, compiled once, and the bridge in front of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bridge_direct import Direct
from bridge_stage import descriptor_set, shelf_stage


@pytest.fixture(scope="session")
def shelf_set(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The descriptor set of shelf.v1."""
    return descriptor_set(tmp_path_factory.mktemp("protos"), "shelf/v1/shelf.proto")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(shelf_set: bytes, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Any]:
    """The bridge with default settings and nobody to ask for keys, for all tests of a module."""
    folder: Path = tmp_path_factory.mktemp("shelf")
    async with shelf_stage(shelf_set, folder) as running:
        yield running


@pytest.fixture(scope="module")
def direct(shelf_set: bytes) -> Iterator[Direct]:
    """The bridge without a server."""
    running = Direct(shelf_set)
    yield running
    running.close()
