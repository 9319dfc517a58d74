"""What cannot be meant is refused over HTTP as 400 by its name; a form that there is not as 406."""

from __future__ import annotations

import httpx
import pytest

from bridge_stage import detail, error_of
from report.database import add_usage
from report.report_gateway import ACCEPTS, Gateway
from report.test_report_http import ROUTES, ROWS

INVERTED = "start_time=2026-01-02T00:00:00Z&end_time=2026-01-01T00:00:00Z"
BAD = [
    *((route, INVERTED, "end_time") for route in ROUTES),
    *((route, "format=xml", "format") for route in ROUTES),
    *((route, "format=9", "format") for route in ROUTES),
    *((route, "format=csv&format=tsv", "format") for route in ROUTES),
    *((route, "start_time=yesterday", "start_time") for route in ROUTES),
    *((route, "assets=BTC&assets=BTX", "assets[1]") for route in ROUTES),
    *((route, "transports=pigeon", "transports") for route in ROUTES),
    *((route, "outcomes=won", "outcomes") for route in ROUTES),
    *((route, "methods=GetPrise", "methods[0]") for route in ROUTES),
    *((route, "tier=cache", "tier") for route in ROUTES),
    ("/reports/usage", "page_size=1000000000", "page_size"),
    ("/reports/usage", "page_size=-1", "page_size"),
    ("/reports/usage", "page_size=99999999999999999999", "page_size"),
    ("/reports/usage", "page_token=abc", "page_token"),
    ("/reports/usage", "page_token=%00%0D%0A", "page_token"),
    ("/reports/usage", f"page_token={'a' * 1_025}", "page_token"),
    ("/reports/summary", "group_by=colour", "group_by"),
    ("/reports/summary", "group_by=asset&group_by=asset", "group_by"),
]


@pytest.mark.parametrize(("route", "query", "field"), BAD, ids=[f"{route}?{query[:40]}" for route, query, _ in BAD])
async def test_what_cannot_be_meant_is_refused_by_its_name(
    gateway: Gateway, route: str, query: str, field: str
) -> None:
    response = await gateway.get(f"{route}?{query}")
    assert response.status_code == 400
    assert field in named(response)
    assert error_of(response)[0] == 400


def named(response: httpx.Response) -> set[str]:
    """The fields that an error names."""
    status = response.json()
    fields = {detail(status, "google.rpc.ErrorInfo").get("metadata", {}).get(name) for name in ("field", "parameter")}
    for item in status["details"]:
        fields |= {violation["field"] for violation in item.get("fieldViolations", ())}
    return {field for field in fields if field}


async def test_an_unknown_form_is_told_which_there_are(gateway: Gateway) -> None:
    for route in ROUTES:
        status = (await gateway.get(f"{route}?format=xml")).json()
        assert "json, csv, tsv, text" in status["message"]
        response = await gateway.get(route, accept="image/png, application/xml")
        assert error_of(response) == (406, "NOT_ACCEPTABLE")
        assert all(media_type in response.json()["message"] for media_type in ACCEPTS.values())
    response = await gateway.get("/reports/export", x_export_end="yes")
    assert (response.status_code, named(response)) == (400, {"x-export-end"})


@pytest.mark.parametrize("form", ["json", "csv"])
async def test_a_cursor_of_another_or_for_another_filter_is_refused(gateway: Gateway, url: str, form: str) -> None:
    await add_usage(url, ROWS)
    token = (await gateway.get("/reports/usage?page_size=3")).json()["nextPageToken"]
    changes = ["assets=BTC", "transports=http", "outcomes=local", "key_ids=acmekey00001", INVERTED[:31]]
    refusals = [await gateway.get(f"/reports/usage?page_token={token}&format={form}&{change}") for change in changes]
    refusals += [
        await gateway.get(f"/reports/usage?page_token={token}&format={form}", key) for key in ("globex", "admin")
    ]
    refusals += [await gateway.get(f"/reports/usage?page_token={token[:-4]}AAAA&format={form}")]
    for response in refusals:
        assert error_of(response) == (400, "INVALID_PAGE_TOKEN")
        assert named(response) == {"page_token"}
