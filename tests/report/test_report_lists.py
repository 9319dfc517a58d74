"""ListUsage over real gRPC: pages that miss and double nothing, bounds that are named, and nobody else's rows."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from report.database import HOUR, KEYS, T0, add_usage, newest_first, usage
from report.small_report import ACME, ADMIN, GLOBEX, SmallReport
from trinity.report.v1 import report_pb2
from trinity_core.errors import Reason, TrinityError
from trinity_core.usage_log import UsageRow

ROWS = [
    usage(T0 + hour * HOUR, key, transport=transport, asset=asset, outcome=outcome, count=10 * hour + outcome)
    for hour in range(5)
    for key in KEYS
    for transport in (1, 2)
    for asset, outcome in (("BTC", 1), ("BTC", 5), ("ETH", 2))
]


def read(pages: list[report_pb2.ListUsageResponse]) -> list[UsageRow]:
    return [
        UsageRow(
            row.hour.seconds, row.associate, row.key_id, row.key_name, row.transport, row.method, row.asset,
            row.outcome, row.count,
        )
        for page in pages
        for row in page.rows
    ]  # fmt: skip


def at(unix_s: int, nanos: int = 0) -> Timestamp:
    return Timestamp(seconds=unix_s, nanos=nanos)


async def refused(call: Awaitable[Any]) -> TrinityError:
    with pytest.raises(TrinityError) as raised:
        await call
    return raised.value


@pytest.mark.parametrize("size", [1, 7, 36, 1_000])
async def test_pages_of_any_size_hold_every_row_once_newest_first(report: SmallReport, url: str, size: int) -> None:
    await add_usage(url, ROWS)
    acme = [row for row in newest_first(ROWS) if row.associate == "acme"]
    pages = await report.caller(ACME).pages(page_size=size)
    assert read(pages) == acme
    assert [len(page.rows) for page in pages[:-1]] == [size] * (len(pages) - 1)
    assert all(row.billed == (row.outcome <= 4) for page in pages for row in page.rows)
    assert {page.served_from for page in pages} == {report_pb2.SERVED_FROM_DATABASE}


async def test_a_page_has_a_hundred_rows_unless_it_is_told_otherwise(report: SmallReport, url: str) -> None:
    await add_usage(url, [usage(T0 + hour * HOUR) for hour in range(150)])
    assert [len(page.rows) for page in await report.caller(ACME).pages()] == [100, 50]


async def test_rows_that_come_while_one_turns_pages_double_and_hide_nothing(report: SmallReport, url: str) -> None:
    await add_usage(url, ROWS)
    caller = report.caller(ACME)
    first = await caller.list(page_size=10)
    await add_usage(url, [usage(T0 + 9 * HOUR), usage(ROWS[0].hour, asset="AAA", count=1)])
    rest = [await caller.list(page_size=10, page_token=first.next_page_token)]
    while rest[-1].next_page_token:
        rest.append(await caller.list(page_size=10, page_token=rest[-1].next_page_token))
    found = read([first, *rest])
    assert len({row.position for row in found}) == len(found)
    assert {row.position for row in found} >= {row.position for row in ROWS if row.associate == "acme"}


FILTERS: dict[str, tuple[dict[str, Any], Any]] = {
    "assets": ({"assets": ["ETH", "SOL"]}, lambda row: row.asset == "ETH"),
    "transports": ({"transports": [2]}, lambda row: row.transport == 2),
    "methods": ({"methods": ["WatchPrices"]}, lambda row: False),
    "outcomes": ({"outcomes": [5, 6]}, lambda row: row.outcome == 5),
    "keys": ({"key_ids": ["acmekey00002"]}, lambda row: row.key_id == "acmekey00002"),
    "associate": ({"associate": "acme"}, lambda row: True),
    "an hour that holds the start": ({"start_time": at(T0 + HOUR + 1_800)}, lambda row: row.hour >= T0 + HOUR),
    "an hour that holds the end": ({"end_time": at(T0 + HOUR + 1)}, lambda row: row.hour <= T0 + HOUR),
    "an end between hours": ({"end_time": at(T0 + HOUR)}, lambda row: row.hour < T0 + HOUR),
    "a nanosecond later": ({"end_time": at(T0 + HOUR, 1)}, lambda row: row.hour <= T0 + HOUR),
    "before there were computers": ({"start_time": at(-86_400)}, lambda row: True),
    "after them": ({"start_time": at(253_402_300_799)}, lambda row: False),
    "several": (
        {
            "assets": ["BTC"],
            "transports": [1],
            "outcomes": [1],
            "start_time": at(T0 + HOUR),
            "end_time": at(T0 + 2 * HOUR),
        },
        lambda row: (row.asset, row.transport, row.outcome, row.hour) == ("BTC", 1, 1, T0 + HOUR),
    ),
}


@pytest.mark.parametrize(("fields", "passes"), FILTERS.values(), ids=FILTERS)
async def test_filters_let_through_what_they_say(
    report: SmallReport, url: str, fields: dict[str, Any], passes: Any
) -> None:
    await add_usage(url, ROWS)
    expected = [row for row in newest_first(ROWS) if row.associate == "acme" and passes(row)]
    assert read(await report.caller(ACME).pages(page_size=11, **fields)) == expected


async def test_an_admin_sees_everybody_or_whom_he_names(report: SmallReport, url: str) -> None:
    await add_usage(url, [*ROWS, usage(key_id="nobodyskey01")])
    admin = report.caller(ADMIN)
    assert read(await admin.pages(page_size=50)) == newest_first([*ROWS, usage(key_id="nobodyskey01")])
    assert {row.associate for row in read(await admin.pages(associate="globex"))} == {"globex"}
    assert read(await admin.pages(key_ids=["nobodyskey01"])) == [usage(key_id="nobodyskey01")]
    assert {row.key_id for row in read(await admin.pages(key_ids=["globexkey001"]))} == {"globexkey001"}
    assert read(await report.caller(None).pages(page_size=50)) == newest_first([*ROWS, usage(key_id="nobodyskey01")])


async def test_what_is_anothers_is_as_unknown_as_what_does_not_exist(report: SmallReport, url: str) -> None:
    await add_usage(url, ROWS)
    acme = report.caller(ACME)
    errors = [await refused(acme.list(associate=name)) for name in ("globex", "initech")]
    assert [error.reason for error in errors] == [Reason.UNKNOWN_ASSOCIATE] * 2
    assert errors[0].message.replace("globex", "initech") == errors[1].message
    errors = [await refused(acme.list(key_ids=["acmekey00001", key])) for key in ("globexkey001", "neverseen001")]
    assert [error.reason for error in errors] == [Reason.UNKNOWN_KEY] * 2
    assert errors[0].message.replace("globexkey001", "neverseen001") == errors[1].message
    admin = report.caller(ADMIN)
    assert (await refused(admin.list(associate="initech"))).reason is Reason.UNKNOWN_ASSOCIATE
    assert (await refused(admin.list(key_ids=["neverseen001"]))).reason is Reason.UNKNOWN_KEY
    assert (await refused(admin.list(associate="acme", key_ids=["globexkey001"]))).reason is Reason.UNKNOWN_KEY


async def test_a_key_without_the_scope_sees_nothing(report: SmallReport) -> None:
    from trinity_admission.principal import Principal

    caller = report.caller(Principal("acmekey00001", "acme", frozenset({"prices.read"})))
    for call in (caller.list(), caller.sum(), caller.export()):
        error = await refused(call)
        assert (error.reason, error.metadata) == (Reason.MISSING_SCOPE, {"scope": "reports.read"})


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "inverted times": ({"start_time": at(T0 + HOUR), "end_time": at(T0)}, "end_time"),
    "no time in between": ({"start_time": at(T0), "end_time": at(T0)}, "end_time"),
    "a start that is no time": ({"start_time": at(1 << 60)}, "start_time"),
    "an end with a billion nanoseconds": ({"end_time": at(T0, 1_000_000_000)}, "end_time"),
    "an end before the year 1": ({"end_time": at(-62_135_596_801)}, "end_time"),
    "a page of a billion": ({"page_size": 1_000_000_000}, "page_size"),
    "an unknown asset": ({"assets": ["BTC", "BTX"]}, "assets[1]"),
    "no asset id": ({"assets": ["btc; DROP TABLE"]}, "assets[0]"),
    "an asset twice": ({"assets": ["BTC", "BTC"]}, "assets"),
    "an unknown method": ({"methods": ["GetPrise"]}, "methods[0]"),
    "an unknown transport": ({"transports": [9]}, "transports[0]"),
    "no transport": ({"transports": [0]}, "transports[0]"),
    "an unknown outcome": ({"outcomes": [1, 77]}, "outcomes[1]"),
    "no outcome": ({"outcomes": [0]}, "outcomes[0]"),
    "no key id": ({"key_ids": ["a b"]}, "key_ids[0]"),
    "too many keys": ({"key_ids": [f"key{number}" for number in range(101)]}, "key_ids"),
    "no associate id": ({"associate": "Acme!"}, "associate"),
}


@pytest.mark.parametrize(("fields", "field"), BAD.values(), ids=BAD)
async def test_what_cannot_be_meant_is_refused_by_its_name(
    report: SmallReport, fields: dict[str, Any], field: str
) -> None:
    error = await refused(report.caller(ACME).list(**fields))
    assert error.reason is Reason.INVALID_FIELD
    assert [violation.field for violation in error.violations] == [field]


async def test_a_misspelt_name_is_told_its_nearest(report: SmallReport) -> None:
    assert "GetPrice" in (await refused(report.caller(ACME).list(methods=["GetPrise"]))).message
    assert "BTC" in (await refused(report.caller(ACME).list(assets=["BITCOIN"]))).message


OTHER_FILTERS: list[dict[str, Any]] = [
    {"assets": ["BTC"]},
    {"transports": [1]},
    {"outcomes": [1]},
    {"methods": ["GetPrice"]},
    {"key_ids": ["acmekey00001"]},
    {"start_time": at(T0)},
    {"end_time": at(T0 + 99 * HOUR)},
]


async def test_a_token_is_good_for_its_own_filter_and_its_own_caller_only(report: SmallReport, url: str) -> None:
    await add_usage(url, ROWS)
    acme = report.caller(ACME)
    token = (await acme.list(page_size=3)).next_page_token
    for fields in OTHER_FILTERS:
        error = await refused(acme.list(page_token=token, **fields))
        assert (error.reason, error.metadata) == (Reason.INVALID_PAGE_TOKEN, {"field": "page_token"})
    assert (await refused(report.caller(GLOBEX).list(page_token=token))).reason is Reason.INVALID_PAGE_TOKEN
    assert (await refused(report.caller(ADMIN).list(page_token=token))).reason is Reason.INVALID_PAGE_TOKEN
    # The same filter said in other words, and another size, are the same list.
    token = (await acme.list(assets=["BTC", "ETH"], page_size=3)).next_page_token
    assert (await acme.list(assets=["ETH", "BTC"], associate="acme", page_size=5, page_token=token)).rows


@pytest.mark.parametrize("change", ["0", "x", "", "ÿ", " "])
async def test_an_altered_token_is_refused(report: SmallReport, url: str, change: str) -> None:
    await add_usage(url, ROWS)
    token = (await report.caller(ACME).list(page_size=3)).next_page_token
    for place in (0, 20, len(token) - 1):
        altered = token[:place] + change + token[place + 1 :]
        if altered != token:
            error = await refused(report.caller(ACME).list(page_token=altered))
            assert error.reason is Reason.INVALID_PAGE_TOKEN


async def test_a_database_that_is_away_is_told_as_such(stores: Any) -> None:
    nowhere = stores.postgres_url.replace("port=5432", "port=1")
    async with SmallReport(nowhere, acquire_timeout_ms=100).running() as report:
        error = await refused(report.caller(ACME).list())
        assert error.reason is Reason.STORE_UNAVAILABLE
        assert (await refused(report.caller(ACME).sum())).reason is Reason.STORE_UNAVAILABLE
        assert (await refused(report.caller(ACME).export())).reason is Reason.STORE_UNAVAILABLE
