"""Reports as a customer gets them: over HTTP, in every form, whole or visibly cut, and only one's own."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from bridge_stage import error_of
from raw_http import RawAnswer
from report.database import HOUR, KEYS, T0, add_keys, add_usage, newest_first, usage
from report.report_gateway import ACCEPTS, Gateway, check_proof, report_gateway
from report.small_report import SmallReport
from report.test_report_copy import WatchedLog
from stores import Stores
from trinity_core.table_readers import read_table
from trinity_core.tables import MEDIA_TYPES, Form
from trinity_core.usage_log import HOURS_END, Coverage, UsageRow
from trinity_core.usage_sums import GroupBy
from trinity_core.usage_table import COLUMNS, cells
from trinity_http import reports
from trinity_report import servicer
from trinity_report.tabling import sum_columns

FORMS = pytest.mark.parametrize("form", list(Form), ids=lambda form: form.name.lower())
TABLES = pytest.mark.parametrize("form", [Form.CSV, Form.TSV, Form.TEXT], ids=lambda form: form.name.lower())
ROUTES = ("/reports/usage", "/reports/summary", "/reports/export")

HOSTILE = {
    "formulakey00": "=HYPERLINK(\"http://evil\",\"x\")",
    "formulakey01": "+1",
    "formulakey02": "-1+cmd|' /C calc'!A0",
    "formulakey03": "@SUM(A1)",
    "formulakey04": "\t=1",
    "formulakey05": "\r=1",
    "formulakey06": "\n=1",
    "formulakey07": "'=already defused",
    "formulakey08": "''",
    "quoteskey001": '"',
    "quoteskey002": 'a "quoted", comma',
    "lineskey0001": "two\r\nlines\nand\ra return",
    "tabskey00001": "a\tb\\tc\\",
    "spaceskey001": "  two  spaces  ",
    "hyphenkey001": "-",
    "endmarkkey01": "#end\trows=9",
    "rtlkey000001": "\u202egnp.exe \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627 \u200f",
    "unicodekey01": "\u00e9e\u0301 \U0001f680 \ufeff\u2028\u0085",
    "controlkey01": "\x01\x1b[31mred\x7f",
}  # fmt: skip
"""Names of keys, by key; each can stand in PostgreSQL."""
HOSTILE_KEYS = {key: ("acme", name) for key, name in HOSTILE.items()}
HOSTILE_ROWS = [usage(key_id=key, count=number + 1, keys=HOSTILE_KEYS) for number, key in enumerate(HOSTILE)]

ROWS = [
    usage(T0 + hour * HOUR, key, transport=transport, asset=asset, outcome=outcome, count=10 * hour + outcome)
    for hour in range(5)
    for key in KEYS
    for transport in (1, 2)
    for asset, outcome in (("BTC", 1), ("BTC", 5), ("ETH", 2))
]
ACME_ROWS = [row for row in newest_first(ROWS) if row.associate == "acme"]


def read(form: Form, data: bytes, *, defused: bool | None = None) -> list[list[str]]:
    return read_table(form, data, COLUMNS, defused=form is not Form.JSON if defused is None else defused).rows


def written(rows: Sequence[UsageRow], form: Form) -> list[list[str]]:
    return [list(cells(row, form)) for row in newest_first(rows)]


async def asked(gateway: Gateway, route: str, form: Form, how: str, query: str = "", **headers: str) -> RawAnswer:
    """An answer, its form said in the query or in Accept."""
    if how == "format":
        return await gateway.raw(f"{route}?format={form.name.lower()}&{query}", **headers)
    return await gateway.raw(f"{route}?{query}", accept=ACCEPTS[form], **headers)


async def test_the_gateway_and_the_service_mean_the_same_metadata() -> None:
    assert set(reports.ASKED) == {servicer.ACCEPT_KEY, servicer.END_KEY}
    assert reports.PROVED == (servicer.ROWS_KEY, servicer.SUM_KEY)
    told = {servicer.SOURCE_KEY, servicer.DEFUSED_KEY, servicer.NEXT_KEY, servicer.BILLED_KEY, servicer.UNBILLED_KEY}
    assert set(reports.TOLD) == told | {servicer.TRUNCATED_KEY, "content-disposition"}


@pytest.mark.parametrize("how", ["format", "accept"])
@FORMS
async def test_an_export_comes_in_each_form_and_proves_its_end(
    gateway: Gateway, url: str, form: Form, how: str
) -> None:
    await add_usage(url, ROWS)
    exported = await asked(gateway, "/reports/export", form, how)
    assert (exported.status, exported.headers["content-type"]) == (200, MEDIA_TYPES[form])
    assert read(form, exported.body) == written(ACME_ROWS, form)
    check_proof(exported, len(ACME_ROWS))
    assert exported.headers["x-served-from"] == "database"
    assert exported.headers["x-cells-defused"] == ("none" if form is Form.JSON else "formula")
    suffix = "txt" if form is Form.TEXT else form.name.lower()
    assert exported.headers["content-disposition"] == f'attachment; filename="usage-acme.{suffix}"'


@FORMS
async def test_an_export_tells_of_itself_in_a_last_record_on_request(gateway: Gateway, url: str, form: Form) -> None:
    await add_usage(url, ROWS)
    exported = await asked(gateway, "/reports/export", form, "format", x_export_end="line")
    check_proof(exported, len(ACME_ROWS))
    table = read_table(form, exported.body, COLUMNS, defused=form is not Form.JSON)
    assert table.rows == written(ACME_ROWS, form)
    assert table.end is not None
    before = exported.body[: exported.body.rindex(b',\n{"end"' if form is Form.JSON else b"#end")]
    assert (table.end.rows, table.end.sha256) == (len(ACME_ROWS), hashlib.sha256(before).hexdigest())


@FORMS
async def test_nothing_is_exported_as_a_whole_empty_table(gateway: Gateway, form: Form) -> None:
    exported = await asked(gateway, "/reports/export", form, "format")
    assert read(form, exported.body) == []
    check_proof(exported, 0)


@pytest.mark.parametrize("route", ["/reports/export", "/reports/usage"])
@FORMS
async def test_hostile_cells_read_back_as_they_were_stored(gateway: Gateway, url: str, form: Form, route: str) -> None:
    await add_keys(url, HOSTILE_KEYS)
    await add_usage(url, HOSTILE_ROWS)
    for raw in ("false", "true"):
        answer = await asked(gateway, route, form, "format", f"raw_cells={raw}")
        defused = raw == "false" and form is not Form.JSON
        if route == "/reports/usage" and form is Form.JSON:
            found = parse_rows(answer.body)
        else:
            found = read(form, answer.body, defused=defused)
            assert answer.headers["x-cells-defused"] == ("formula" if defused else "none")
        assert found == written(HOSTILE_ROWS, form)
        if defused:
            names = [row[3] for row in read(form, answer.body, defused=False)]
            assert not [name for name in names if name[:1] in set("=+-@\t\r\n")]


def parse_rows(body: bytes) -> list[list[str]]:
    """The rows of a ListUsageResponse in JSON, as cells."""
    return [
        [value if isinstance(value, str) else str(value).lower() for value in row.values()]
        for row in httpx.Response(200, content=body).json()["rows"]
    ]


@FORMS
async def test_cells_that_no_database_holds_read_back_too(stores: Stores, form: Form) -> None:
    cells_of = ["nul \0 inside", "\0", "m" * (1 << 20), '"\t\\,\r\n' * (1 << 17), "=" * (1 << 20)]
    rows = [
        UsageRow(T0, "acme", f"key{number}", cell, 1, "GetPrice", "BTC", 1, 7) for number, cell in enumerate(cells_of)
    ]
    copy = WatchedLog()
    copy.fill(Coverage("g", 0, HOURS_END, 7), rows)
    nowhere = stores.postgres_url.replace("port=5432", "port=1")
    async with (
        SmallReport(nowhere, copy=copy, acquire_timeout_ms=100).running() as report,
        report_gateway(report.address) as gateway,
    ):
        exported = await asked(gateway, "/reports/export", form, "format")
        assert exported.headers["x-served-from"] == "cache"
        assert read(form, exported.body) == written(rows, form)
        check_proof(exported, len(rows))


@pytest.mark.parametrize("how", ["format", "accept"])
@TABLES
async def test_pages_come_as_tables_and_their_cursor_as_a_header(
    gateway: Gateway, url: str, form: Form, how: str
) -> None:
    await add_usage(url, ROWS)
    found, token, pages = list[list[str]](), "", 0
    while token or not pages:
        page = await asked(gateway, "/reports/usage", form, how, f"page_size=11&page_token={token}")
        assert page.headers["content-type"] == MEDIA_TYPES[form]
        assert page.headers["content-length"] == str(len(page.body))
        assert page.headers["x-served-from"] == "database"
        found += read(form, page.body)
        token, pages = page.headers.get("x-next-page-token", ""), pages + 1
    assert found == written(ACME_ROWS, form)
    assert pages == -(-len(ACME_ROWS) // 11)


async def test_pages_come_as_json_unless_another_form_is_asked_for(gateway: Gateway, url: str) -> None:
    await add_usage(url, ROWS)
    accepts = (
        {},
        {"accept": "*/*"},
        {"accept": "text/html, */*;q=0.8"},
        {"accept": "text/csv;q=0.1, application/json"},
    )
    for headers in accepts:
        response = await gateway.get("/reports/usage?page_size=11", **headers)
        assert response.headers["content-type"] == "application/json"
        body = response.json()
        assert set(body) == {"rows", "nextPageToken", "servedFrom"}
        assert body["servedFrom"] == "SERVED_FROM_DATABASE"
        # A cursor is good for the list, whatever its form.
        rest = await gateway.raw(f"/reports/usage?format=csv&page_size=1000&page_token={body['nextPageToken']}")
        assert parse_rows(response.content) == written(ACME_ROWS[:11], Form.JSON)
        assert read(Form.CSV, rest.body) == written(ACME_ROWS[11:], Form.CSV)
    response = await gateway.get("/reports/usage?format=json", accept="text/csv")
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize("how", ["format", "accept"])
@TABLES
async def test_sums_come_as_tables_and_their_totals_as_headers(
    gateway: Gateway, url: str, form: Form, how: str
) -> None:
    await add_usage(url, ROWS)
    for groups in ([], [GroupBy.OUTCOME, GroupBy.DAY, GroupBy.KEY]):
        query = urlencode([("group_by", each.name.lower()) for each in groups])
        summary = await asked(gateway, "/reports/summary", form, how, query)
        whole = (await gateway.get(f"/reports/summary?{query}")).json()
        columns = sum_columns(groups)
        assert summary.headers["content-type"] == MEDIA_TYPES[form]
        assert read_table(form, summary.body, columns, defused=True).rows == [
            [*each["group"], each["billed"], each["unbilled"]] for each in whole["sums"]
        ]
        assert len(whole["sums"]) == (3 * 2 if groups else 1)
        told = {name: summary.headers[f"x-{name}"] for name in ("total-billed", "total-unbilled", "truncated")}
        assert told == {"total-billed": whole["billed"], "total-unbilled": whole["unbilled"], "truncated": "false"}
        assert summary.headers["x-served-from"] == "database"


FILTERS: dict[str, Any] = {
    "start_time=2026-01-01T01:30:00Z": lambda row: row.hour >= T0 + HOUR,
    "end_time=2026-01-01T01:00:00Z": lambda row: row.hour < T0 + HOUR,
    "assets=ETH&assets=SOL": lambda row: row.asset == "ETH",
    "transports=udp": lambda row: row.transport == 2,
    "methods=WatchPrices": lambda row: False,
    "outcomes=cache&outcomes=failed": lambda row: row.outcome == 2,
    "key_ids=acmekey00002": lambda row: row.key_id == "acmekey00002",
    "associate=acme&assets=BTC&outcomes=OUTCOME_LOCAL": lambda row: (row.asset, row.outcome) == ("BTC", 1),
}


@pytest.mark.parametrize("query", FILTERS)
async def test_filters_are_taken_by_every_route(gateway: Gateway, url: str, query: str) -> None:
    await add_usage(url, ROWS)
    rows = [row for row in ACME_ROWS if FILTERS[query](row)]
    exported = await gateway.raw(f"/reports/export?format=csv&{query}")
    assert read(Form.CSV, exported.body) == written(rows, Form.CSV)
    assert parse_rows((await gateway.raw(f"/reports/usage?{query}")).body) == written(rows, Form.JSON)
    summary = (await gateway.get(f"/reports/summary?{query}")).json()
    billed = sum(row.count for row in rows if row.billed)
    assert (int(summary["billed"]), int(summary["unbilled"])) == (billed, sum(row.count for row in rows) - billed)


async def test_everybody_sees_their_own_rows_and_an_admin_all(gateway: Gateway, url: str) -> None:
    await add_usage(url, ROWS)
    for key, owners in (("acme", {"acme"}), ("globex", {"globex"}), ("admin", {"acme", "globex"})):
        rows = [row for row in ROWS if row.associate in owners]
        exported = await gateway.raw("/reports/export?format=tsv", key)
        assert read(Form.TSV, exported.body) == written(rows, Form.TSV)
        listed = await gateway.raw("/reports/usage?page_size=1000", key)
        assert parse_rows(listed.body) == written(rows, Form.JSON)
        summary = (await gateway.get("/reports/summary", key)).json()
        assert int(summary["billed"]) == sum(row.count for row in rows if row.billed)
    named = await gateway.raw("/reports/export?format=csv&associate=globex", "admin")
    assert {row[1] for row in read(Form.CSV, named.body)} == {"globex"}
    for route in ROUTES:
        for query, reason in (("associate=globex", "UNKNOWN_ASSOCIATE"), ("key_ids=globexkey001", "UNKNOWN_KEY")):
            assert error_of(await gateway.get(f"{route}?{query}")) == (404, reason)
        assert error_of(await gateway.get(route, "prices")) == (403, "MISSING_SCOPE")
        assert error_of(await gateway.get(route, "nobody")) == (401, "INVALID_KEY")
