"""Statements on plans, associates and keys that several changes have in common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from trinity_core.account_errors import already_exists, unknown_associate, unknown_key, unknown_plan
from trinity_core.accounts import ApiKey, Associate, Author, OwnedKey, Plan, Room
from trinity_core.errors import Reason, TrinityError
from trinity_storage.account_rows import ASSOCIATE, HELD, KEY, PLAN, associate_of, held_of, key_values, plan_of
from trinity_storage.moments import to_moment
from trinity_storage.postgres import Session

# ruff: noqa: S608 - statements are put together of constants

CHANNEL: Final = "trinity_accounts"
"""NOTIFY channel that hears of every change at its commit."""

PARAMETERS: Final = {count: ", ".join(f"${number}" for number in range(1, count + 1)) for count in (8, 11)}
"""`$1, $2, …`, by how many."""

_LIVE: Final = "k.revoke_time IS NULL AND (k.expire_time IS NULL OR k.expire_time > $2)"

VALID: Final = f"""
 WHERE k.key_id > $1 AND {_LIVE} AND NOT a.suspended
 ORDER BY k.key_id LIMIT $3
"""
"""A page of keys after an id that are valid at a time; follows `RECORD`."""

CHANGED: Final = f"""
SELECT key_id FROM trinity.api_keys WHERE version > $1
UNION
SELECT k.key_id
  FROM trinity.api_keys k JOIN trinity.associates a ON a.associate = k.associate
 WHERE a.version > $1 AND {_LIVE}
"""
"""Ids of keys that changed after a version, and of those live at a time whose associate did."""

OF_PLANS: Final = f"""
 WHERE k.key_id > $1 AND {_LIVE} AND a.plan = ANY($3)
 ORDER BY k.key_id LIMIT $4
"""
"""A page of keys after an id that are live at a time and have one of some plans; follows `RECORD`."""


async def plans_with_versions(session: Session, *, since: int = 0) -> dict[str, tuple[Plan, int]]:
    """Plans that changed after a version, each with its own."""
    rows = await session.fetch(f"SELECT {PLAN}, version FROM trinity.plans WHERE version > $1", since)
    return {row["plan"]: (plan_of(row), row["version"]) for row in rows}


async def count_up(session: Session) -> int:
    """The version of the change under way; who listens hears of it at its commit."""
    return int(
        await session.fetch_value(
            "WITH counted AS (UPDATE trinity.account_version SET version = version + 1 RETURNING version) "
            "SELECT version FROM counted, pg_notify($1, '')",
            CHANNEL,
        )
    )


async def the_plan(session: Session, plan: str) -> Plan:
    """One plan. Raises UNKNOWN_PLAN."""
    row = await session.fetch_row(f"SELECT {PLAN} FROM trinity.plans WHERE plan = $1", plan)
    if row is None:
        raise unknown_plan(plan)
    return plan_of(row)


async def the_associate(session: Session, associate: str) -> Associate:
    """One associate. Raises UNKNOWN_ASSOCIATE."""
    row = await session.fetch_row(f"SELECT {ASSOCIATE} FROM trinity.associates WHERE associate = $1", associate)
    if row is None:
        raise unknown_associate(associate)
    return associate_of(row)


async def room_of(session: Session, associate: str, author: Author) -> Room:
    """What is to be known of an associate to make a key for it. Raises UNKNOWN_ASSOCIATE."""
    found = await the_associate(session, associate)
    live = await session.fetch_value(
        "SELECT count(*) FROM trinity.api_keys "
        "WHERE associate = $1 AND revoke_time IS NULL AND (expire_time IS NULL OR expire_time > $2)",
        associate,
        to_moment(author.at_ns),
    )
    own = await the_key(session, author.key_id) if author.key_id else None
    return Room(found, await the_plan(session, found.plan), int(live), own)


async def find_key(session: Session, key_id: str) -> OwnedKey | None:
    """One key with its plan; None where there is none."""
    row = await session.fetch_row(f"{HELD} WHERE k.key_id = $1", key_id)
    return None if row is None else held_of(row)


async def the_key(session: Session, key_id: str) -> OwnedKey:
    """One key with its plan. Raises UNKNOWN_KEY."""
    found = await find_key(session, key_id)
    if found is None:
        raise unknown_key(key_id)
    return found


async def add_key(session: Session, key: ApiKey, version: int) -> OwnedKey:
    """Insert a key. Raises ALREADY_EXISTS."""
    with unique("key", key.key_id):
        await session.execute(
            f"INSERT INTO trinity.api_keys ({KEY}, version) VALUES ({PARAMETERS[11]})", *key_values(key), version
        )
    return await the_key(session, key.key_id)


@contextmanager
def unique(kind: str, name: str) -> Iterator[None]:
    """Say of which thing the block found that it exists already."""
    try:
        yield
    except TrinityError as error:
        if error.reason is Reason.ALREADY_EXISTS:
            raise already_exists(kind, name) from error
        raise
