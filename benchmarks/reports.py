"""An export of a million rows of usage through the report service over gRPC, beside PostgreSQL's own COPY of them.

    python benchmarks/reports.py [rows]

Real PostgreSQL, embedded as in a mesh on one machine; the service is a process of its own, as
in a mesh. Both sides send the same rows in the same order with the same columns as CSV (COPY has times
in its own form, which is the cheaper one) to a reader who only counts bytes, in turns:

    COPY, asyncpg    COPY ... TO STDOUT, read with asyncpg
    COPY, psql       the same, read by psql, which writes it to nowhere; where there is a psql
    export           ExportUsage through the service: rows finished, defused, summed with SHA-256

The faster COPY is what the export is compared with. Peak memory is the service process's
VmHWM, of a new process for each number of rows.
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

import uvloop
from asyncpg.protocol import NO_TIMEOUT

from sync import HOURS, LAST_HOUR, fill
from trinity.report.v1 import report_pb2, report_service_pb2_grpc
from trinity_mesh.channels import open_channel
from trinity_mesh.clock import SystemClock
from trinity_mesh.secrets_file import make_secrets
from trinity_mesh.socketdir import socket_dir
from trinity_mesh.supervise import Supervisor
from trinity_storage.postgres import Postgres, PostgresConfig
from trinity_storage.resolve import StorageConfig, resolve_postgres

ROWS = 1_000_000
TURNS = 7
GOAL = 0.5
FEW_HOURS = HOURS // 10
FORMATS = {"json": report_pb2.FORMAT_JSON, "tsv": report_pb2.FORMAT_TSV, "text": report_pb2.FORMAT_TEXT}

COPIED = """
SELECT hour, associate, key_id, key_name,
       CASE transport WHEN 1 THEN 'http' WHEN 2 THEN 'udp' WHEN 3 THEN 'grpc' END AS transport, method, asset,
       CASE outcome WHEN 1 THEN 'local' WHEN 2 THEN 'cache' WHEN 3 THEN 'live' WHEN 4 THEN 'served'
                    WHEN 5 THEN 'refused' WHEN 6 THEN 'failed' END AS outcome,
       n AS count, CASE WHEN billed THEN 'true' ELSE 'false' END AS billed
  FROM trinity.usage_log u
 ORDER BY u.hour DESC, u.key_id DESC, u.transport DESC, u.method DESC, u.asset DESC, u.outcome DESC
"""


async def main() -> int:
    """Entry point; 1 when a goal was missed."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    clock = SystemClock()
    with tempfile.TemporaryDirectory(prefix="trinity-reports-") as directory:
        data = Path(directory, "data")
        os.chmod(directory, 0o711)  # noqa: PTH101 - a moment before anything runs
        store = await resolve_postgres(
            config=StorageConfig(),
            data_dir=data,
            socket_dir=socket_dir(data, environ=os.environ),
            environ=os.environ,
            clock=clock,
        )
        config = PostgresConfig(statement_timeout_ms=600_000)
        async with (
            Supervisor([store.spec] if store.spec else [], clock=clock, data_dir=data),
            Postgres(config, url=store.url, name="bench", clock=clock) as postgres,
        ):
            await fill(postgres, rows)
            await postgres.execute("VACUUM ANALYZE")
            found = await measure(Path(directory), postgres, store.url, rows)
    print(json.dumps(found, indent=2))
    Path(__file__).with_name("results").joinpath("reports.json").write_text(json.dumps(found, indent=2) + "\n")
    return 0 if found["ratio to the faster COPY"] >= GOAL else 1


async def measure(directory: Path, postgres: Postgres, url: str, rows: int) -> dict[str, Any]:
    """Turns of each side, the other forms, and the peak memory for few and for all rows."""
    last = await postgres.fetch_value(f"SELECT {LAST_HOUR}")
    few = last - timedelta(hours=FEW_HOURS - 1)
    peaks = {}
    async with service(directory, url) as (stub, pid):
        count, size = await export(stub, start=few)
        peaks[count] = peak_mib(pid)
        print(f"{count} rows, {size} bytes: peak {peaks[count]} MiB", flush=True)
    ways: dict[str, list[float]] = {}
    psql = shutil.which("psql")
    async with service(directory, url) as (stub, pid):
        await check(stub, postgres, few)
        for turn in range(TURNS + 1):
            took = {"COPY, asyncpg": await timed(copy(postgres))}
            if psql is not None:
                took["COPY, psql"] = await timed(copy_by_psql(psql, url))
            took["export"] = await timed(export(stub))
            if turn:  # the first of each warms up
                for way, seconds in took.items():
                    ways.setdefault(way, []).append(round(seconds, 3))
            print(turn, took, flush=True)
        count, size = await export(stub)
        assert count == rows
        peaks[count] = peak_mib(pid)
        others = {name: round(await timed(export(stub, form=form)), 2) for name, form in FORMATS.items()}
        peak_of_all = peak_mib(pid)
    medians = {way: statistics.median(each) for way, each in ways.items()}
    fastest = min(seconds for way, seconds in medians.items() if way != "export")
    return {
        "machine": (
            f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        ),
        "rows": [
            {
                "CSV of all rows": way,
                "median s": median,
                "rows/s": round(rows / median),
                "MB/s": round(size / median / 1e6, 1) if way == "export" else "",
                "all s": ", ".join(map(str, ways[way])),
            }
            for way, median in medians.items()
        ],
        "rows exported": rows,
        "bytes of the export": size,
        "ratio to the faster COPY": round(fastest / medians["export"], 3),
        "goal of the ratio": GOAL,
        "peak MiB of the service": {f"{number} rows as CSV": peak for number, peak in peaks.items()}
        | {"other forms after that": peak_of_all},
        "other forms s": others,
    }


