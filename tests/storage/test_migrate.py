"""Migrations on real servers: once each, in order, whoever else tries; and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from stores import PATIENT
from trinity_core.errors import Reason, TrinityError
from trinity_mesh.clock import SystemClock
from trinity_storage.migrate import Migrated, Migration, check, known, migrate
from trinity_storage.postgres import Postgres, PostgresConfig

ONE = Migration(1, "0001_one.sql", "CREATE TABLE trinity.one (n int); INSERT INTO trinity.one VALUES (1);")
TWO = Migration(2, "0002_two.sql", "INSERT INTO trinity.one SELECT n + 1 FROM trinity.one;")
BROKEN = Migration(2, "0002_broken.sql", "INSERT INTO trinity.one VALUES (7); SELECT 1 / 0;")


def open_postgres(url: str) -> Postgres:
    return Postgres(PATIENT, url=url, name="test", clock=SystemClock())


@pytest.fixture
async def postgres(database_url: str) -> AsyncIterator[Postgres]:
    async with open_postgres(database_url) as opened:
        yield opened


async def numbers(postgres: Postgres) -> list[int]:
    return [row["n"] for row in await postgres.fetch("SELECT n FROM one ORDER BY n")]


async def test_the_steps_of_this_release_bring_an_empty_database_to_its_version(postgres: Postgres) -> None:
    with pytest.raises(TrinityError, match="is at version 0 and this code needs"):
        await check(postgres)
    told: list[str] = []
    done = await migrate(postgres, on_step=told.append)
    assert done.applied == tuple(step.name for step in known()) == tuple(told)
    assert done.version == len(known()) == await check(postgres)
    await postgres.execute("INSERT INTO app_config (key, value) VALUES ('price.fresh_ms', '250')")
    row = await postgres.fetch_row("SELECT value, version, updated_at FROM trinity.app_config")
    assert row is not None
    assert (row["value"], row["version"]) == ("250", 1)
    assert row["updated_at"].utcoffset().total_seconds() == 0


@pytest.mark.parametrize("key", ["", "Upper", "a..b", "a b", "a" * 201])
async def test_a_setting_has_a_well_formed_key(postgres: Postgres, key: str) -> None:
    await migrate(postgres)
    with pytest.raises(TrinityError) as caught:
        await postgres.execute("INSERT INTO app_config (key, value) VALUES ($1, 'true')", key)
    assert caught.value.reason is Reason.INTERNAL


async def test_a_second_time_changes_nothing(postgres: Postgres) -> None:
    assert await migrate(postgres, steps=[ONE, TWO]) == Migrated(("0001_one.sql", "0002_two.sql"), 2)
    assert await migrate(postgres, steps=[ONE, TWO]) == Migrated((), 2)
    assert await numbers(postgres) == [1, 2]


async def test_only_the_missing_steps_are_taken(postgres: Postgres) -> None:
    await migrate(postgres, steps=[ONE])
    assert await migrate(postgres, steps=[ONE, TWO]) == Migrated(("0002_two.sql",), 2)


async def test_many_at_once_take_each_step_once(database_url: str) -> None:
    slow = Migration(1, ONE.name, "SELECT pg_sleep(0.1);" + ONE.sql)
    pools = [open_postgres(database_url) for _ in range(6)]
    try:
        for pool in pools:
            await pool.open()
        done = await asyncio.gather(*(migrate(pool, steps=[slow, TWO]) for pool in pools))
        assert sorted(name for each in done for name in each.applied) == ["0001_one.sql", "0002_two.sql"]
        assert {each.version for each in done} == {2}
        assert await numbers(pools[0]) == [1, 2]
    finally:
        for pool in pools:
            await pool.close()


async def test_a_step_that_fails_leaves_nothing_of_itself(postgres: Postgres) -> None:
    with pytest.raises(TrinityError) as caught:
        await migrate(postgres, steps=[ONE, BROKEN])
    assert caught.value.reason is Reason.INTERNAL
    assert await numbers(postgres) == [1]
    assert await migrate(postgres, steps=[ONE, TWO]) == Migrated(("0002_two.sql",), 2)


async def test_an_edited_step_is_refused(postgres: Postgres) -> None:
    await migrate(postgres, steps=[ONE])
    edited = Migration(1, ONE.name, ONE.sql + "-- more")
    for refused in (migrate(postgres, steps=[edited, TWO]), check(postgres, steps=[edited])):
        with pytest.raises(TrinityError, match="must not be edited") as caught:
            await refused
        assert caught.value.reason is Reason.SCHEMA_MISMATCH
    assert await numbers(postgres) == [1]


async def test_a_database_ahead_of_the_code_is_refused(postgres: Postgres) -> None:
    await migrate(postgres, steps=[ONE, TWO])
    for refused in (migrate(postgres, steps=[ONE]), check(postgres, steps=[ONE])):
        with pytest.raises(TrinityError, match=r"at version 2 \(0002_two.sql is unknown here\)") as caught:
            await refused
        assert caught.value.reason is Reason.SCHEMA_MISMATCH


async def test_a_step_may_take_longer_than_a_statement_usually_may(database_url: str) -> None:
    config = PostgresConfig(statement_timeout_ms=50)
    slow = Migration(1, ONE.name, "SELECT pg_sleep(0.2);")
    async with Postgres(config, url=database_url, name="test", clock=SystemClock()) as postgres:
        assert (await migrate(postgres, steps=[slow])).version == 1
        with pytest.raises(TrinityError):
            await postgres.execute("SELECT pg_sleep(0.2)")


async def test_steps_with_a_gap_are_refused(postgres: Postgres) -> None:
    with pytest.raises(ValueError, match="without a gap"):
        await migrate(postgres, steps=[ONE, Migration(3, "0003_three.sql", "")])
