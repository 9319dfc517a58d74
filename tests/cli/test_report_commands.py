"""`trinity report` on a real report service, and on services that lie or break."""

from __future__ import annotations

import asyncio
import hashlib
import json
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from google.api import httpbody_pb2

from cli.processes import Done, Shown, Trinity, finish, start
from report.database import HOUR, KEYS, T0, add_usage, empty, make_database, newest_first, usage
from report.small_report import SmallReport
from stores import shared_stores
from trinity.report.v1 import report_pb2, report_service_pb2_grpc
from trinity_cli.main import run
from trinity_core.table_readers import read_table
from trinity_core.tables import Form
from trinity_core.usage_table import COLUMNS, cells
from trinity_mesh.server import MeshServer, Service
from trinity_report.servicer import DESCRIPTOR

ROWS = [
    usage(T0 + hour * HOUR, key, asset=asset, outcome=outcome, count=1 + hour)
    for hour in range(30)
    for key in KEYS
    for asset, outcome in (("BTC", 1), ("ETH", 5))
]


@pytest.fixture(scope="module")
def database() -> str:
    return make_database(shared_stores("wheels"))


@pytest.fixture
async def ready(database: str, tmp_path: Path) -> AsyncIterator[Path]:
    """A ready file that names a service with ROWS."""
    await empty(database)
    await add_usage(database, ROWS)
    async with SmallReport(database).running() as report:
        path = tmp_path / "ready.json"
        path.write_text(json.dumps({"grpc": {"report": report.address}}))
        yield path


@pytest.fixture
def trinity(ready: Path) -> Trinity:
    async def call(*arguments: str) -> Shown:
        done = await finish(await start("report", *arguments, env={"TRINITY_READY_FILE": str(ready)}))
        return Shown(done.code, done.out.decode(), done.err.decode())

    return call


