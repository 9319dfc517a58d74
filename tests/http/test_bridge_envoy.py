"""The bridge beside the real Envoy: the same requests to both, and every difference on a list with its reason."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from differential.compare import EVERYWHERE, Both, atlas_set, both
from differential.envoy import MISSING, envoy_path
from differential.generate import requests
from differential.page import PAGE, faults, page, shown
from differential.rows import rows
from processes import is_running, until

pytestmark = pytest.mark.skipif(envoy_path() is None, reason=MISSING)

SEED = 20_260_102
RANDOM_REQUESTS = 1_500


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Both]:
    """Both, in front of one service, for all tests of this module."""
    folder = tmp_path_factory.mktemp("atlas")
    async with both(atlas_set(folder), folder) as found:
        yield found


@pytest.mark.asyncio(loop_scope="module")
async def test_nothing_differs_from_envoy_but_what_is_listed_with_its_reason(running: Both) -> None:
    pairs = await running.ask(rows())
    wrong = faults(pairs)
    assert not wrong, "\n".join(wrong)
    assert page(pairs, running.envoy.version) == PAGE.read_text("utf-8"), (
        "run scripts/envoy_page.py and commit the page"
    )


@pytest.mark.asyncio(loop_scope="module")
async def test_random_bindings_do_not_differ_from_envoy(running: Both) -> None:
    pairs = await running.ask(requests(RANDOM_REQUESTS, SEED))
    good = sum(pair.ours.status < 400 for pair in pairs)
    assert good > RANDOM_REQUESTS * 3 // 4
    differing = [shown(pair) for pair in pairs if pair.differences - EVERYWHERE]
    assert not differing, "\n".join(differing[:5])


HOLDER = """
import sys, time
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from differential.compare import SERVICE, atlas_set
from differential.envoy import running_envoy
folder = Path(sys.argv[1])
with running_envoy(folder, backend=folder / "none.sock", descriptor_set=atlas_set(folder), services=[SERVICE]) as envoy:
    print(envoy.pid, flush=True)
    sys.stdin.read()
"""


async def test_no_envoy_outlives_a_test_that_was_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path), *sys.path]
    pipe = asyncio.subprocess.PIPE
    holder = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert holder.stdout is not None
    pid = int(await holder.stdout.readline())
    assert is_running(pid)
    holder.kill()
    await holder.wait()
    await until(lambda: not is_running(pid), "Envoy ends with its parent")
