"""`trinity sync` and the sync's own process, on real stores."""

from __future__ import annotations

import asyncio
import json
import random
import sys

from sync.sync_stage import Stage
from trinity_mesh.clock import SystemClock
from trinity_storage.postgres import PostgresConfig
from trinity_storage.valkey import ValkeyConfig
from trinity_sync.config import SyncConfig
from trinity_sync.main import run

COMMAND = (
    "import sys; from trinity_cli.sync import sync; from trinity_core.errors import TrinityError\n"
    "sync.main(sys.argv[1:], prog_name='trinity sync')"
)


async def command(stage: Stage, *words: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        COMMAND,
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={
            "TRINITY_DATA_DIR": "/nowhere",
            "TRINITY_SYNC_POSTGRES_URL": stage.postgres_url,
            "TRINITY_SYNC_VALKEY_URL": stage.valkey_url,
            "TRINITY_SYNC_VALKEY_TIMEOUT_MS": "20000",
        }
        if stage.postgres_url
        else {"TRINITY_DATA_DIR": "/nowhere"},
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_the_command_syncs_and_says_what_it_did(stage: Stage) -> None:
    await stage.use_some(200, rng=random.Random(1))
    rows = len(await stage.truth())
    code, out, err = await command(stage, "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["kind"], told["rows"], told["why"]) == ("full", rows, "there was no complete copy")
    assert await stage.copied() == await stage.truth()
    code, out, _ = await command(stage)
    assert (code, out) == (0, "nothing had changed\n")


async def test_without_stores_the_command_says_what_to_do(stage: Stage) -> None:
    stage.postgres_url = ""
    code, _, err = await command(stage)
    assert code == 5
    assert "TRINITY_SYNC_POSTGRES_URL" in err


async def test_the_part_syncs_once_it_runs_and_ends_when_told(stage: Stage) -> None:
    await stage.use_some(200, rng=random.Random(1))
    config = SyncConfig(
        postgres=PostgresConfig(url=stage.postgres_url), valkey=ValkeyConfig(url=stage.valkey_url, timeout_ms=20_000)
    )
    stopping = asyncio.Event()
    told: list[object] = []
    running = asyncio.create_task(run(config, clock=SystemClock(), stopping=stopping, ready=told.append))
    async with asyncio.timeout(20):
        while await stage.log.coverage() is None:
            assert not running.done()
            await asyncio.sleep(0.01)
        stopping.set()
        await running
    assert told == [{}]
    assert await stage.copied() == await stage.truth()
