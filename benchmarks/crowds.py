"""Crowds at one gateway worker: thousands of connections that never finish a request, and many who watch every price.

    python benchmarks/crowds.py

The mesh is `trinity up` as it is; the crowd is a process of its own. Rows:

    alone               90 requests for a price on connections of their own, nobody else there
    2,500 slow          the same while 2,500 connections send a byte of a request now and then
    64 watchers         64 event streams of all prices at 5,000 ticks/s, read as fast as they come
    slow watchers       8 of them take nothing for as long as the run lasts, beside the 64

For the watchers: how often each change was rendered (once, whoever reads), and how the worker's memory grew
while slow readers took nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parent
SLOW = 2_500
GOOD = 90
WATCHERS = 64
DEAF = 8
SECONDS = 8.0
GOAL_MS = 50.0


def main() -> int:
    """Print the table and keep it; 1 when a good request was not answered in time."""
    if len(sys.argv) > 1:
        asyncio.run({"slow": slow, "watch": watch}[sys.argv[1]](json.loads(sys.argv[2])))
        return 0
    rows: list[dict[str, Any]] = []
    facts: dict[str, Any] = {}
    with mesh("300") as found:
        rows.append({"name": "alone", **asyncio.run(good(found))})
        with crowd("slow", found):
            rows.append({"name": f"{SLOW:,} slow", **asyncio.run(good(found))})
    with mesh("5000") as found:
        before = memory(found)
        with crowd("watch", {**found, "deaf": 0}) as told:
            facts["watchers"] = json.loads(told())
        with crowd("watch", {**found, "deaf": DEAF}) as told:
            facts["watchers_beside_deaf_ones"] = json.loads(told())
            facts["worker_mib_before"] = round(before, 1)
            facts["worker_mib_after"] = round(memory(found), 1)
    print(f"{'':<14}{'answered':>10}{'median ms':>12}{'worst ms':>12}")
    for row in rows:
        print(f"{row['name']:<14}{row['answered']:>7}/{GOOD}{row['median_ms']:>12.2f}{row['worst_ms']:>12.2f}")
    for name, value in facts.items():
        print(f"{name}: {value}")
    result = {"rows": rows, **facts, "machine": f"{platform.machine()}, {os.cpu_count()} cores"}
    (HERE / "results" / "crowds.json").write_text(json.dumps(result, indent=2) + "\n")
    return int(rows[1]["answered"] < GOOD or rows[1]["worst_ms"] > GOAL_MS)


@contextlib.contextmanager
def mesh(ticks_per_s: str) -> Iterator[dict[str, Any]]:
    """A mesh with one gateway worker; its ready file's facts."""
    with tempfile.TemporaryDirectory(prefix="trinity-crowds-") as name:
        ready = Path(name) / "ready.json"
        words = [
            sys.executable,
            "-m",
            "trinity_cli.main",
            "up",
            "--data-dir",
            f"{name}/data",
            "--ready-file",
            str(ready),
        ]
        words += [
            "--http-port",
            "0",
            "--report-port",
            "0",
            "--udp-port",
            "0",
            "--udp-report-port",
            "0",
            "--workers",
            "1",
        ]
        environ = {**os.environ, "TRINITY_SANDBOX_TICKS_PER_S": ticks_per_s}
        process = subprocess.Popen(words, env=environ, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 90
            while not ready.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit("crowds: the mesh did not start")
                time.sleep(0.1)
            time.sleep(3)
            yield json.loads(ready.read_text())
        finally:
            process.terminate()
            process.wait(30)


@contextlib.contextmanager
def crowd(kind: str, facts: dict[str, Any]) -> Iterator[Any]:
    """A crowd in a process of its own, once it stands; a function that gives its last line."""
    words = [sys.executable, __file__, kind, json.dumps(facts)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    stands = process.stdout.readline()
    if not stands:
        raise SystemExit(f"crowds: the {kind} crowd fell")
    try:
        yield process.stdout.readline
    finally:
        process.terminate()
        process.wait(30)


async def good(facts: dict[str, Any]) -> dict[str, Any]:
    """Requests one after the other, each on a new connection: how many were answered, and how soon."""
    host, _, port = facts["http"].rpartition(":")
    request = f"GET /price?asset=BTC HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {facts['key']}\r\n\r\n".encode()
    times = []
    for _ in range(GOOD):
        began = time.perf_counter()
        try:
            async with asyncio.timeout(10):
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
            writer.close()
        except (OSError, EOFError, TimeoutError):
            continue
        if head.startswith(b"HTTP/1.1 200"):
            times.append((time.perf_counter() - began) * 1_000)
        await asyncio.sleep(0.02)
    return {"answered": len(times), "median_ms": round(median(times), 2), "worst_ms": round(max(times), 2)}


async def slow(facts: dict[str, Any]) -> None:
    """Connections that send a byte of a head now and then, opened again when they are cut off."""
    host, _, port = facts["http"].rpartition(":")
    head = b"GET /price?asset=BTC HTTP/1.1\r\nx-slow: " + b"a" * 10_000
    standing = 0
    all_stand = asyncio.Event()

    async def one(number: int) -> None:
        nonlocal standing
        first = True
        while True:
            try:
                _, writer = await asyncio.open_connection(host, int(port))
                if first:
                    first = False
                    standing += 1
                    if standing == SLOW:
                        all_stand.set()
                for at in range(len(head)):
                    writer.write(head[at : at + 1])
                    await asyncio.sleep(1 + number % 10 / 10)
            except OSError:
                await asyncio.sleep(0.5)

    async with asyncio.TaskGroup() as group:
        for number in range(SLOW):
            group.create_task(one(number))
        await all_stand.wait()
        print("they stand", flush=True)


async def watch(facts: dict[str, Any]) -> None:
    """Event streams of all prices; the last line tells what came."""
    host, _, port = facts["http"].rpartition(":")
    request = (
        f"GET /v1/prices:watch HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {facts['key']}\r\n"
        "accept: text/event-stream\r\n\r\n"
    ).encode()
    seen = [0] * WATCHERS
    batches = [0] * WATCHERS

    async def one(number: int) -> None:
        reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 22)
        writer.write(request)
        await reader.readuntil(b"\r\n\r\n")
        while line := await reader.readline():
            if line.startswith(b"data: "):
                batches[number] += 1
                seen[number] += line.count(b'{"asset":')

    async def deaf() -> None:
        reader, writer = await asyncio.open_connection(host, int(port), limit=1)
        writer.write(request)
        await asyncio.Event().wait()
        reader.feed_eof()

    async with asyncio.TaskGroup() as group:
        for _ in range(facts["deaf"]):
            group.create_task(deaf())
        for number in range(WATCHERS):
            group.create_task(one(number))
        await asyncio.sleep(2)
        print("they stand", flush=True)
        start, began = list(seen), time.perf_counter()
        cpu = cpu_s(facts)
        await asyncio.sleep(SECONDS)
        took = time.perf_counter() - began
        each = sorted((now - then) / took for now, then in zip(seen, start, strict=True))
        told = {
            "prices_per_s_least": round(each[0]),
            "prices_per_s_median": round(median(each)),
            "prices_per_s_all": round(sum(each)),
            "batches_each": batches[0],
            "worker_cores": round((cpu_s(facts) - cpu) / took, 2),
        }
        print(json.dumps(told), flush=True)
        await asyncio.Event().wait()


def cpu_s(facts: dict[str, Any]) -> float:
    """CPU seconds of the worker so far."""
    words = Path(f"/proc/{facts['pids']['gateway-1']}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def memory(facts: dict[str, Any]) -> float:
    """Resident memory of the worker, MiB."""
    status = Path(f"/proc/{facts['pids']['gateway-1']}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1_024


if __name__ == "__main__":
    sys.exit(main())