@asynccontextmanager
async def service(directory: Path, url: str) -> AsyncIterator[tuple[Any, int]]:
    """A new service process; its stub and pid."""
    make_secrets(directory / "secrets.json")
    ready = directory / "report.ready"
    ready.unlink(missing_ok=True)
    address = f"unix:{directory}/report.sock"
    # Popen, not the loop: it does not fork where grpc lives.
    process = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-m", "trinity_report", str(ready)],
        env={
            **os.environ,
            "TRINITY_REPORT_LISTEN": address,
            "TRINITY_REPORT_SECRETS_FILE": str(directory / "secrets.json"),
            "TRINITY_REPORT_POSTGRES_URL": url,
        },
    )
    try:
        async with asyncio.timeout(30):
            while not ready.exists():  # noqa: ASYNC110 - another process sets no events
                await asyncio.sleep(0.05)
        async with open_channel(address) as channel:
            yield report_service_pb2_grpc.ReportServiceStub(channel), process.pid
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)


async def timed(work: Any) -> float:
    """Seconds that it takes."""
    began = perf_counter()
    await work
    return perf_counter() - began


async def export(stub: Any, *, start: datetime | None = None, form: int = report_pb2.FORMAT_CSV) -> tuple[int, int]:
    """Read an export to its end: rows, as the service tells them, and bytes."""
    request = report_pb2.ExportUsageRequest(format=form)  # type: ignore[arg-type]
    if start is not None:
        request.start_time.FromDatetime(start)
    call = stub.ExportUsage(request)
    size = 0
    async for body in call:
        size += len(body.data)
    return int(dict(await call.trailing_metadata())["x-export-rows"]), size


async def copy(postgres: Postgres) -> int:
    """Read COPY with asyncpg; bytes."""
    size = 0

    async def take(piece: bytes) -> None:
        nonlocal size
        size += len(piece)

    async with postgres.connection() as session:
        await session._connection.copy_from_query(COPIED, output=take, format="csv", header=True, timeout=NO_TIMEOUT)
    return size


async def copy_by_psql(psql: str, url: str) -> None:
    """Read COPY with psql."""
    command = [psql, "-Xq", "-c", f"COPY ({COPIED}) TO STDOUT (FORMAT csv, HEADER)", url]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: ASYNC220
    if await asyncio.to_thread(process.wait):
        raise SystemExit("reports: psql failed")


async def check(stub: Any, postgres: Postgres, start: datetime) -> None:
    """Both sides hold the same cells, and the trailer is right."""
    request = report_pb2.ExportUsageRequest(format=report_pb2.FORMAT_CSV)
    request.start_time.FromDatetime(start)
    call = stub.ExportUsage(request)
    data = b"".join([body.data async for body in call])
    told = dict(await call.trailing_metadata())
    exported = list(csv.reader(io.StringIO(data.decode(), newline="")))
    assert told["x-export-rows"] == str(len(exported) - 1)
    assert told["x-export-sha256"] == hashlib.sha256(data).hexdigest()
    pieces = io.BytesIO()
    where = f"FROM trinity.usage_log u WHERE u.hour >= '{start.isoformat()}'"
    async with postgres.connection() as session:
        await session._connection.copy_from_query(
            COPIED.replace("FROM trinity.usage_log u", where), output=pieces, format="csv", header=True
        )
    copied = list(csv.reader(io.StringIO(pieces.getvalue().decode(), newline="")))
    for record in copied[1:]:
        record[0] = record[0].replace(" ", "T").replace("+00", "Z")
    assert copied == exported


def peak_mib(pid: int) -> float:
    """The most memory that the process has held so far, MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) / 1024, 1)
    raise SystemExit("reports: the system does not tell a process's peak memory")


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.exit(runner.run(main()))
