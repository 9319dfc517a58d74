"""The sync of the usage log: a full load and an increment, beside a plain loop of one HSET a row.

    python benchmarks/sync.py [rows]

Real PostgreSQL and Valkey, embedded as in a mesh on one machine. Prints seconds, bytes of
Valkey's memory a row, and writes benchmarks/results/sync.json.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

from trinity_core.usage_log import UsageFilter
from trinity_mesh.clock import SystemClock
from trinity_mesh.socketdir import socket_dir
from trinity_mesh.supervise import Supervisor
from trinity_storage.migrate import migrate
from trinity_storage.postgres import Postgres, PostgresConfig
from trinity_storage.resolve import StorageConfig, resolve_postgres, resolve_valkey
from trinity_storage.usage_cache import ValkeyUsageLog
from trinity_storage.usage_source import UsageSource
from trinity_storage.valkey import Valkey, ValkeyConfig
from trinity_sync.syncing import Kind, Syncing

ROWS = 1_000_000
INCREMENT = 1_000
INCREMENTS = 9
ASSOCIATES, KEYS, HOURS = 20, 100, 30 * 24
LAST_HOUR = "timestamptz '2026-09-21 15:00Z'"
PLAIN_ROWS = 20_000

FILL = f"""
WITH i AS (SELECT i, i % {HOURS} AS h, i / {HOURS} AS r FROM generate_series(0, $1::int - 1) i)
INSERT INTO usage_sums (hour, key_id, transport, method, asset, outcome, n)
SELECT {LAST_HOUR} - make_interval(hours => h), 'key' || lpad((r % {KEYS})::text, 9, '0'), 1 + (r / {KEYS}) % 3,
       CASE WHEN (r / {KEYS}) % 2 = 0 THEN 'GetPrice' ELSE 'BatchGetPrices' END,
       'ASSET' || (r / {KEYS * 6}), 1 + i % 4, 1 + (i::bigint * 7919) % 100000
  FROM i
"""
CHANGE = f"""
WITH picked AS (
    SELECT id FROM usage_sums WHERE hour > {LAST_HOUR} - interval '2 hours' ORDER BY random() LIMIT $1::int
), summed AS (UPDATE usage_sums u SET n = n + 1 FROM picked WHERE u.id = picked.id RETURNING u.id)
UPDATE usage_changes c SET seq = nextval('usage_seq') FROM summed WHERE c.id = summed.id
"""


async def main() -> None:
    """Entry point."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    clock = SystemClock()
    with tempfile.TemporaryDirectory(prefix="trinity-sync-") as directory:
        data = Path(directory, "data")
        os.chmod(directory, 0o711)  # noqa: PTH101 - a moment before anything runs
        common: dict[str, Any] = {
            "config": StorageConfig(valkey=ValkeyConfig(memory_max_mib=64)),
            "data_dir": data,
            "socket_dir": socket_dir(data, environ=os.environ),
            "environ": os.environ,
        }
        stores = [await resolve_postgres(clock=clock, **common), await resolve_valkey(**common)]
        specs = [store.spec for store in stores if store.spec]
        config = PostgresConfig(statement_timeout_ms=600_000)
        async with (
            Supervisor(specs, clock=clock, data_dir=data),
            Postgres(config, url=stores[0].url, name="bench", clock=clock) as postgres,
            Valkey(ValkeyConfig(timeout_ms=10_000), url=stores[1].url, clock=clock) as valkey,
        ):
            await fill(postgres, rows)
            print(json.dumps(found := await measure(postgres, valkey, rows), indent=2))
            write(found)


async def fill(postgres: Postgres, rows: int) -> None:
    """Usage of 100 keys of 20 associates in 30 days."""
    await migrate(postgres)
    await postgres.execute("INSERT INTO plans VALUES ('p', '', 1, 1, 0, '{}', '{}', '{}', now(), now(), 1)")
    await postgres.execute(
        "INSERT INTO associates SELECT 'associate-' || i, '', '', 'p', false, now(), now(), 1 "
        f"FROM generate_series(0, {ASSOCIATES - 1}) i"
    )
    await postgres.execute(
        "INSERT INTO api_keys (key_id, associate, name, digest, scopes, allowed_networks, create_time, version) "
        f"SELECT 'key' || lpad(i::text, 9, '0'), 'associate-' || i % {ASSOCIATES}, 'desk number ' || i, "
        f"sha256(i::text::bytea), '{{}}', '{{}}', now(), 1 FROM generate_series(0, {KEYS - 1}) i"
    )
    await postgres.execute(FILL, rows)
    await postgres.execute("INSERT INTO usage_changes SELECT id, nextval('usage_seq') FROM usage_sums ORDER BY id")
    await postgres.execute("ANALYZE")


