"""The usage log in PostgreSQL, as the sync reads it: all of it by hours, or what changed after a `seq`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

from trinity_core.errors import Reason, TrinityError
from trinity_core.usage_log import UsageRow
from trinity_storage.postgres import Postgres, Session
from trinity_storage.report_sql import ROW_COLUMNS

SYNC_LOCK: Final = 0x7573_6167_6573  # "usages"


class UsageSource:
    """Opens the log for one sync at a time, in all processes of one database."""

    def __init__(self, postgres: Postgres, *, lasts_ms: int) -> None:
        """`lasts_ms` bounds one sync. `postgres` is open, its tables those of the migrations."""
        self._postgres = postgres
        self._lasts_ms = lasts_ms

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[SourceSnapshot]:
        """The log as it is at one moment. Raises STORE_CONFLICT while another sync runs, else as `Postgres` does."""
        async with self._postgres.transaction(read_only=True, snapshot=True) as session:
            await session.execute(
                f"SET LOCAL statement_timeout = {self._lasts_ms:d}; "
                f"SET LOCAL idle_in_transaction_session_timeout = {self._lasts_ms:d}; SET LOCAL jit = off"
            )
            if not await session.fetch_value("SELECT pg_try_advisory_xact_lock($1)", SYNC_LOCK):
                raise TrinityError(Reason.STORE_CONFLICT, "another sync is running", retry_after_ms=_BUSY_MS)
            yield SourceSnapshot(session, lasts_ms=self._lasts_ms)


class SourceSnapshot:
    """The log at one moment."""

    def __init__(self, session: Session, *, lasts_ms: int) -> None:
        self._session = session
        self._lasts_ms = lasts_ms

    async def identity(self) -> str:
        """Names the database: another one, or this one restored to an earlier time under another timeline, differs."""
        return str(await self._session.fetch_value(_IDENTITY))

    async def watermark(self) -> int:
        """The greatest `seq`; 0 where there is none."""
        return int(await self._session.fetch_value("SELECT coalesce(max(seq), 0) FROM usage_changes"))

    async def about(self) -> int:
        """About how many rows there are, as the server estimates them; for showing progress."""
        return int(await self._session.fetch_value(_ABOUT))

    async def changed(self, watermark: int, *, rows_max: int) -> tuple[list[UsageRow], int]:
        """The first rows with a `seq` above the watermark, and the greatest `seq` of them."""
        found = await self._session.fetch(_CHANGED, watermark, rows_max, timeout_ms=self._lasts_ms)
        return [UsageRow(*row[:-1]) for row in map(tuple, found)], found[-1]["seq"] if found else watermark

    async def rows(self, *, start: int, rows_max: int) -> AsyncIterator[Sequence[UsageRow]]:
        """All rows of hours from `start` (unix seconds), by hour, associate and falling position; constant memory."""
        batches = self._session.batches(
            _ALL, datetime.fromtimestamp(start, UTC), rows_max=rows_max, timeout_ms=self._lasts_ms
        )
        async for batch in batches:
            yield [UsageRow(*row) for row in batch]


_BUSY_MS: Final = 1_000
_IDENTITY: Final = """
SELECT concat_ws('/', s.system_identifier, c.timeline_id, d.oid)
  FROM pg_control_system() s, pg_control_checkpoint() c, pg_database d WHERE d.datname = current_database()
"""
_ABOUT: Final = "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'trinity.usage_sums'::regclass"
_CHANGED: Final = f"""
SELECT {ROW_COLUMNS}, u.seq FROM usage_log u WHERE u.seq > $1 ORDER BY u.seq LIMIT $2
"""  # noqa: S608 - constants
_ALL: Final = f"""
SELECT {ROW_COLUMNS} FROM usage_log u WHERE u.hour >= $1
 ORDER BY u.hour, coalesce(u.associate, ''),
          u.key_id DESC, u.transport DESC, u.method DESC, u.asset DESC, u.outcome DESC
"""  # noqa: S608 - constants
