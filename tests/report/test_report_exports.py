"""ExportUsage over real gRPC: every form holds what is stored, whatever that is, and tells how much it was."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from core.test_tables import HOSTILE
from report.database import HOUR, KEYS, T0, add_keys, add_usage, connect, empty, make_database, newest_first, usage
from report.small_report import ACME, ADMIN, GLOBEX, Caller, Exported, SmallReport
from report.test_report_lists import BAD, FILTERS, at, refused
from stores import Stores
from trinity_core.errors import Reason
from trinity_core.table_readers import End, read_table
from trinity_core.tables import Form
from trinity_core.usage_log import UsageRow
from trinity_core.usage_table import COLUMNS, cells
from trinity_mesh.clock import SystemClock
from trinity_report.exporting import CHUNK_BYTES_MAX
from trinity_storage.postgres import Postgres, PostgresConfig
from trinity_storage.usage_cache import ValkeyUsageLog
from trinity_storage.usage_source import UsageSource
from trinity_storage.valkey import Valkey, ValkeyConfig
from trinity_sync.syncing import Syncing

STORABLE = [text for text in HOSTILE if "\0" not in text]
"""What PostgreSQL takes; tests/core/test_tables.py writes the others."""
HOSTILE_KEYS = {f"key{number:09d}": ("acme", name) for number, name in enumerate(STORABLE)}

ROWS = [
    *(usage(T0 + number % 5 * HOUR, key, keys=HOSTILE_KEYS) for number, key in enumerate(HOSTILE_KEYS)),
    # No contract lets such names through; a report of them must hold all the same.
    *(usage(T0 + HOUR, text, asset="A", count=2) for text in STORABLE),
    *(usage(T0 + 2 * HOUR, "acmekey00001", method=text, asset="B", count=3) for text in STORABLE),
    *(usage(T0 + 3 * HOUR, "acmekey00001", asset=text, count=2**63 - 1) for text in STORABLE),
    *(usage(T0 + 4 * HOUR, transport=transport, outcome=outcome) for transport in (1, 2, 3) for outcome in range(1, 7)),
    usage(T0 - 400_000 * HOUR),
    usage(T0 + 1_000_000 * HOUR),
]


def table(rows: Sequence[UsageRow], form: Form) -> list[list[str]]:
    return [list(cells(row, form)) for row in newest_first(rows)]


def check(done: Exported, rows: Sequence[UsageRow], form: Form, *, defused: bool = True) -> None:
    """The export holds exactly these rows, and its end says so."""
    defused = defused and form is not Form.JSON
    assert read_table(form, done.data, COLUMNS, defused=defused).rows == table(rows, form)
    assert done.trailing["x-export-rows"] == str(len(rows))
    assert done.trailing["x-export-sha256"] == hashlib.sha256(done.data).hexdigest()
    assert done.initial["x-cells-defused"] == ("formula" if defused else "none")
    assert max(map(len, done.chunks)) <= CHUNK_BYTES_MAX


@pytest.fixture
async def hostile(url: str) -> str:
    """A database with ROWS."""
    await add_keys(url, HOSTILE_KEYS)
    await add_usage(url, ROWS)
    return url


@pytest.fixture
async def from_copy(hostile: str, stores: Stores) -> AsyncIterator[Caller]:
    """An admin at a service whose database is away, and whose copy in Valkey has all of it."""
    clock = SystemClock()
    async with Valkey(ValkeyConfig(timeout_ms=20_000), url=stores.valkey_url, clock=clock) as valkey:
        async with Postgres(
            PostgresConfig(acquire_timeout_ms=20_000), url=hostile, name="test", clock=clock
        ) as postgres:
            source = UsageSource(postgres, lasts_ms=60_000)
            await Syncing(source=source, valkey=valkey, history_days=0, clock=clock).once(full=True)
        nowhere = hostile.replace("port=5432", "port=1")
        copy = ValkeyUsageLog(valkey, step_ms=20_000)
        async with SmallReport(nowhere, copy=copy, acquire_timeout_ms=100).running() as report:
            yield report.caller(ADMIN)


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize("raw", [False, True])
async def test_what_is_read_back_is_what_was_stored(report: SmallReport, hostile: str, form: Form, raw: bool) -> None:
    done = await report.caller(ADMIN).export(format=form.value, raw_cells=raw)
    check(done, ROWS, form, defused=not raw)
    assert done.initial["x-served-from"] == "database"


@pytest.mark.parametrize("form", Form)
async def test_the_copy_gives_the_very_bytes_that_the_database_gives(
    report: SmallReport, from_copy: Caller, form: Form
) -> None:
    done = await from_copy.export(format=form.value)
    check(done, ROWS, form)
    assert done.initial["x-served-from"] == "cache"
    assert done.data == (await report.caller(ADMIN).export(format=form.value)).data


@pytest.mark.parametrize("form", [Form.CSV, Form.TSV, Form.TEXT])
async def test_no_cell_of_a_spreadsheet_begins_like_a_formula(report: SmallReport, hostile: str, form: Form) -> None:
    done = await report.caller(ADMIN).export(format=form.value)
    for row in read_table(form, done.data, COLUMNS, defused=False).rows:
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) for cell in row)


@pytest.fixture(scope="module")
def unbounded(stores: Stores) -> str:
    """A database that takes names of any length."""
    url = make_database(stores)

    async def unbind() -> None:
        connection = await connect(url)
        await connection.execute("ALTER TABLE api_keys DROP CONSTRAINT api_keys_name_check")
        await connection.close()

    with asyncio.Runner() as runner:
        runner.run(unbind())
    return url


MEBIBYTE_NAMES = ("=" * (1 << 20), '"\r\n,\t' * (1 << 18), "\\" * (1 << 20), "\u202e☂" * (1 << 19), "x  " * (1 << 19))


@pytest.mark.parametrize("form", Form)
async def test_cells_of_a_mebibyte_survive(unbounded: str, form: Form) -> None:
    keys = {f"hugekey{number:05d}": ("acme", name) for number, name in enumerate(MEBIBYTE_NAMES)}
    rows = [usage(T0 + number % 2 * HOUR, key, keys=keys) for number, key in enumerate(keys)]
    await empty(unbounded)
    await add_keys(unbounded, keys)
    await add_usage(unbounded, rows)
    async with SmallReport(unbounded).running() as report:
        check(await report.caller(ACME).export(format=form.value), rows, form)


@pytest.mark.parametrize("form", Form)
async def test_an_export_of_nothing_is_a_whole_table(report: SmallReport, form: Form) -> None:
    check(await report.caller(ACME).export(format=form.value), [], form)


@pytest.mark.parametrize("form", Form)
async def test_a_last_record_tells_of_the_export_where_that_is_asked_for(
    report: SmallReport, hostile: str, form: Form
) -> None:
    plain = await report.caller(ADMIN).export(format=form.value)
    done = await report.caller(ADMIN).export(("x-export-end", "line"), format=form.value)
    check(done, ROWS, form)
    end = read_table(form, done.data, COLUMNS, defused=form is not Form.JSON).end
    tail = b"\n]\n" if form is Form.JSON else b""
    before = plain.data.removesuffix(tail)
    assert done.data.startswith(before)
    assert end == End(len(ROWS), hashlib.sha256(before).hexdigest())


@pytest.mark.parametrize("form", Form)
async def test_every_cut_of_a_table_with_a_last_record_is_seen(report: SmallReport, url: str, form: Form) -> None:
    await add_usage(url, [usage(asset=asset) for asset in ("BTC", "ETH")])
    data = (await report.caller(ACME).export(("x-export-end", "line"), format=form.value)).data
    # Without its very last line end a JSON text is still whole.
    for cut in range(len(data) - (form is Form.JSON)):
        try:
            found = read_table(form, data[:cut], COLUMNS, defused=form is not Form.JSON)
        except ValueError:
            continue
        assert found.end is None, cut


@pytest.mark.parametrize(("fields", "passes"), FILTERS.values(), ids=FILTERS)
async def test_filters_let_through_what_they_say(
    report: SmallReport, url: str, fields: dict[str, Any], passes: Any
) -> None:
    rows = [
        usage(T0 + hour * HOUR, key, transport=transport, asset=asset, outcome=outcome)
        for hour in range(3)
        for key in KEYS
        for transport in (1, 2)
        for asset, outcome in (("BTC", 1), ("BTC", 5), ("ETH", 2))
    ]
    await add_usage(url, rows)
    expected = [row for row in rows if row.associate == "acme" and passes(row)]
    check(await report.caller(ACME).export(format=Form.CSV.value, **fields), expected, Form.CSV)


async def test_everybody_exports_his_own_and_an_admin_whom_he_names(report: SmallReport, url: str) -> None:
    rows = [usage(T0 + hour * HOUR, key) for hour in range(3) for key in [*KEYS, "nobodyskey01"]]
    await add_usage(url, rows)
    for principal, name in ((ACME, "acme"), (GLOBEX, "globex")):
        own = [row for row in rows if row.associate == name]
        check(await report.caller(principal).export(format=2), own, Form.CSV)
        check(await report.caller(ADMIN).export(format=2, associate=name), own, Form.CSV)
    check(await report.caller(ADMIN).export(format=2), rows, Form.CSV)
    assert (await refused(report.caller(ACME).export(associate="globex"))).reason is Reason.UNKNOWN_ASSOCIATE
    assert (await refused(report.caller(ACME).export(key_ids=["globexkey001"]))).reason is Reason.UNKNOWN_KEY


NOT_OF_EXPORTS = {"page_size"}


@pytest.mark.parametrize(
    ("fields", "field"),
    [(fields, field) for fields, field in BAD.values() if field not in NOT_OF_EXPORTS]
    + [({"format": 99}, "format"), ({"format": -1}, "format")],
)
async def test_an_export_that_cannot_be_meant_is_refused_by_its_name(
    report: SmallReport, fields: dict[str, Any], field: str
) -> None:
    error = await refused(report.caller(ACME).export(**fields))
    assert error.reason is Reason.INVALID_FIELD
    assert [violation.field for violation in error.violations] == [field]
    assert report.part.exports.open_now == 0


async def test_a_proof_in_unknown_words_is_refused(report: SmallReport) -> None:
    error = await refused(report.caller(ACME).export(("x-export-end", "lines")))
    assert [violation.field for violation in error.violations] == ["x-export-end"]


MEDIA_TYPES = {
    None: "application/json",
    "*/*": "application/json",
    "text/*": "text/csv; charset=utf-8; header=present",
    "text/csv": "text/csv; charset=utf-8; header=present",
    "text/csv;q=0.5, text/tab-separated-values": "text/tab-separated-values; charset=utf-8",
    "text/html, text/plain;q=0.2, */*;q=0.1": "text/plain; charset=utf-8",
    "application/json;q=0, */*": "text/csv; charset=utf-8; header=present",
}


@pytest.mark.parametrize(("accept", "media_type"), MEDIA_TYPES.items())
async def test_the_form_is_what_the_caller_takes_unless_he_says_it(
    report: SmallReport, accept: str | None, media_type: str
) -> None:
    more = [("accept", accept)] if accept is not None else []
    assert (await report.caller(ACME).export(*more)).media_type == media_type
    assert (await report.caller(ACME).export(*more, format=3)).media_type.startswith("text/tab-separated-values")


@pytest.mark.parametrize("accept", ["application/xml", "text/csv;q=0", "*/*;q=0", "text/csv;q=much"])
async def test_a_caller_who_takes_none_of_our_forms_is_told_them(report: SmallReport, accept: str) -> None:
    error = await refused(report.caller(ACME).export(("accept", accept)))
    assert error.reason is Reason.NOT_ACCEPTABLE
    assert "text/csv" in error.message


async def test_the_name_of_the_file_says_what_is_in_it(report: SmallReport) -> None:
    done = await report.caller(ACME).export(format=2, start_time=at(T0), end_time=at(T0 + 31 * 24 * HOUR))
    found = re.fullmatch(r'attachment; filename="(.+)"', done.initial["content-disposition"])
    assert found is not None
    assert found[1] == "usage-acme-20260101T00-20260201T00.csv"
    everything = await report.caller(ADMIN).export(format=4)
    assert everything.initial["content-disposition"] == 'attachment; filename="usage.txt"'
