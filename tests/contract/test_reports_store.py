"""What only the database does for reports: sums, fast exports, who owns a key, what changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from processes import GENEROUS_S
from report.database import (
    HOUR,
    KEYS,
    T0,
    add_keys,
    add_usage,
    connect,
    empty,
    make_database,
    newest_first,
    usage,
)
from stores import KINDS, shared_stores
from trinity_core.aligned import writer_of
from trinity_core.errors import Reason, TrinityError
from trinity_core.tables import Form
from trinity_core.usage_log import UsageFilter, UsageRow
from trinity_core.usage_sums import GroupBy, Summing
from trinity_core.usage_table import COLUMNS, cells
from trinity_mesh.clock import SystemClock
from trinity_storage.postgres import Postgres, PostgresConfig
from trinity_storage.reports import ReportStore

LONG_MS = int(GENEROUS_S * 1_000)
COPIED = [Form.JSON, Form.CSV, Form.TSV]
HOSTILE = (
    *(
        "=1+1",
        "+1",
        "-1",
        "@x",
        "\t=1",
        "\r\n",
        "\n",
        "'=1",
        "''=1",
        "'",
        "'quoted'",
        '"',
        '""',
        'a"b',
        "a,b",
        ",",
        "a\tb",
    ),
    *(
        "a\nb",
        "a\r\nb",
        "\\",
        "\\n",
        "\\N",
        "\\.",
        "a\\",
        "\\\\,",
        "\b\f\v",
        "\x01\x1f\x7f",
        "\x85\u2028\u00a0",
        "\u202egnp",
    ),
    *(
        "שלום",
        "مرحبا",
        "日本語",
        "👩\u200d👩",
        "\ufeff",
        " lead",
        "trail ",
        "2026-01-01 00:00:00+00",
        "",
        "{}",
        "a/b",
        "€",
    ),
    "2026-01-01 00:00:00+00,\n2026-01-01 00:00:00+00",
    "x" * 100,
)
NAMED = {f"hostile{number:05}": ("acme", name) for number, name in enumerate(HOSTILE)}


@pytest.fixture(scope="module", params=KINDS)
def made(request: pytest.FixtureRequest) -> str:
    return make_database(shared_stores(request.param))


@pytest.fixture
async def url(made: str) -> str:
    await empty(made)
    return made


@pytest.fixture
async def store(url: str) -> AsyncIterator[ReportStore]:
    config = PostgresConfig(acquire_timeout_ms=LONG_MS, pool_size_max=3)
    async with Postgres(config, url=url, name="reports", clock=SystemClock()) as postgres:
        yield ReportStore(postgres)


def by_writer(form: Form, rows: list[UsageRow], *, defuse: bool) -> bytes:
    writer = writer_of(form, COLUMNS, defuse=defuse)
    return writer.head() + writer.rows(cells(row, form) for row in rows) + writer.flush() + writer.tail()


async def by_copy(store: ReportStore, form: Form, wanted: UsageFilter, *, defuse: bool) -> tuple[bytes, int]:
    writer = writer_of(form, COLUMNS, defuse=defuse)
    async with store.snapshot(lasts_ms=LONG_MS) as snapshot:
        pieces = [piece async for piece in snapshot.copy(wanted, form, defuse=defuse)]
        return writer.head() + b"".join(pieces) + writer.tail(), snapshot.copied


@pytest.mark.parametrize("form", COPIED)
@pytest.mark.parametrize("defuse", [True, False])
async def test_a_copy_is_byte_for_byte_what_the_writer_writes_whatever_the_names(
    url: str, store: ReportStore, form: Form, defuse: bool
) -> None:
    await add_keys(url, NAMED)
    rows = [usage(T0 + 7 * number * HOUR, key, outcome=number % 6 + 1, keys=NAMED) for number, key in enumerate(NAMED)]
    rows += [usage(T0, "nobodyskey01", transport=2), usage(T0, "-odd.key_", transport=3)]
    await add_usage(url, rows)
    data, count = await by_copy(store, form, UsageFilter(), defuse=defuse)
    assert data == by_writer(form, newest_first(rows), defuse=defuse)
    assert count == len(rows)


@pytest.mark.parametrize("form", COPIED)
async def test_what_no_gateway_would_count_is_written_right_all_the_same(
    url: str, store: ReportStore, form: Form
) -> None:
    rows = [usage(method=hostile, asset=hostile, count=number + 1) for number, hostile in enumerate(HOSTILE)]
    await add_usage(url, rows)
    data, _ = await by_copy(store, form, UsageFilter(), defuse=True)
    assert data == by_writer(form, newest_first(rows), defuse=True)


@pytest.mark.parametrize("form", COPIED)
async def test_rows_of_few_and_of_many_hours_are_finished_alike(url: str, store: ReportStore, form: Form) -> None:
    rows = [usage(T0 + hour * HOUR) for hour in range(3_000)]
    rows += [usage(T0 + 9_000 * HOUR, method=f"M{number}") for number in range(6_000)]
    await add_usage(url, rows)
    data, count = await by_copy(store, form, UsageFilter(), defuse=True)
    assert data == by_writer(form, newest_first(rows), defuse=True)
    assert count == 9_000


@pytest.mark.parametrize("form", COPIED)
async def test_no_rows_are_a_table_without_rows(store: ReportStore, form: Form) -> None:
    assert await by_copy(store, form, UsageFilter(), defuse=True) == (by_writer(form, [], defuse=True), 0)


async def test_a_copy_has_the_rows_of_its_filter(url: str, store: ReportStore) -> None:
    rows = [usage(T0 + hour * HOUR, key, asset=asset) for hour in range(3) for key in KEYS for asset in ("BTC", "ETH")]
    await add_usage(url, rows)
    wanted = UsageFilter(
        start=T0 + HOUR,
        associate="acme",
        key_ids=frozenset({"acmekey00001", "acmekey00002"}),
        assets=frozenset({"ETH"}),
        transports=frozenset({1, 3}),
    )
    data, count = await by_copy(store, Form.CSV, wanted, defuse=True)
    assert data == by_writer(Form.CSV, [row for row in newest_first(rows) if wanted.takes(row)], defuse=True)
    assert count == 4


async def test_an_export_shows_one_moment_however_long_it_takes(url: str, store: ReportStore) -> None:
    before = [usage(T0 + hour * HOUR, method=f"M{number}") for hour in range(100) for number in range(100)]
    await add_usage(url, before)
    writer = writer_of(Form.CSV, COLUMNS, defuse=True)
    async with store.snapshot(lasts_ms=LONG_MS) as snapshot:
        pieces = []
        async for piece in snapshot.copy(UsageFilter(), Form.CSV, defuse=True):
            if not pieces:
                await add_usage(url, [usage(method="M0", count=99), usage(T0 + 500 * HOUR)])
            pieces.append(piece)
    assert writer.head() + b"".join(pieces) == by_writer(Form.CSV, newest_first(before), defuse=True)


async def test_a_reader_that_leaves_frees_the_database(url: str, store: ReportStore) -> None:
    await add_usage(url, [usage(T0 + hour * HOUR, method=f"M{number}") for hour in range(200) for number in range(100)])

    async def leave(after: int) -> None:
        async with store.snapshot(lasts_ms=LONG_MS) as snapshot:
            async for _ in snapshot.copy(UsageFilter(), Form.JSON, defuse=True):
                after -= 1
                if after < 0:
                    raise RuntimeError("seen enough")

    for after in (0, 1, 3):
        with pytest.raises(RuntimeError, match="seen enough"):
            await leave(after)
    other = await connect(url)
    try:
        async with asyncio.timeout(GENEROUS_S):
            while await other.fetchval(  # noqa: ASYNC110 - the server sets no events
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'reports' AND state <> 'idle'"
            ):
                await asyncio.sleep(0.01)
    finally:
        await other.close()
    assert (await by_copy(store, Form.CSV, UsageFilter(), defuse=True))[1] == 20_000


async def test_an_export_that_lasts_too_long_ends_in_our_words(url: str, store: ReportStore) -> None:
    await add_usage(url, [usage(T0 + hour * HOUR, method=f"M{number}") for hour in range(100) for number in range(200)])
    with pytest.raises(TrinityError) as raised:
        async with store.snapshot(lasts_ms=150) as snapshot:
            async for _ in snapshot.copy(UsageFilter(), Form.JSON, defuse=True):
                await asyncio.sleep(0.2)
    assert raised.value.reason is Reason.STORE_UNAVAILABLE
    assert await store.has_associate("acme")


@pytest.mark.parametrize(
    "group_by",
    [
        [],
        *[[by] for by in GroupBy],
        [GroupBy.KEY, GroupBy.DAY],
        [GroupBy.OUTCOME, GroupBy.TRANSPORT, GroupBy.METHOD, GroupBy.ASSET],
    ],
    ids=lambda group_by: "+".join(by.name for by in group_by) or "nothing",
)
async def test_sums_of_the_database_are_the_sums_of_its_rows(
    url: str, store: ReportStore, group_by: list[GroupBy]
) -> None:
    rows = [
        usage(
            T0 + hour * HOUR, key, transport=1 + hour % 3, asset=asset, outcome=1 + (hour + len(asset)) % 6, count=count
        )
        for hour in (0, 1, 23, 24, 25, 49)
        for key in (*KEYS, "nobodyskey01")
        for asset, count in (("BTC", 2**50), ("", 7), ("1INCH", 7))
    ]
    await add_usage(url, rows)
    for wanted in (UsageFilter(), UsageFilter(associate="acme", start=T0 + HOUR), UsageFilter(associate="nobody")):
        summing = Summing(group_by)
        summing.add(row for row in rows if wanted.takes(row))
        assert await store.sums(wanted, group_by, lasts_ms=LONG_MS) == summing.result()


async def test_sums_beyond_the_limit_are_cut_off_with_right_totals(url: str, store: ReportStore) -> None:
    rows = [usage(method=f"M{number}", count=number + 1, outcome=1 + number % 6) for number in range(50)]
    await add_usage(url, rows)
    found = await store.sums(UsageFilter(), [GroupBy.METHOD], lasts_ms=LONG_MS, limit=10)
    assert [one.group for one in found.sums] == [(f"M{number}",) for number in range(49, 39, -1)]
    assert found.billed + found.unbilled == sum(row.count for row in rows)
    assert found.unbilled == sum(row.count for row in rows if not row.billed)
    assert (found.groups, found.truncated) == (50, True)


async def test_the_earliest_hour_that_changed_since_is_told(url: str, store: ReportStore) -> None:
    await add_usage(url, [usage(T0 + hour * HOUR) for hour in range(5)])
    connection = await connect(url)
    try:
        watermark = await connection.fetchval("SELECT max(seq) FROM usage_log")
    finally:
        await connection.close()
    assert await store.changed_since(watermark) is None
    await add_usage(url, [usage(T0 + 4 * HOUR, count=9), usage(T0 + 2 * HOUR, count=9)])
    assert await store.changed_since(watermark) == T0 + 2 * HOUR
    assert await store.changed_since(watermark + 1) == T0 + 2 * HOUR
    assert await store.changed_since(watermark + 2) is None
    assert await store.changed_since(watermark, rows_max=2) == T0 + 2 * HOUR
    assert await store.changed_since(watermark, rows_max=1) == 0


async def test_who_owns_a_key_and_who_exists(url: str, store: ReportStore) -> None:
    await add_usage(url, [usage(key_id="nobodyskey01")])
    asked = ["acmekey00001", "globexkey001", "nobodyskey01", "neverseen001"]
    assert await store.owners(asked) == {"acmekey00001": "acme", "globexkey001": "globex", "nobodyskey01": ""}
    assert [await store.has_associate(name) for name in ("acme", "initech")] == [True, False]


async def test_each_statement_of_a_page_goes_along_an_index(url: str, store: ReportStore) -> None:
    """A page of a great log costs what a page costs: no sort of everything."""
    await add_usage(url, [usage(T0 + hour * HOUR, method=f"M{number}") for hour in range(300) for number in range(20)])
    connection: Any = await connect(url)
    try:
        await connection.execute("ANALYZE")
        from trinity_storage import report_sql

        for wanted in (UsageFilter(), UsageFilter(key_ids=frozenset({"acmekey00001"})), UsageFilter(start=T0 + HOUR)):
            asked = report_sql.page(wanted, after=usage(T0 + 100 * HOUR).position, limit=101)
            plan = "\n".join(row[0] for row in await connection.fetch("EXPLAIN " + asked.sql, *asked.args))
            assert "Sort" not in plan, plan
    finally:
        await connection.close()
