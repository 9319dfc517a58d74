"""Rows that are more than memory should hold: from a cursor, or as COPY writes them, on real servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from processes import GENEROUS_S
from trinity_core.errors import Reason, TrinityError
from trinity_mesh.clock import SystemClock
from trinity_storage.postgres import Postgres, PostgresConfig

LONG_MS = int(GENEROUS_S * 1_000)
ENDLESS = "SELECT generate_series(1, 100000000), repeat('x', 1000)"


@pytest.fixture
async def postgres(database_url: str) -> AsyncIterator[Postgres]:
    config = PostgresConfig(acquire_timeout_ms=LONG_MS, pool_size_max=2)
    async with Postgres(config, url=database_url, name="test", clock=SystemClock()) as opened:
        await opened.execute("CREATE SCHEMA trinity; CREATE TABLE things AS SELECT generate_series(1, 2500) AS n")
        yield opened


async def busy(postgres: Postgres) -> int:
    """Sessions of this database that do something besides asking this."""
    return int(
        await postgres.fetch_value(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid() AND state <> 'idle'"
        )
    )


async def until_idle(postgres: Postgres) -> None:
    async with asyncio.timeout(GENEROUS_S):
        while await busy(postgres):  # noqa: ASYNC110 - the server sets no events
            await asyncio.sleep(0.01)


async def test_batches_bring_every_row_once_and_in_order(postgres: Postgres) -> None:
    async with postgres.transaction(read_only=True) as session:
        sizes, seen = [], []
        sql = "SELECT n FROM things WHERE n > $1 ORDER BY n"
        async for rows in session.batches(sql, 10, rows_max=1_000, timeout_ms=LONG_MS):
            sizes.append(len(rows))
            seen += [row["n"] for row in rows]
    assert sizes == [1_000, 1_000, 490]
    assert seen == list(range(11, 2_501))


async def test_a_snapshot_does_not_see_what_is_committed_meanwhile(postgres: Postgres) -> None:
    async with postgres.transaction(read_only=True, snapshot=True) as session:
        assert await session.fetch_value("SELECT count(*) FROM things") == 2_500
        await postgres.execute("DELETE FROM things")
        assert await session.fetch_value("SELECT count(*) FROM things") == 2_500
        seen = [len(rows) async for rows in session.batches("TABLE things", rows_max=5_000, timeout_ms=LONG_MS)]
    assert seen == [2_500]
    assert await postgres.fetch_value("SELECT count(*) FROM things") == 0


async def test_batches_may_be_left_at_any_time(postgres: Postgres) -> None:
    with pytest.raises(RuntimeError, match="enough"):
        async with postgres.transaction(read_only=True) as session:
            async for _ in session.batches(ENDLESS, rows_max=10, timeout_ms=LONG_MS):
                raise RuntimeError("enough")
    assert await postgres.fetch_value("SELECT 1") == 1
    await until_idle(postgres)


async def test_a_copy_is_lines_of_escaped_cells_and_tells_how_many(postgres: Postgres) -> None:
    pieces: list[bytes] = []

    async def sink(piece: bytes) -> None:
        pieces.append(piece)

    async with postgres.connection() as session:
        sql = "SELECT n, 'a,b' || E'\\n\\\\', NULL FROM things WHERE n = ANY($1) AND 'it''s' <> $2 ORDER BY n"
        rows = await session.copy_text(sql, [3, 1], "$1'\\", sink=sink, delimiter=",", timeout_ms=LONG_MS)
    assert rows == 2
    assert b"".join(pieces) == b"1,a\\,b\\n\\\\,\n3,a\\,b\\n\\\\,\n"


async def test_a_slow_sink_holds_the_server_back(postgres: Postgres) -> None:
    taken = 0
    enough = asyncio.Event()

    async def sink(piece: bytes) -> None:
        nonlocal taken
        taken += len(piece)
        enough.set()
        await asyncio.Event().wait()

    async def copy() -> None:
        async with postgres.connection() as session:
            await session.copy_text(ENDLESS, sink=sink, delimiter="\t", timeout_ms=LONG_MS)

    copying = asyncio.create_task(copy())
    await enough.wait()
    # The server has filled every buffer in between and waits: it says so itself.
    async with asyncio.timeout(GENEROUS_S):
        while (  # noqa: ASYNC110 - the server sets no events
            await postgres.fetch_value("SELECT wait_event FROM pg_stat_activity WHERE query LIKE 'COPY%'")
            != "ClientWrite"
        ):
            await asyncio.sleep(0.01)
    assert taken < 4 << 20
    copying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copying
    await until_idle(postgres)
    assert await postgres.fetch_value("SELECT 1") == 1


async def test_what_the_sink_raises_ends_the_copy(postgres: Postgres) -> None:
    async def sink(piece: bytes) -> None:
        raise RuntimeError("the reader is gone")

    with pytest.raises(RuntimeError, match="the reader is gone"):
        async with postgres.connection() as session:
            await session.copy_text(ENDLESS, sink=sink, delimiter="\t", timeout_ms=LONG_MS)
    await until_idle(postgres)
    assert await postgres.fetch_value("SELECT 1") == 1


async def test_a_copy_that_takes_too_long_is_ended_in_our_words(postgres: Postgres) -> None:
    async def sink(piece: bytes) -> None:
        pass

    with pytest.raises(TrinityError) as caught:
        async with postgres.transaction(read_only=True) as session:
            await session.execute("SET LOCAL statement_timeout = 20")
            await session.copy_text("SELECT pg_sleep(100)", sink=sink, delimiter="\t", timeout_ms=LONG_MS)
    assert caught.value.reason is Reason.STORE_UNAVAILABLE
    assert await postgres.fetch_value("SELECT 1") == 1
