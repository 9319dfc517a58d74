"""Exports of more than memory should hold: at the reader's pace, so many at once, and never whole when they are cut."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from processes import GENEROUS_S, until
from report.database import HOUR, T0, add_usage, connect, empty, make_database, usage
from report.small_report import ACME, ADMIN, GLOBEX, Caller, Exported, SmallReport
from report.test_report_lists import at, refused
from stores import Stores
from trinity_core.errors import Reason, TrinityError
from trinity_core.tables import Form
from trinity_mesh.channels import open_channel
from trinity_mesh.clock import SystemClock
from trinity_mesh.secrets_file import make_secrets
from trinity_mesh.status import from_rpc_error
from trinity_storage import reports
from trinity_storage.postgres import Postgres, PostgresConfig

BIG = 200_000
"""Rows: many times what every buffer between the database and a reader holds."""
FEW = 4_000
BIG_BYTES_MIN = 16 << 20
BUFFERED_BYTES_MAX = 4 << 20

FILL = f"""
WITH sums AS (
    INSERT INTO usage_sums (hour, key_id, transport, method, asset, outcome, n)
    SELECT timestamptz '2026-01-01 00:00Z' + make_interval(hours => i % {BIG // FEW}),
           'acmekey0000' || 1 + i % 2, 1 + i / 2 % 3, 'GetPrice', 'ASSET' || i / 6, 1 + i % 6, 1 + i
      FROM generate_series(0, {BIG - 1}) i
    RETURNING id
)
INSERT INTO usage_changes (id, seq) SELECT id, nextval('usage_seq') FROM sums
"""


@pytest.fixture(scope="module")
def big(stores: Stores) -> str:
    """A database with BIG rows of acme, FEW an hour."""
    url = make_database(stores)

    async def fill() -> None:
        await empty(url)
        connection = await connect(url)
        await connection.execute(FILL)
        await connection.execute("ANALYZE")
        await connection.close()

    with asyncio.Runner() as runner:
        runner.run(fill())
    return url


@pytest.fixture
async def service(big: str) -> AsyncIterator[SmallReport]:
    async with SmallReport(big, exports_max=3, exports_each_max=2).running() as running:
        yield running


@pytest.fixture
async def postgres(big: str) -> AsyncIterator[Postgres]:
    async with Postgres(
        PostgresConfig(acquire_timeout_ms=20_000), url=big, name="watcher", clock=SystemClock()
    ) as opened:
        yield opened


async def started(caller: Caller, **fields: Any) -> Any:
    """An export whose rows have begun to come, and that nobody reads on."""
    stream = caller.open_export(**fields)
    body = await stream.read()
    while b"GetPrice" not in body.data:
        body = await stream.read()
    return stream


async def rest(stream: Any) -> bytes:
    """What is left of an export; what fails is raised as TrinityError."""
    found = []
    try:
        while (body := await stream.read()) is not grpc.aio.EOF:
            found.append(body.data)
        return b"".join(found)
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error


async def states(postgres: Postgres) -> list[tuple[str, str | None]]:
    """State and wait of the service's sessions that are in a transaction."""
    rows = await postgres.fetch(
        "SELECT state, wait_event FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name = 'report' AND state <> 'idle'"
    )
    return [(row["state"], row["wait_event"]) for row in rows]


async def until_states(postgres: Postgres, *expected: tuple[str, str | None]) -> None:
    async with asyncio.timeout(GENEROUS_S):
        while await states(postgres) != list(expected):  # noqa: ASYNC110 - the server sets no events
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("form", [Form.JSON, Form.CSV, Form.TSV])
async def test_a_reader_who_rests_holds_the_database_back(
    service: SmallReport, postgres: Postgres, form: Form, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = 0

    class Counting(reports.Finisher):
        def take(self, piece: bytes) -> bytes:
            nonlocal taken
            taken += len(piece)
            return super().take(piece)

    monkeypatch.setattr(reports, "Finisher", Counting)
    stream = await started(service.caller(ACME), format=form.value)
    # Every buffer in between is full, and the server itself waits.
    await until_states(postgres, ("active", "ClientWrite"))
    assert taken < BUFFERED_BYTES_MAX
    data = await rest(stream)
    assert taken > BIG_BYTES_MIN
    assert len(data) > BIG_BYTES_MIN
    assert dict(await stream.trailing_metadata())["x-export-rows"] == str(BIG)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell a process's peak memory")
@pytest.mark.parametrize("form", Form)
async def test_memory_does_not_grow_with_the_rows(big: str, form: Form) -> None:
    with tempfile.TemporaryDirectory(prefix="tb-") as directory:
        folder = Path(directory)
        make_secrets(folder / "secrets.json")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "trinity_report",
            str(folder / "ready"),
            env={
                **os.environ,
                "TRINITY_REPORT_LISTEN": f"unix:{folder}/report.sock",
                "TRINITY_REPORT_SECRETS_FILE": str(folder / "secrets.json"),
                "TRINITY_REPORT_POSTGRES_URL": big,
            },
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await until((folder / "ready").exists, "the service is ready")
            async with open_channel(f"unix:{folder}/report.sock") as channel:
                caller = Caller(channel, ())
                few = await sizes(caller, format=form.value, start_time=at(T0 + (BIG // FEW - 5) * HOUR))
                before = peak_bytes(process.pid)
                many = await sizes(caller, format=form.value)
                grown = peak_bytes(process.pid) - before
        finally:
            process.terminate()
            await process.wait()
    assert (few[0], many[0]) == (5 * FEW, BIG)
    assert many[1] > BIG_BYTES_MIN
    assert grown < BUFFERED_BYTES_MAX


async def sizes(caller: Caller, **fields: Any) -> tuple[int, int]:
    """Rows and bytes of an export that is read at once."""
    stream = caller.open_export(**fields)
    size = 0
    async for body in stream:
        size += len(body.data)
    return int(dict(await stream.trailing_metadata())["x-export-rows"]), size


def peak_bytes(pid: int) -> int:
    """The most memory that a process has held."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) << 10


async def test_an_export_shows_the_moment_it_began(service: SmallReport, big: str, postgres: Postgres) -> None:
    stream = await started(service.caller(ACME), format=Form.CSV.value)
    # One row would have come long ago, one were still to come.
    late = [usage(T0 + 9_999 * HOUR), usage(T0 - 9_999 * HOUR)]
    await add_usage(big, late)
    try:
        await rest(stream)
        assert dict(await stream.trailing_metadata())["x-export-rows"] == str(BIG)
        done: Exported = await service.caller(ACME).export(format=Form.CSV.value)
        assert done.trailing["x-export-rows"] == str(BIG + 2)
    finally:
        for row in late:
            await postgres.execute("DELETE FROM usage_sums WHERE hour = to_timestamp($1)", row.hour)


@pytest.mark.parametrize("form", Form)
async def test_an_export_whose_database_goes_away_ends_with_an_error_and_no_end(
    service: SmallReport, postgres: Postgres, form: Form
) -> None:
    stream = service.caller(ACME).open_export(format=form.value)
    first = await stream.read()
    if form is Form.TEXT:
        first = await stream.read()
    await until_states(
        postgres, *[("active", "ClientWrite") if form is not Form.TEXT else ("idle in transaction", "ClientRead")]
    )
    assert await postgres.fetch_value(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name = 'report'"
    )
    with pytest.raises(TrinityError) as raised:
        await rest(stream)
    assert raised.value.reason is Reason.STORE_UNAVAILABLE
    trailing = dict(await stream.trailing_metadata())
    assert "x-export-rows" not in trailing
    assert "x-export-sha256" not in trailing
    assert first.content_type
    await until(lambda: service.part.exports.open_now == 0, "the export has ended")


async def test_a_service_that_stops_cuts_what_it_cannot_finish(big: str) -> None:
    service = SmallReport(big)
    async with open_channel(service.address) as channel:
        async with service.running():
            stream = await started(Caller(channel, service.caller(ACME).metadata), format=Form.CSV.value)
        assert (await refused(rest(stream))).reason is Reason.BACKEND_UNAVAILABLE
        assert "x-export-rows" not in dict(await stream.trailing_metadata())


async def test_so_many_exports_at_once_and_so_many_of_one_associate(service: SmallReport, postgres: Postgres) -> None:
    exports = service.part.exports
    own = [await started(service.caller(ACME), format=Form.CSV.value) for _ in range(2)]
    error = await refused(service.caller(ACME).export())
    assert (error.reason, error.retry_after_ms) == (Reason.TOO_MANY_STREAMS, 5_000)
    # Others are not kept out by it, until there are too many in all.
    third = await started(service.caller(ADMIN), format=Form.TSV.value)
    assert (await refused(service.caller(GLOBEX).export())).reason is Reason.TOO_MANY_STREAMS
    assert exports.open_now == 3
    # Lists and sums go on meanwhile.
    assert (await service.caller(ACME).list(page_size=1)).rows
    own[0].cancel()
    await until(lambda: exports.open_now == 2, "the cancelled export has ended")
    assert (await service.caller(GLOBEX).export()).trailing["x-export-rows"] == "0"
    for stream in (own[1], third):
        stream.cancel()
    await until(lambda: exports.open_now == 0, "all exports have ended")
    await until_states(postgres)


@pytest.mark.parametrize("form", Form)
async def test_a_cancelled_export_gives_its_connection_back(
    service: SmallReport, postgres: Postgres, form: Form
) -> None:
    # More than there are places for exports, and than there are connections.
    for _ in range(10):
        stream = await started(service.caller(ACME), format=form.value)
        assert service.part.exports.open_now == 1
        stream.cancel()
        await until(lambda: service.part.exports.open_now == 0, "the cancelled export has ended")
    await until_states(postgres)
    few = await service.caller(ACME).export(format=form.value, start_time=at(T0 + (BIG // FEW - 1) * HOUR))
    assert few.trailing["x-export-rows"] == str(FEW)


async def test_a_caller_who_vanishes_gives_his_connection_back(service: SmallReport, postgres: Postgres) -> None:
    async with open_channel(service.address) as channel:
        stream = await started(Caller(channel, service.caller(ACME).metadata), format=Form.CSV.value)
        assert service.part.exports.open_now == 1
    await until(lambda: service.part.exports.open_now == 0, "the export of nobody has ended")
    await until_states(postgres)
    del stream


async def test_an_export_that_takes_too_long_is_ended(big: str, postgres: Postgres) -> None:
    async with SmallReport(big, export_ms_max=1_000).running() as service:
        stream = await started(service.caller(ACME), format=Form.CSV.value)
        await until_states(postgres)
        assert (await refused(rest(stream))).reason is Reason.STORE_UNAVAILABLE
        assert "x-export-rows" not in dict(await stream.trailing_metadata())
