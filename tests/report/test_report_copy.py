"""Reports read the copy as far as it is exact, the database for the rest, and say which."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from report.database import HOUR, T0, add_usage, connect, newest_first, usage
from report.small_report import ACME, ADMIN, SmallReport
from report.test_report_lists import at, read, refused
from trinity.report.v1 import report_pb2
from trinity_core.errors import Reason, TrinityError
from trinity_core.usage_log import HOURS_END, Coverage, MemoryUsageLog, Position, UsageFilter, UsageRow

CACHE, DATABASE = report_pb2.SERVED_FROM_CACHE, report_pb2.SERVED_FROM_DATABASE
DAY, KEY = 7, 5

ROWS = [
    usage(T0 + hour * HOUR, key, asset=asset, outcome=1 + hour % 6, count=1 + hour)
    for hour in range(10)
    for key in ("acmekey00001", "acmekey00002", "globexkey001")
    for asset in ("BTC", "ETH")
]


class WatchedLog(MemoryUsageLog):
    """Remembers which hours it was read for, and fails when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[tuple[int, int]] = []
        self.fails_after: int | None = None

    async def rows(
        self, coverage: Coverage, wanted: UsageFilter, *, after: Position | None = None
    ) -> AsyncIterator[Sequence[UsageRow]]:
        self.reads.append((wanted.start, wanted.end))
        left = self.fails_after
        async for batch in super().rows(coverage, wanted, after=after):
            if left is not None:
                if left == 0:
                    raise TrinityError(Reason.STORE_UNAVAILABLE, "a part of the copy was evicted")
                yield batch[:left]
                raise TrinityError(Reason.STORE_UNAVAILABLE, "a part of the copy was evicted")
            yield batch


class Copied:
    """A service with a copy, and a sync by hand."""

    def __init__(self, report: SmallReport, copy: WatchedLog, url: str) -> None:
        self.report = report
        self.copy = copy
        self._url = url

    async def sync(self, rows: Sequence[UsageRow], *, start: int = 0, end: int = HOURS_END) -> None:
        """Make a copy of these rows, which are all there are now."""
        connection = await connect(self._url)
        try:
            watermark = await connection.fetchval("SELECT coalesce(max(seq), 0) FROM usage_log")
        finally:
            await connection.close()
        self.copy.fill(Coverage(f"g{watermark}", start, end, watermark), rows)


@pytest.fixture
async def copied(url: str) -> AsyncIterator[Copied]:
    copy = WatchedLog()
    async with SmallReport(url, copy=copy).running() as report:
        yield Copied(report, copy, url)


async def test_a_whole_copy_serves_alone(copied: Copied, url: str) -> None:
    await add_usage(url, ROWS)
    await copied.sync(ROWS)
    pages = await copied.report.caller(ADMIN).pages(page_size=7)
    assert read(pages) == newest_first(ROWS)
    assert {page.served_from for page in pages} == {CACHE}
    response = await copied.report.caller(ACME).sum(group_by=[KEY])
    assert response.served_from == CACHE
    assert response.billed + response.unbilled == sum(row.count for row in ROWS if row.associate == "acme")


async def test_without_a_copy_the_database_serves(copied: Copied, url: str) -> None:
    await add_usage(url, ROWS)
    (page,) = await copied.report.caller(ADMIN).pages(page_size=1_000)
    assert (read([page]), page.served_from) == (newest_first(ROWS), DATABASE)
    assert copied.copy.reads == []


async def test_hours_that_changed_since_come_from_the_database_and_older_ones_from_the_copy(
    copied: Copied, url: str
) -> None:
    await add_usage(url, ROWS)
    await copied.sync(ROWS)
    late = [usage(T0 + 7 * HOUR, asset="BTC", count=500), usage(T0 + 12 * HOUR, count=3)]
    await add_usage(url, late)
    now = {row.position: row for row in [*ROWS, *late]}.values()
    pages = await copied.report.caller(ADMIN).pages(page_size=10)
    assert read(pages) == newest_first(now)
    assert [page.served_from for page in pages] == [DATABASE] * 2 + [CACHE] * (len(pages) - 2)
    assert {end for _, end in copied.copy.reads} == {T0 + 7 * HOUR}
    old = await copied.report.caller(ADMIN).list(end_time=at(T0 + 7 * HOUR))
    assert old.served_from == CACHE
    for group_by in ([], [KEY], [DAY, KEY]):
        response = await copied.report.caller(ADMIN).sum(group_by=group_by)
        assert response.billed == sum(row.count for row in now if row.billed)
        assert response.unbilled == sum(row.count for row in now if not row.billed)
        assert response.served_from == DATABASE


