"""SummarizeUsage over real gRPC: sums by groups, the greatest first, totals that miss nothing."""

from __future__ import annotations

from typing import Any

import pytest

from report.database import HOUR, KEYS, T0, add_usage, usage
from report.small_report import ACME, ADMIN, SmallReport
from report.test_report_lists import at, refused
from trinity.report.v1 import report_pb2
from trinity_core.errors import Reason
from trinity_core.usage_sums import SUMS_MAX

ASSET, TRANSPORT, METHOD, OUTCOME, KEY, BY_HOUR, DAY = range(1, 8)

ROWS = [
    usage(T0 + 23 * HOUR, "acmekey00001", asset="BTC", count=100),
    usage(T0 + 24 * HOUR, "acmekey00001", asset="BTC", outcome=5, count=30),
    usage(T0 + 24 * HOUR, "acmekey00002", asset="ETH", transport=2, count=120),
    usage(T0 + 25 * HOUR, "acmekey00002", asset="", method="WatchPrices", transport=3, outcome=4, count=7),
    usage(T0 + 25 * HOUR, "globexkey001", asset="BTC", count=1_000_000),
]


def told(response: report_pb2.SummarizeUsageResponse) -> list[tuple[list[str], int, int]]:
    return [(list(one.group), one.billed, one.unbilled) for one in response.sums]


async def test_no_grouping_gives_one_sum(report: SmallReport, url: str) -> None:
    await add_usage(url, ROWS)
    response = await report.caller(ACME).sum()
    assert told(response) == [([], 227, 30)]
    assert (response.billed, response.unbilled, response.truncated) == (227, 30, False)
    assert response.served_from == report_pb2.SERVED_FROM_DATABASE


GROUPS: dict[str, tuple[list[int], list[tuple[list[str], int, int]]]] = {
    "asset": ([ASSET], [(["BTC"], 100, 30), (["ETH"], 120, 0), ([""], 7, 0)]),
    "transport": ([TRANSPORT], [(["http"], 100, 30), (["udp"], 120, 0), (["grpc"], 7, 0)]),
    "method": ([METHOD], [(["GetPrice"], 220, 30), (["WatchPrices"], 7, 0)]),
    "outcome": ([OUTCOME], [(["local"], 220, 0), (["refused"], 0, 30), (["served"], 7, 0)]),
    "key": ([KEY], [(["acmekey00001"], 100, 30), (["acmekey00002"], 127, 0)]),
    "hour": (
        [BY_HOUR],
        [(["2026-01-02T00:00:00Z"], 120, 30), (["2026-01-01T23:00:00Z"], 100, 0), (["2026-01-02T01:00:00Z"], 7, 0)],
    ),
    "day": ([DAY], [(["2026-01-02T00:00:00Z"], 127, 30), (["2026-01-01T00:00:00Z"], 100, 0)]),
    "several": (
        [DAY, KEY, ASSET, OUTCOME],
        [
            (["2026-01-02T00:00:00Z", "acmekey00002", "ETH", "local"], 120, 0),
            (["2026-01-01T00:00:00Z", "acmekey00001", "BTC", "local"], 100, 0),
            (["2026-01-02T00:00:00Z", "acmekey00001", "BTC", "refused"], 0, 30),
            (["2026-01-02T00:00:00Z", "acmekey00002", "", "served"], 7, 0),
        ],
    ),
}


@pytest.mark.parametrize(("group_by", "expected"), GROUPS.values(), ids=GROUPS)
async def test_every_grouping_has_its_values_in_order_and_the_greatest_first(
    report: SmallReport, url: str, group_by: list[int], expected: list[tuple[list[str], int, int]]
) -> None:
    await add_usage(url, ROWS)
    response = await report.caller(ACME).sum(group_by=group_by)
    assert told(response) == expected
    assert (response.billed, response.unbilled) == (227, 30)


async def test_a_filter_bounds_what_is_summed(report: SmallReport, url: str) -> None:
    await add_usage(url, ROWS)
    caller = report.caller(ACME)
    assert told(await caller.sum(assets=["BTC"], end_time=at(T0 + 24 * HOUR))) == [([], 100, 0)]
    assert told(await caller.sum(key_ids=["acmekey00002"], group_by=[METHOD])) == [
        (["GetPrice"], 120, 0),
        (["WatchPrices"], 7, 0),
    ]
    assert (await report.caller(ADMIN).sum()).billed == 1_000_227
    assert (await report.caller(ADMIN).sum(associate="globex")).billed == 1_000_000


async def test_nothing_sums_up_to_nothing(report: SmallReport) -> None:
    caller = report.caller(ACME)
    assert told(await caller.sum()) == [([], 0, 0)]
    assert told(await caller.sum(group_by=[ASSET])) == []


async def test_sums_beyond_the_bound_are_cut_off_and_the_totals_still_right(report: SmallReport, url: str) -> None:
    count = SUMS_MAX + 3
    await add_usage(url, [usage(T0 + number * HOUR, count=number + 1) for number in range(count)])
    response = await report.caller(ACME).sum(group_by=[BY_HOUR])
    assert len(response.sums) == SUMS_MAX
    assert response.truncated
    assert response.billed == count * (count + 1) // 2
    assert response.sums[0].billed == count
    assert response.sums[-1].billed == 4


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({"group_by": [0]}, "group_by[0]"),
    "unknown": ({"group_by": [ASSET, 8]}, "group_by[1]"),
    "twice": ({"group_by": [ASSET, ASSET]}, "group_by"),
    "five": ({"group_by": [ASSET, TRANSPORT, METHOD, OUTCOME, KEY]}, "group_by"),
    "inverted times": ({"start_time": at(T0 + HOUR), "end_time": at(T0)}, "end_time"),
}


@pytest.mark.parametrize(("fields", "field"), BAD.values(), ids=BAD)
async def test_what_cannot_be_meant_is_refused_by_its_name(
    report: SmallReport, fields: dict[str, Any], field: str
) -> None:
    error = await refused(report.caller(ACME).sum(**fields))
    assert error.reason is Reason.INVALID_FIELD
    assert [violation.field for violation in error.violations] == [field]


async def test_what_is_anothers_is_unknown(report: SmallReport, url: str) -> None:
    await add_usage(url, ROWS)
    assert (await refused(report.caller(ACME).sum(associate="globex"))).reason is Reason.UNKNOWN_ASSOCIATE
    assert (await refused(report.caller(ACME).sum(key_ids=["globexkey001"]))).reason is Reason.UNKNOWN_KEY
    assert set(KEYS) >= {"globexkey001"}