async def document(trinity: Trinity, *arguments: str) -> Any:
    done = await trinity(*arguments, "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    return json.loads(done.stdout)


async def exported(ready: Path, *arguments: str) -> bytes:
    done = await finish(await start("report", *arguments, env={"TRINITY_READY_FILE": str(ready)}))
    assert (done.code, done.err) == (0, b"")
    return done.out


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_usage_is_listed_newest_first_as_far_as_wanted(trinity: Trinity) -> None:
    listed = await document(trinity, "usage")
    assert [(row["keyId"], row["asset"], row["count"]) for row in listed["rows"]] == [
        (row.key_id, row.asset, str(row.count)) for row in newest_first(ROWS)
    ]
    assert listed["servedFrom"] == "SERVED_FROM_DATABASE"
    done = await trinity("usage", "--limit", "2")
    lines = done.stdout.splitlines()
    assert lines[0].split() == [
        "HOUR", "ASSOCIATE", "KEY", "NAME", "TRANSPORT", "METHOD", "ASSET", "OUTCOME", "COUNT", "BILLED",
    ]  # fmt: skip
    assert [line.split()[0] for line in lines[1:]] == ["2026-01-02"] * 2
    assert "globexkey001" in lines[1]
    assert "there are more than 2 rows" in done.stderr


async def test_more_rows_than_a_page_has_come_page_by_page(trinity: Trinity, database: str) -> None:
    many = [usage(T0 - hour * HOUR, count=7) for hour in range(1, 1_501)]
    await add_usage(database, many)
    listed = await document(trinity, "usage", "--limit", "5000")
    assert len(listed["rows"]) == len(many) + len(ROWS)
    some = await trinity("usage", "--limit", "1200", "--end", "2026-01-01", "--json")
    assert len(json.loads(some.stdout)["rows"]) == 1_200
    assert "there are more than 1200 rows" in some.stderr


FILTERS: dict[str, tuple[list[str], Callable[[Any], bool]]] = {
    "a date on": (["--start", "2026-01-02"], lambda row: row.hour >= T0 + 24 * HOUR),
    "before a date": (["--end", "2026-01-02"], lambda row: row.hour < T0 + 24 * HOUR),
    "a time elsewhere": (["--start", "2026-01-01T21:30:00-05:00"], lambda row: row.hour >= T0 + 26 * HOUR),
    "within a second": (["--end", "2026-01-01 05:00:00.5Z"], lambda row: row.hour <= T0 + 5 * HOUR),
    "long ago": (["--end", "1m", "--start", "999w"], lambda row: True),
    "lately": (["--start", "1s"], lambda row: row.hour >= 2**62),
    "assets": (["--asset", "btc", "--asset", "BTC", "--asset", "SOL"], lambda row: row.asset == "BTC"),
    "ways in": (["--transport", "udp", "--transport", "grpc"], lambda row: False),
    "methods": (["--method", "GetPrice"], lambda row: True),
    "outcomes": (["--outcome", "refused"], lambda row: row.outcome == 5),
    "keys": (["--key", "acmekey00002", "--key", "globexkey001"], lambda row: row.key_id != "acmekey00001"),
    "a customer": (["--associate", "acme"], lambda row: row.associate == "acme"),
}


@pytest.mark.parametrize(("options", "passes"), FILTERS.values(), ids=FILTERS)
async def test_options_choose_the_same_rows_for_lists_sums_and_exports(
    trinity: Trinity, ready: Path, options: list[str], passes: Callable[[Any], bool]
) -> None:
    expected = [row for row in newest_first(ROWS) if passes(row)]
    listed, summed, data = await asyncio.gather(
        document(trinity, "usage", *options),
        document(trinity, "summary", *options),
        exported(ready, "export", "--format", "csv", *options),
    )
    assert [(row["keyId"], row["count"]) for row in listed["rows"]] == [
        (row.key_id, str(row.count)) for row in expected
    ]
    assert (summed["billed"], summed["unbilled"]) == (
        str(sum(row.count for row in expected if row.billed)),
        str(sum(row.count for row in expected if not row.billed)),
    )
    assert read_table(Form.CSV, data, COLUMNS, defused=True).rows == [list(cells(row, Form.CSV)) for row in expected]


async def test_sums_are_shown_by_group_the_greatest_first_with_all_at_the_end(trinity: Trinity) -> None:
    each = sum(1 + hour for hour in range(30))
    done = await trinity("summary", "--group-by", "asset", "--group-by", "outcome")
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["ASSET", "OUTCOME", "BILLED", "UNBILLED"],
        ["BTC", "local", str(3 * each), "0"],
        ["ETH", "refused", "0", str(3 * each)],
        ["all", str(3 * each), str(3 * each)],
    ]
    summed = await document(trinity, "summary", "--group-by", "day", "--group-by", "key")
    assert summed["sums"][0]["group"] == ["2026-01-01T00:00:00Z", "acmekey00001"]
    plain = await trinity("summary")
    assert plain.stdout.split() == ["BILLED", "UNBILLED", "all", str(3 * each), str(3 * each)]


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize("raw", [False, True])
async def test_an_export_to_stdout_holds_every_row(ready: Path, form: Form, raw: bool) -> None:
    data = await exported(ready, "usage", "--format", form.name.lower(), *["--raw-cells"] * raw)
    table = read_table(form, data, COLUMNS, defused=not raw and form is not Form.JSON)
    assert table.rows == [list(cells(row, form)) for row in newest_first(ROWS)]
    assert table.end is None
    assert (b"'=cmd|" in data) == (not raw and form is not Form.JSON)


@pytest.mark.parametrize(("name", "form"), [("a.csv", "csv"), ("a.TSV", "tsv"), ("a.txt", "text"), ("a", "json")])
async def test_a_file_is_written_in_the_form_of_its_ending_and_replaced_when_it_is_complete(
    ready: Path, trinity: Trinity, tmp_path: Path, name: str, form: str
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / name).write_text("older")
    told = await document(trinity, "export", "--output", str(folder / name))
    data = (folder / name).read_bytes()
    assert data == await exported(ready, "export", "--format", form)
    assert told == {
        "file": str(folder / name),
        "format": form,
        "rows": len(ROWS),
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "servedFrom": "database",
    }
    assert names(folder) == [name]
    shown = await trinity("usage", "--output", str(folder / name), "--format", form, "--start", "1s")
    assert shown.exit_code == 0
    assert f"{folder / name}: 0 rows, " in shown.stdout


