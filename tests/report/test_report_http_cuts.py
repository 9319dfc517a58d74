"""Exports that break off never look complete, and those that nobody takes cost nothing."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import httpx
import pytest

from bridge_stage import ROOT
from processes import GENEROUS_S, until
from raw_http import parse_answer
from report.database import HOUR, T0, add_keys, add_usage, connect, usage
from report.report_gateway import Gateway, ready_port, report_gateway
from report.small_report import SmallReport
from report.test_report_copy import WatchedLog
from report.test_report_http import FORMS, read
from stores import Stores
from trinity_core.tables import Form
from trinity_core.usage_log import HOURS_END, Coverage, MemoryUsageLog, Position, UsageFilter, UsageRow

LONG_KEYS = {f"longkey{number:05}": ("acme", f"{number:05}" + "n" * 95) for number in range(30)}
LONG_ROWS = [usage(T0 + hour * HOUR, key, count=hour + 1, keys=LONG_KEYS) for hour in range(1_000) for key in LONG_KEYS]
"""Some 6 MB of export, more than there is room for on the way."""


@pytest.mark.parametrize("end", ["none", "line"])
@FORMS
async def test_an_export_whose_database_breaks_never_looks_complete(
    gateway: Gateway, url: str, form: Form, end: str
) -> None:
    await add_keys(url, LONG_KEYS)
    await add_usage(url, LONG_ROWS)
    reader, writer = await gateway.open(f"/reports/export?format={form.name.lower()}", x_export_end=end)
    head = await reader.readexactly(4_096)
    assert await break_readers(url) == 1
    cut = parse_answer(head + await asyncio.wait_for(reader.read(), GENEROUS_S))
    writer.close()
    assert cut.status == 200
    assert cut.headers["trailer"]
    assert cut.trailers is None
    assert b"x-export-sha256:" not in cut.after
    assert 0 < len(cut.body) < sum(len(row.key_name) for row in LONG_ROWS)
    assert b"sha256=" not in cut.body
    assert b'"sha256"' not in cut.body
    if form is Form.JSON:
        with pytest.raises(ValueError, match="Expecting|Unterminated"):
            read(form, cut.body)


async def break_readers(url: str) -> int:
    """End every other connection to the database that is in a transaction; how many those were."""
    connection = await connect(url)
    try:
        ended: int = await connection.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid() AND xact_start IS NOT NULL AND backend_type = 'client backend'"
        )
        return ended
    finally:
        await connection.close()


@FORMS
async def test_an_export_whose_copy_breaks_never_looks_complete(stores: Stores, form: Form) -> None:
    copy = WatchedLog()
    copy.fill(Coverage("g", 0, HOURS_END, 7), LONG_ROWS)
    copy.fails_after = 5
    nowhere = stores.postgres_url.replace("port=5432", "port=1")
    async with (
        SmallReport(nowhere, copy=copy, acquire_timeout_ms=100).running() as report,
        report_gateway(report.address) as gateway,
    ):
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            await gateway.get(f"/reports/export?format={form.name.lower()}", x_export_end="line")


async def test_a_client_that_goes_away_ends_its_export(gateway: Gateway, report: SmallReport, url: str) -> None:
    await add_keys(url, LONG_KEYS)
    await add_usage(url, LONG_ROWS)
    reader, writer = await gateway.open("/reports/export?format=csv")
    await reader.readexactly(4_096)
    assert report.part.exports.open_now == 1
    writer.close()
    await until(lambda: report.part.exports.open_now == 0, "the export is given up")


MIB = 1 << 20


class CountedLog(MemoryUsageLog):
    """Gives one row at a time, and counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.made = 0

    async def rows(
        self, coverage: Coverage, wanted: UsageFilter, *, after: Position | None = None
    ) -> AsyncIterator[Sequence[UsageRow]]:
        async for batch in super().rows(coverage, wanted, after=after):
            for row in batch:
                self.made += 1
                yield [row]


async def test_a_slow_reader_of_a_great_export_costs_the_gateway_no_memory(stores: Stores, tmp_path: Path) -> None:
    name = "x" * MIB
    rows = [
        UsageRow(T0 + number * HOUR, "acme", "acmekey00001", name, 1, "GetPrice", "BTC", 1, 7) for number in range(128)
    ]
    copy = CountedLog()
    copy.fill(Coverage("g", 0, HOURS_END, 7), rows)
    nowhere = stores.postgres_url.replace("port=5432", "port=1")
    async with SmallReport(nowhere, copy=copy, acquire_timeout_ms=100).running() as report:
        ready = tmp_path / "ready.json"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "report.report_gateway", report.address, str(ready), env=paths(), cwd=ROOT
        )
        try:
            await until(lambda: ready.exists() or process.returncode is not None, "the gateway is up")
            gateway = Gateway("", ready_port(ready))
            assert (await gateway.raw("/reports/export?format=csv&end_time=2026-01-01T03:00:00Z")).trailers
            before = peak_bytes(process.pid)
            copy.made = 0
            reader, writer = await gateway.open("/reports/export?format=csv")
            # Nothing is read until nothing more is made.
            made, still = 0, 0
            while still < 10:
                await asyncio.sleep(0.02)
                still = still + 1 if made and made == copy.made else 0
                made = copy.made
            assert made < 32
            digest, size = hashlib.sha256(), 0
            head = await reader.readuntil(b"\r\n\r\n")
            while (length := int(await reader.readuntil(b"\r\n"), 16)) > 0:
                part = (await reader.readexactly(length + 2))[:-2]
                digest.update(part)
                size += length
            trailers = await asyncio.wait_for(reader.read(), GENEROUS_S)
            writer.close()
            assert b"trailer: x-export-rows, x-export-sha256\r\n" in head
            assert trailers == f"x-export-rows: 128\r\nx-export-sha256: {digest.hexdigest()}\r\n\r\n".encode()
            assert size > 128 * MIB
            assert peak_bytes(process.pid) - before < 8 * MIB
        finally:
            process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(process.wait(), GENEROUS_S)


def paths() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def peak_bytes(pid: int) -> int:
    """The most memory that a process has had."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) << 10
