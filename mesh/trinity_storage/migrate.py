"""Brings a database's tables to what this code expects: forward only, each step once, whoever else tries too.

A step is `migrations/NNNN_name.sql`. It runs in a transaction of its own together with its row in
`trinity.schema_migrations`, under one advisory lock for the database. A released step is never edited:
its checksum is kept, and a difference is refused, as is a database that is ahead of this code.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Final

from trinity_core.errors import Reason, TrinityError
from trinity_storage.postgres import SCHEMA, Postgres, Session

POSTGRES_VERSION_MIN: Final = 150_000
"""`server_version_num` of PostgreSQL 15.0."""

_LOCK_KEY: Final = 0x7472_696E_6974_79  # "trinity"
_STEP_MS: Final = 600_000
"""One step may take so long, waiting for another process that migrates included."""

_NAME: Final = re.compile(r"(?P<version>\d{4})_[a-z0-9_]+\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One step."""

    version: int
    """1, 2, 3 …"""
    name: str
    """The file's name."""
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, in hexadecimal."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Migrated:
    """What was done."""

    applied: tuple[str, ...]
    """Names of the steps taken now, by this call."""
    version: int
    """Where the database is."""


def known() -> tuple[Migration, ...]:
    """The steps in this package. Raises ValueError when their numbers have a gap or a name is wrong."""
    found = []
    for file in resources.files("trinity_storage").joinpath("migrations").iterdir():
        if not file.name.endswith(".sql"):
            continue
        match = _NAME.fullmatch(file.name)
        if match is None:
            raise ValueError(f"migrations/{file.name} must be called NNNN_name.sql")
        found.append(Migration(int(match["version"]), file.name, file.read_text("utf-8")))
    found.sort(key=lambda step: step.version)
    _check_numbers(found)
    return tuple(found)


async def migrate(
    postgres: Postgres, *, steps: Sequence[Migration] | None = None, on_step: Callable[[str], None] = lambda _: None
) -> Migrated:
    """Take every missing step; `on_step` hears each one's name before it begins.

    Safe to call from many processes at once: one does the work, the others wait and find
    it done. Raises SCHEMA_MISMATCH, having changed nothing, when the server is older than
    PostgreSQL 15, the database is ahead of `steps`, or a step was edited after it was taken.
    """
    steps = known() if steps is None else tuple(steps)
    _check_numbers(steps)
    applied: list[str] = []
    while True:
        async with postgres.transaction() as session:
            await _become_the_only_one(session)
            at = await _check(session, steps)
            if at == len(steps):
                return Migrated(tuple(applied), at)
            step = steps[at]
            on_step(step.name)
            await session.execute(step.sql, timeout_ms=_STEP_MS)
            await session.execute(
                f"INSERT INTO {SCHEMA}.schema_migrations (version, name, checksum) VALUES ($1, $2, $3)",  # noqa: S608 - a constant
                step.version,
                step.name,
                step.checksum,
            )
        applied.append(step.name)


async def check(postgres: Postgres, *, steps: Sequence[Migration] | None = None) -> int:
    """The version of a database that is exactly what this code expects; changes nothing.

    Raises SCHEMA_MISMATCH when steps are missing or it is not what `migrate` would accept.
    """
    steps = known() if steps is None else tuple(steps)
    async with postgres.transaction(read_only=True) as session:
        exists = await session.fetch_value("SELECT to_regclass($1) IS NOT NULL", f"{SCHEMA}.schema_migrations")
        at = await _check(session, steps) if exists else 0
    if at < len(steps):
        raise TrinityError(
            Reason.SCHEMA_MISMATCH,
            f"the database is at version {at} and this code needs {len(steps)}: migrate it",
            {"database": str(at), "code": str(len(steps))},
        )
    return at


async def _become_the_only_one(session: Session) -> None:
    number = int(await session.fetch_value("SHOW server_version_num"))
    if number < POSTGRES_VERSION_MIN:
        raise TrinityError(
            Reason.SCHEMA_MISMATCH, f"the server is PostgreSQL {number // 10_000}; 15 is the least that will do"
        )
    await session.execute(f"SET LOCAL statement_timeout = {_STEP_MS}")
    await session.execute("SELECT pg_advisory_xact_lock($1)", _LOCK_KEY, timeout_ms=_STEP_MS)
    # Under the lock, because IF NOT EXISTS does not keep two sessions from colliding.
    await session.execute(
        f"""
        CREATE SCHEMA IF NOT EXISTS {SCHEMA};
        CREATE TABLE IF NOT EXISTS {SCHEMA}.schema_migrations (
            version    integer     PRIMARY KEY,
            name       text        NOT NULL,
            checksum   text        NOT NULL,
            applied_at timestamptz NOT NULL DEFAULT now()
        )
        """
    )


async def _check(session: Session, steps: Sequence[Migration]) -> int:
    """How many of `steps` the database has taken; refuses one whose past is not theirs."""
    rows = await session.fetch(f"SELECT version, name, checksum FROM {SCHEMA}.schema_migrations ORDER BY version")  # noqa: S608 - a constant
    if len(rows) > len(steps):
        ahead = rows[len(steps)]["name"]
        raise _mismatch(
            f"the database is at version {rows[-1]['version']} ({ahead} is unknown here) and this code knows "
            f"{len(steps)}: run the newer release",
            {"database": str(rows[-1]["version"]), "code": str(len(steps))},
        )
    for row, step in zip(rows, steps, strict=False):
        if row["version"] != step.version or row["checksum"] != step.checksum:
            raise _mismatch(
                f"{step.name} is not the step the database took as {row['name']}: a released step must not be "
                "edited; write a new one",
                {"step": step.name},
            )
    return len(rows)


def _mismatch(message: str, metadata: Mapping[str, str]) -> TrinityError:
    return TrinityError(Reason.SCHEMA_MISMATCH, message, metadata)


def _check_numbers(steps: Sequence[Migration]) -> None:
    numbers = [step.version for step in steps]
    if numbers != list(range(1, len(steps) + 1)):
        raise ValueError(f"migrations must be numbered 1, 2, 3 … without a gap: {numbers}")
