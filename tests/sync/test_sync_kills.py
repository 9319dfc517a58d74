"""A sync that is killed leaves readers on a complete copy, which is a committed state of the database."""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

from sync.sync_stage import Stage
from trinity_core.errors import Reason, TrinityError
from trinity_core.usage_log import UsageFilter, UsageRow

PROCESS = Path(__file__).with_name("sync_process.py")
ROUNDS = 6


async def test_wherever_a_sync_is_killed_readers_see_a_committed_state(stage: Stage) -> None:
    rng = random.Random(11)
    await stage.use_some(6_000, rng=rng, hours=400)
    await stage.syncing.once()
    committed: dict[int, list[UsageRow]] = {}
    await _remember(stage, committed)
    killed = 0
    for number in range(ROUNDS):
        await stage.use_some(300, rng=rng, hours=48)
        await _remember(stage, committed)
        how = "full" if number % 2 else "change"
        process = await asyncio.create_subprocess_exec(
            sys.executable, PROCESS, stage.postgres_url, stage.valkey_url, how, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"begins\n"
        reading = asyncio.create_task(_sees_committed(stage, committed))
        # Within what a sync takes here; where it lands is chance, and right wherever it is.
        await asyncio.sleep(rng.random() * (0.5 if how == "full" else 0.08))
        if process.returncode is None:
            process.kill()
        killed += await process.wait() != 0
        await reading
        await _sees_committed(stage, committed)
    assert killed > 0
    done = await _once_its_lock_is_free(stage)
    truth = await stage.truth()
    assert await stage.copied() == truth
    assert all(done in name or name == "{usage}:current" for name in await stage.keys_of_copies())


async def _remember(stage: Stage, committed: dict[int, list[UsageRow]]) -> None:
    watermark = await stage.postgres.fetch_value("SELECT max(seq) FROM usage_changes")
    committed[watermark] = await stage.truth()


async def _sees_committed(stage: Stage, committed: dict[int, list[UsageRow]]) -> None:
    """Whole reads: a copy is there, and is the state of its watermark, or of a later one put in meanwhile."""
    while True:
        coverage = await stage.log.coverage()
        assert coverage is not None
        try:
            seen = [row async for batch in stage.log.rows(coverage, UsageFilter()) for row in batch]
        except TrinityError as error:
            # A new copy took its place under us.
            assert error.reason is Reason.STORE_UNAVAILABLE
            continue
        if await stage.log.coverage() == coverage:
            assert seen == committed[coverage.watermark]
            return


async def _once_its_lock_is_free(stage: Stage) -> str:
    """The generation of a full sync, when the database has noticed that the killed one is gone."""
    async with asyncio.timeout(30):
        while True:
            try:
                return (await stage.syncing.once(full=True)).generation
            except TrinityError as error:
                assert error.reason is Reason.STORE_CONFLICT
                await asyncio.sleep(0.02)
