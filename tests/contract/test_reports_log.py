"""One suite, every reader of the usage log: PostgreSQL, the truth, and the copies that may stand in for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial

import pytest

from report.database import HOUR, KEYS, T0, add_usage, empty, make_database, newest_first, usage
from stores import KINDS, shared_stores
from trinity_core.errors import Reason, TrinityError
from trinity_core.usage_log import (
    BATCH_ROWS_MAX,
    Coverage,
    MemoryUsageLog,
    Position,
    UsageFilter,
    UsageRow,
)
from trinity_mesh.clock import SystemClock
from trinity_storage.postgres import Postgres, PostgresConfig
from trinity_storage.reports import ReportStore

Read = Callable[..., Awaitable[list[UsageRow]]]
Fill = Callable[[Sequence[UsageRow]], Awaitable[Read]]
"""Puts rows into a log and returns how to read it: `await read(wanted, after=…)`."""

END = T0 + 1_000 * HOUR


@pytest.fixture(scope="module", params=["memory", *KINDS])
def url(request: pytest.FixtureRequest) -> str:
    """URL of a database; "" for the twin in memory."""
    return "" if request.param == "memory" else make_database(shared_stores(request.param))


@pytest.fixture
async def fill(url: str) -> AsyncIterator[Fill]:
    if not url:
        yield _fill_memory
        return
    await empty(url)
    config = PostgresConfig(acquire_timeout_ms=60_000)
    async with Postgres(config, url=url, name="test", clock=SystemClock()) as postgres:
        yield partial(_fill_postgres, url, ReportStore(postgres))


async def _fill_postgres(url: str, store: ReportStore, rows: Sequence[UsageRow]) -> Read:
    await add_usage(url, rows)

    async def read(wanted: UsageFilter, *, after: Position | None = None) -> list[UsageRow]:
        found = await store.page(wanted, after=after, limit=100_000)
        if after is None:
            async with store.snapshot(lasts_ms=60_000) as snapshot:
                assert await _joined(snapshot.rows(wanted)) == found
        return found

    return read


async def _fill_memory(rows: Sequence[UsageRow]) -> Read:
    log = MemoryUsageLog()
    log.fill(Coverage("one", 0, END, 0), rows)

    async def read(wanted: UsageFilter, *, after: Position | None = None) -> list[UsageRow]:
        coverage = await log.coverage()
        assert coverage is not None
        return await _joined(log.rows(coverage, wanted, after=after))

    return read


async def _joined(batches: AsyncIterator[Sequence[UsageRow]]) -> list[UsageRow]:
    found = [batch async for batch in batches]
    assert all(1 <= len(batch) <= BATCH_ROWS_MAX for batch in found)
    return [row for batch in found for row in batch]


MIXED = [
    usage(T0 + hour * HOUR, key, transport=transport, method=method, asset=asset, outcome=outcome, count=hour + outcome)
    for hour in range(4)
    for key in (*KEYS, "nobodyskey01")
    for transport, method, asset, outcome in (
        (1, "GetPrice", "BTC", 1),
        (1, "GetPrice", "BTC", 5),
        (1, "GetPrice", "ETH", 2),
        (2, "GetPrice", "BTC", 1),
        (3, "WatchPrices", "", 4),
        (3, "BatchGetPrices", "", 6),
    )
]


async def test_all_rows_come_newest_first_each_once(fill: Fill) -> None:
    read = await fill(MIXED)
    assert await read(UsageFilter()) == newest_first(MIXED)


WANTED = {
    "from an hour": UsageFilter(start=T0 + HOUR),
    "to an hour": UsageFilter(end=T0 + HOUR),
    "one hour": UsageFilter(start=T0 + HOUR, end=T0 + 2 * HOUR),
    "no hour": UsageFilter(start=T0 + 50 * HOUR),
    "associate": UsageFilter(associate="acme"),
    "nobody": UsageFilter(associate="nobody"),
    "key": UsageFilter(key_ids=frozenset({"acmekey00001"})),
    "keys": UsageFilter(key_ids=frozenset({"acmekey00001", "globexkey001", "nobodyskey01"})),
    "another's key": UsageFilter(associate="acme", key_ids=frozenset({"globexkey001"})),
    "asset": UsageFilter(assets=frozenset({"BTC"})),
    "assets": UsageFilter(assets=frozenset({"BTC", "ETH"})),
    "transport": UsageFilter(transports=frozenset({3})),
    "transports": UsageFilter(transports=frozenset({1, 2})),
    "methods": UsageFilter(methods=frozenset({"WatchPrices", "BatchGetPrices"})),
    "outcomes": UsageFilter(outcomes=frozenset({5, 6})),
    "all": UsageFilter(associate="acme", assets=frozenset({"BTC"}), outcomes=frozenset({1}), start=T0 + 2 * HOUR),
}


@pytest.mark.parametrize("wanted", WANTED.values(), ids=WANTED)
async def test_a_filter_lets_through_what_passes_every_part(fill: Fill, wanted: UsageFilter) -> None:
    read = await fill(MIXED)
    assert await read(wanted) == [row for row in newest_first(MIXED) if wanted.takes(row)]


async def test_reading_goes_on_below_any_position(fill: Fill) -> None:
    read = await fill(MIXED)
    expected = newest_first(MIXED)
    for place in range(0, len(expected), 7):
        assert await read(UsageFilter(), after=expected[place].position) == expected[place + 1 :]
    between = Position(T0 + HOUR, "acmekey00001", 9, "", "", 0)
    assert await read(UsageFilter(), after=between) == [row for row in expected if row.position < between]
    wanted = UsageFilter(assets=frozenset({"BTC"}))
    after = expected[10].position
    assert await read(wanted, after=after) == [row for row in expected if wanted.takes(row) and row.position < after]


async def test_more_than_a_batch_of_rows_loses_none(fill: Fill) -> None:
    rows = [usage(T0 + hour * HOUR, method=f"M{number}") for hour in range(3) for number in range(800)]
    read = await fill(rows)
    assert await read(UsageFilter()) == newest_first(rows)


async def test_an_empty_log_has_no_rows(fill: Fill) -> None:
    read = await fill([])
    assert await read(UsageFilter()) == []


async def test_a_copy_that_is_gone_is_told_and_never_taken_for_empty() -> None:
    log = MemoryUsageLog()
    assert await log.coverage() is None
    coverage = Coverage("one", 0, END, 0)
    log.fill(coverage, MIXED)
    log.lose()
    with pytest.raises(TrinityError) as raised:
        [batch async for batch in log.rows(coverage, UsageFilter())]
    assert raised.value.reason is Reason.STORE_UNAVAILABLE


async def test_only_covered_hours_are_read_from_a_copy() -> None:
    log = MemoryUsageLog()
    coverage = Coverage("one", T0 + HOUR, T0 + 3 * HOUR, 0)
    log.fill(coverage, MIXED)
    found = [row async for batch in log.rows(coverage, UsageFilter()) for row in batch]
    assert {row.hour for row in found} == {T0 + HOUR, T0 + 2 * HOUR}