async def test_a_reader_that_has_seen_enough_is_no_error(ready: Path, database: str) -> None:
    await add_usage(database, [usage(T0 - hour * HOUR) for hour in range(1, 20_001)])
    process = await start("report", "export", "--format", "csv", env={"TRINITY_READY_FILE": str(ready)})
    assert process.stdout is not None
    assert process.stderr is not None
    assert (await process.stdout.readline()).startswith(b"hour,associate,")
    process.stdout._transport.close()  # type: ignore[attr-defined]
    async with asyncio.timeout(60):
        assert await process.wait() == 0
    assert await process.stderr.read() == b""


async def test_what_the_service_refuses_is_said_with_its_exit_code(trinity: Trinity, tmp_path: Path) -> None:
    refused = {
        ("usage", "--asset", "BITCOIN"): "BTC",
        ("usage", "--method", "GetPrise"): "did you mean GetPrice",
        ("summary", "--associate", "initech"): "no associate 'initech'",
        ("export", "--key", "neverseen001"): "no key 'neverseen001'",
        ("export", "--associate", "Acme!", "--output", str(tmp_path / "x.csv")): "associate",
    }
    for (arguments, word), done in zip(
        refused.items(), await asyncio.gather(*(trinity(*arguments) for arguments in refused)), strict=True
    ):
        assert (done.exit_code, done.stdout) == (3, ""), arguments
        assert word in done.stderr
    assert names(tmp_path) == ["ready.json"]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("usage", "--start", "yesterday"), "7d"),
        (("usage", "--start", "2026-01-01T00:00:00"), "is no time"),
        (("usage", "--start", "2026-02-30"), "is no time"),
        (("usage", "--start", "7"), "is no time"),
        (("summary", "--start", "2026-01-02", "--end", "2026-01-01"), "--end must be after --start"),
        (("summary", "--start", "1d", "--end", "7d"), "--end must be after --start"),
        (("export", "--start", "1d", "--end", "1d"), "--end must be after --start"),
        (("usage", "--raw-cells"), "--raw-cells"),
        (("usage", "--format", "csv", "--limit", "5"), "--limit"),
        (("usage", "--format", "xml"), "'xml'"),
        (("usage", "--limit", "0"), "--limit"),
        (("usage", "--outcome", "lost"), "'lost'"),
        (("export", "--json"), "--format json"),
        (("export", "--output", "/dev/null"), "is no file"),
        (("export", "--output", "/no/such/folder/a.csv"), "cannot write"),
        (("summary", "--group-by", "colour"), "'colour'"),
    ],
)
def test_wrong_usage_is_said_before_anybody_is_asked(
    arguments: tuple[str, ...], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["report", *arguments, "--address", "unix:/nowhere"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert word in said.err


async def test_a_service_that_is_not_there_is_said_not_to_be(tmp_path: Path) -> None:
    for arguments in (("usage",), ("export", "--output", str(tmp_path / "a.csv"))):
        nowhere = await finish(await start("report", *arguments, "--address", f"unix:{tmp_path}/none.sock"))
        assert (nowhere.code, nowhere.out) == (5, b"")
        assert b"the report service at" in nowhere.err
    assert names(tmp_path) == []


DATA = (
    b"hour,associate,key_id,key_name,transport,method,asset,outcome,count,billed\r\n"
    + b'a,b,c,"\n",e,f,g,h,1,k\r\n' * 3
)
SUM = hashlib.sha256(DATA).hexdigest()


class Broken(report_service_pb2_grpc.ReportServiceServicer):
    """Sends DATA, or as much of it, then ends in its own way; remembers what it was sent."""

    def __init__(self, *trailing: tuple[str, str], sent: int = len(DATA), abort: grpc.StatusCode | None = None) -> None:
        self.trailing = trailing
        self.sent = sent
        self.abort = abort
        self.keys: list[Any] = []

    async def ExportUsage(self, request: Any, context: Any) -> AsyncIterator[httpbody_pb2.HttpBody]:
        self.keys.append(dict(context.invocation_metadata()).get("authorization"))
        # A byte at a time: a quote, or a line end, may be cut anywhere.
        for at in range(self.sent):
            yield httpbody_pb2.HttpBody(content_type="text/csv", data=DATA[at : at + 1])
        if self.abort is not None:
            await context.abort(self.abort, "the lights went out")
        context.set_trailing_metadata(self.trailing)


@asynccontextmanager
async def served(servicer: Broken, address: str = "") -> AsyncIterator[str]:
    def add(server: Any) -> None:
        report_service_pb2_grpc.add_ReportServiceServicer_to_server(servicer, server)

    with tempfile.TemporaryDirectory(prefix="tb-") as folder:
        async with MeshServer(
            address=address or f"unix:{folder}/r.sock", services=[Service(DESCRIPTOR, add)]
        ) as server:
            await server.set_serving(serving=True)
            yield server.address


async def both(servicer: Broken, file: Path) -> tuple[Done, Done]:
    """An export to stdout and one to a file."""
    async with served(servicer) as address:
        to_stdout = await finish(await start("report", "export", "--format", "csv", "--address", address))
        to_file = await finish(await start("report", "export", "--output", str(file), "--address", address))
    return to_stdout, to_file


BREAKS: dict[str, tuple[Broken, int, str]] = {
    "no end": (Broken(), 4, "does not say how many rows"),
    "half an end": (Broken(("x-export-rows", "3")), 4, "does not say how many rows"),
    "a row less": (Broken(("x-export-rows", "4"), ("x-export-sha256", SUM)), 4, "3 rows came, the service says 4"),
    "another sum": (Broken(("x-export-rows", "3"), ("x-export-sha256", "0" * 64)), 4, "SHA-256"),
    "bytes less": (Broken(("x-export-rows", "3"), ("x-export-sha256", SUM), sent=len(DATA) - 1), 4, "2 rows came"),
    "a dead peer": (Broken(sent=90, abort=grpc.StatusCode.UNAVAILABLE), 5, "cut after 90 bytes: the lights went out"),
    "a fault": (Broken(sent=90, abort=grpc.StatusCode.INTERNAL), 1, "cut after 90 bytes"),
}


@pytest.mark.parametrize(("servicer", "code", "word"), BREAKS.values(), ids=BREAKS)
async def test_an_export_that_is_not_whole_fails_loudly_and_leaves_no_file(
    tmp_path: Path, servicer: Broken, code: int, word: str
) -> None:
    (tmp_path / "a.csv").write_text("older")
    to_stdout, to_file = await both(servicer, tmp_path / "a.csv")
    assert (to_stdout.code, to_stdout.out) == (code, DATA[: servicer.sent])
    assert (to_file.code, to_file.out) == (code, b"")
    for done in (to_stdout, to_file):
        assert word in done.err.decode()
        assert b"Traceback" not in done.err
    assert (names(tmp_path), (tmp_path / "a.csv").read_text()) == (["a.csv"], "older")


async def test_rows_are_counted_however_their_bytes_come(tmp_path: Path) -> None:
    to_stdout, to_file = await both(Broken(("x-export-rows", "3"), ("x-export-sha256", SUM)), tmp_path / "a.csv")
    assert (to_stdout.code, to_stdout.out, to_file.code) == (0, DATA, 0)
    assert (tmp_path / "a.csv").read_bytes() == DATA


async def test_a_key_goes_to_who_is_elsewhere_and_never_to_the_meshs_own_socket() -> None:
    servicer = Broken(("x-export-rows", "3"), ("x-export-sha256", SUM))
    for place in ("127.0.0.1:0", ""):
        async with served(servicer, place) as address:
            done = await finish(
                await start("report", "export", "--format", "csv", "--address", address, env={"TRINITY_KEY": "tbk_x"})
            )
            assert done.code == 0
    assert servicer.keys == ["Bearer tbk_x", None]


def test_the_command_and_the_contract_know_the_same_forms_and_groups() -> None:
    from trinity_cli.report_commands import _FORMS, _GROUPS

    assert {f"FORMAT_{name.upper()}" for name in _FORMS} == set(report_pb2.Format.keys()) - {"FORMAT_UNSPECIFIED"}
    assert len(_GROUPS) == len(report_pb2.GroupBy.keys()) - 1
