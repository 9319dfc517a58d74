"""A real database with the mesh's tables, and rows of usage put into it by hand."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import asyncpg

from stores import Stores, make_template
from trinity_core.usage_log import UsageRow

HOUR = 3_600
T0 = 1_767_225_600
"""2026-01-01T00:00:00Z."""

KEYS: Mapping[str, tuple[str, str]] = {
    "acmekey00001": ("acme", "production"),
    "acmekey00002": ("acme", "=cmd|' /C calc'!A0"),
    "globexkey001": ("globex", 'globex\'s "only", key'),
}
"""Keys by id: associate and name."""


def make_database(stores: Stores) -> str:
    """A new database with every migration taken; its URL."""

    with asyncio.Runner() as runner:
        return runner.run(make_template(stores, f"test_{uuid.uuid4().hex}"))


async def empty(url: str) -> None:
    """Take everything out that tests put in, and put KEYS in."""
    connection = await connect(url)
    try:
        await connection.execute("TRUNCATE usage_sums, usage_changes, api_keys RESTART IDENTITY CASCADE")
    finally:
        await connection.close()
    await add_keys(url)


async def connect(url: str) -> asyncpg.Connection[asyncpg.Record]:
    """A plain connection, for what a test does behind the service's back."""
    return await asyncpg.connect(url, server_settings={"search_path": "trinity", "timezone": "UTC"})


async def add_keys(url: str, keys: Mapping[str, tuple[str, str]] = KEYS) -> None:
    """Make associates and keys; `keys` has associate and name by id."""
    connection = await connect(url)
    try:
        await connection.executemany(
            "INSERT INTO associates VALUES ($1, $1, '', 'demo', false, now(), now(), 2) ON CONFLICT DO NOTHING",
            sorted({(associate,) for associate, _ in keys.values()}),
        )
        await connection.executemany(
            "INSERT INTO api_keys (key_id, associate, name, digest, scopes, allowed_networks, create_time, version) "
            "VALUES ($1, $2, $3, $4, '{}', '{}', now(), 2)",
            [(key, owner, name, hashlib.sha256(key.encode()).digest()) for key, (owner, name) in keys.items()],
        )
    finally:
        await connection.close()


async def add_usage(url: str, rows: Sequence[UsageRow]) -> None:
    """Put rows into the log as the usage service does, each with a seq, in their order; owners come from the keys."""
    columns = [[datetime.fromtimestamp(row.hour, UTC) for row in rows]]
    columns += [[row.position[part] for row in rows] for part in range(1, 6)]
    columns += [[row.count for row in rows]]
    connection = await connect(url)
    try:
        await connection.execute(
            """
            WITH sums AS (
                INSERT INTO usage_sums AS u (hour, key_id, transport, method, asset, outcome, n)
                SELECT * FROM unnest($1::timestamptz[], $2::text[], $3::smallint[], $4::text[], $5::text[],
                                     $6::smallint[], $7::bigint[])
                ON CONFLICT (hour, key_id, transport, method, asset, outcome) DO UPDATE SET n = excluded.n
                RETURNING id
            )
            INSERT INTO usage_changes (id, seq) SELECT id, nextval('usage_seq') FROM sums
            ON CONFLICT (id) DO UPDATE SET seq = excluded.seq
            """,
            *columns,
        )
    finally:
        await connection.close()


def usage(
    hour: int = T0,
    key_id: str = "acmekey00001",
    *,
    transport: int = 1,
    method: str = "GetPrice",
    asset: str = "BTC",
    outcome: int = 1,
    count: int = 1,
    keys: Mapping[str, tuple[str, str]] = KEYS,
) -> UsageRow:
    """A row as it is read back once it is in the log."""
    associate, name = keys.get(key_id, ("", ""))
    return UsageRow(hour, associate, key_id, name, transport, method, asset, outcome, count)


def newest_first(rows: Iterable[UsageRow]) -> list[UsageRow]:
    """The order of the log."""
    return sorted(rows, key=lambda row: row.position, reverse=True)