async def measure(postgres: Postgres, valkey: Valkey, rows: int) -> dict[str, Any]:
    """Loads, increments, a report's read, and the plain loop."""
    syncing = Syncing(
        source=UsageSource(postgres, lasts_ms=600_000), valkey=valkey, history_days=0, clock=SystemClock()
    )
    before = await used(valkey)
    full = []
    for _ in range(3):
        began = perf_counter()
        done = await syncing.once(full=True)
        full.append(perf_counter() - began)
        assert done.rows == rows
    held = await used(valkey) - before
    increments = []
    for _ in range(INCREMENTS):
        await postgres.execute(CHANGE, INCREMENT)
        began = perf_counter()
        done = await syncing.once()
        increments.append(perf_counter() - began)
        assert (done.kind, done.rows) == (Kind.INCREMENT, INCREMENT)
    log = ValkeyUsageLog(valkey, step_ms=60_000)
    coverage = await log.coverage()
    assert coverage is not None
    began = perf_counter()
    read = sum([len(batch) async for batch in log.rows(coverage, UsageFilter(associate="associate-7"))])
    reading = perf_counter() - began
    plain = await plain_loop(postgres, valkey)
    return {
        "full_load_s": [round(each, 3) for each in full],
        "increment_of_1000_ms": [round(each * 1_000, 1) for each in increments],
        "valkey_bytes_a_row": round(held / rows, 1),
        "valkey_mib": round(held / (1 << 20), 1),
        "rows": rows,
        "read_of_one_associate": {"rows": read, "s": round(reading, 3)},
        "plain_hset_loop_s_for_as_many_rows": round(plain[0] * rows, 1),
        "plain_hset_loop_bytes_a_row": round(plain[1], 1),
    }


async def plain_loop(postgres: Postgres, valkey: Valkey) -> tuple[float, float]:
    """One HSET a row, awaited one by one: seconds and bytes a row, measured on a part of the rows."""
    before = await used(valkey)
    rows = await postgres.fetch(f"SELECT * FROM usage_log LIMIT {PLAIN_ROWS}")
    began = perf_counter()
    for row in rows:
        key = f"plain:{row['key_id']}:{row['hour']}:{row['transport']}:{row['method']}:{row['asset']}:{row['outcome']}"
        words = [str(word) for name, value in row.items() for word in (name, value)]
        await valkey.call("HSET", key, *words)
    took = perf_counter() - began
    return took / len(rows), (await used(valkey) - before) / len(rows)


async def used(valkey: Valkey) -> int:
    """Bytes that the server says it holds, once what was unlinked is freed."""
    await asyncio.sleep(0.5)
    info = (await valkey.call("INFO", "memory")).decode()
    return int(dict(line.split(":", 1) for line in info.splitlines() if ":" in line)["used_memory"])


def write(found: dict[str, Any]) -> None:
    """Keep the figures for docs/performance.md."""
    full, increment = statistics.median(found["full_load_s"]), statistics.median(found["increment_of_1000_ms"])
    plain = found["plain_hset_loop_s_for_as_many_rows"]
    result = {
        "machine": (
            f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        ),
        "rows": [
            {"what": f"full load of {found['rows']} rows, s", "trinity": full, "plain HSET loop": plain, "goal": 16},
            {"what": "increment of 1000 rows, ms", "trinity": increment, "goal": 200},
            {
                "what": "Valkey's memory, bytes a row",
                "trinity": found["valkey_bytes_a_row"],
                "plain HSET loop": found["plain_hset_loop_bytes_a_row"],
            },
        ],
        "ratios": {
            "full load: times as fast as the plain loop": round(plain / full, 1),
            "full load: part of the goal": round(full / 16, 3),
            "increment: part of the goal": round(increment / 200, 3),
            "memory: part of the plain loop's": round(
                found["valkey_bytes_a_row"] / found["plain_hset_loop_bytes_a_row"], 3
            ),
        },
        "all": found,
    }
    Path(__file__).with_name("results").joinpath("sync.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