async def test_the_next_sync_gives_the_hours_back_to_the_copy(copied: Copied, url: str) -> None:
    await add_usage(url, ROWS)
    await copied.sync(ROWS)
    await add_usage(url, [usage(T0, count=99)])
    assert (await copied.report.caller(ACME).list()).served_from == DATABASE
    now = [*(row for row in ROWS if row.position != usage(T0).position), usage(T0, count=99)]
    await copied.sync(now)
    page = await copied.report.caller(ADMIN).list(page_size=1_000)
    assert (read([page]), page.served_from) == (newest_first(now), CACHE)


async def test_hours_before_and_after_the_copy_come_from_the_database(copied: Copied, url: str) -> None:
    await add_usage(url, ROWS)
    await copied.sync(ROWS, start=T0 + 3 * HOUR, end=T0 + 6 * HOUR)
    caller = copied.report.caller(ADMIN)
    pages = await caller.pages(page_size=7)
    assert read(pages) == newest_first(ROWS)
    inner = await caller.list(start_time=at(T0 + 3 * HOUR), end_time=at(T0 + 6 * HOUR))
    assert inner.served_from == CACHE
    assert (await caller.list(start_time=at(T0 + 2 * HOUR), end_time=at(T0 + 6 * HOUR))).served_from == DATABASE
    assert (await caller.sum()).billed == sum(row.count for row in ROWS if row.billed)


@pytest.mark.parametrize("fails_after", [0, 5])
async def test_a_copy_that_breaks_while_it_is_read_costs_nothing_but_time(
    copied: Copied, url: str, fails_after: int
) -> None:
    await add_usage(url, ROWS)
    await copied.sync(ROWS)
    copied.copy.fails_after = fails_after
    page = await copied.report.caller(ADMIN).list(page_size=1_000)
    assert (read([page]), page.served_from) == (newest_first(ROWS), DATABASE)
    response = await copied.report.caller(ADMIN).sum()
    assert (response.billed, response.served_from) == (sum(row.count for row in ROWS if row.billed), DATABASE)


async def test_nobody_sees_anothers_rows_in_the_copy(copied: Copied, url: str) -> None:
    await add_usage(url, ROWS)
    await copied.sync(ROWS)
    pages = await copied.report.caller(ACME).pages(page_size=7)
    assert {row.associate for row in read(pages)} == {"acme"}
    assert {page.served_from for page in pages} == {CACHE}


async def test_more_groups_than_are_added_up_here_are_left_to_the_database(
    copied: Copied, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trinity_report.reading._GROUPS_MAX", 3)
    await add_usage(url, ROWS)
    await copied.sync(ROWS)
    response = await copied.report.caller(ADMIN).sum(group_by=[6])
    assert (len(response.sums), response.served_from) == (10, DATABASE)


async def test_while_the_database_is_away_the_copy_serves_what_it_has(stores: Any) -> None:
    copy = WatchedLog()
    nowhere = stores.postgres_url.replace("port=5432", "port=1")
    async with SmallReport(nowhere, copy=copy, acquire_timeout_ms=100).running() as report:
        copy.fill(Coverage("g", T0 + HOUR, HOURS_END, 7), ROWS)
        caller = report.caller(ACME)
        page = await caller.list(start_time=at(T0 + HOUR), page_size=1_000)
        expected = [row for row in newest_first(ROWS) if row.associate == "acme" and row.hour > T0]
        assert (read([page]), page.served_from) == (expected, CACHE)
        response = await caller.sum(start_time=at(T0 + HOUR))
        assert (response.billed, response.served_from) == (sum(row.count for row in expected if row.billed), CACHE)
        assert (await refused(caller.list())).reason is Reason.STORE_UNAVAILABLE
        done = await caller.export(start_time=at(T0 + HOUR), format=2)
        assert done.initial["x-served-from"] == "cache"
        assert done.trailing["x-export-rows"] == str(len(expected))
        assert (await refused(caller.export(format=2))).reason is Reason.STORE_UNAVAILABLE
        copy.fails_after = 5
        assert (await refused(caller.export(start_time=at(T0 + HOUR)))).reason is Reason.STORE_UNAVAILABLE
