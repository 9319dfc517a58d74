"""What tests of usage put into a database, and read from it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from trinity_core.usage import HOUR_S
from trinity_storage.postgres import Postgres
from trinity_storage.usage import Count

HOUR = 1_790_000_000 // HOUR_S * HOUR_S
"""The hour in which a VirtualClock begins, unix seconds: 2026-09-21 15:00 UTC."""
FILE = "6ab13b80-0123456789abcdef-0"
OTHER_FILE = "6ab13b80-fedcba9876543210-0"
KEY = "0c7bgy9rbydg"
OTHER_KEY = "1c7bgy9rbydg"


def btc(n: int, *, slot: int = 0, key_id: str = KEY, hour: int = HOUR, outcome: int = 1) -> Count:
    return Count(slot, key_id, hour, 1, "GetPrice", "BTC", outcome, n)


def eth(n: int, *, slot: int = 1, key_id: str = KEY, hour: int = HOUR, outcome: int = 1) -> Count:
    return Count(slot, key_id, hour, 1, "GetPrice", "ETH", outcome, n)


def moment(unix_s: int) -> datetime:
    return datetime.fromtimestamp(unix_s, UTC)


async def logged(postgres: Postgres) -> dict[tuple[str, int, str, int], int]:
    """The view, as n by key id, hour, asset and outcome."""
    rows = await postgres.fetch("SELECT key_id, hour, asset, outcome, n FROM usage_log")
    found = {(row["key_id"], int(row["hour"].timestamp()), row["asset"], row["outcome"]): row["n"] for row in rows}
    assert len(found) == len(rows), "one row a kind"
    return found


async def agrees(postgres: Postgres) -> None:
    """Days are the sums of billed hours, whatever happened."""
    days = await postgres.fetch("SELECT key_id, day, n FROM usage_days ORDER BY key_id, day")
    sums = await postgres.fetch(
        """
        SELECT key_id, (hour AT TIME ZONE 'UTC')::date AS day, sum(n)::bigint AS n
          FROM usage_log WHERE billed GROUP BY 1, 2 ORDER BY 1, 2
        """
    )
    assert [tuple(row) for row in days] == [tuple(row) for row in sums]


async def add_key(postgres: Postgres, key_id: str, *, associate: str = "acme", quota: int = 1_000) -> None:
    """A key, with the associate and the plan that it needs."""
    plan = f"plan-{associate}"
    values: dict[str, tuple[Any, ...]] = {
        "INSERT INTO plans VALUES ($1, '', 1, 1, $2, '{}', '{}', '{}', now(), now(), 1) ON CONFLICT DO NOTHING": (
            plan,
            quota,
        ),
        "INSERT INTO associates VALUES ($1, '', '', $2, false, now(), now(), 1) ON CONFLICT DO NOTHING": (
            associate,
            plan,
        ),
        """INSERT INTO api_keys (key_id, associate, name, digest, scopes, allowed_networks, create_time, version)
           VALUES ($1, $2, 'desk of ' || $1, sha256($1::text::bytea), '{}', '{}', now(), 1)""": (key_id, associate),
    }
    for sql, arguments in values.items():
        await postgres.execute(sql, *arguments)
