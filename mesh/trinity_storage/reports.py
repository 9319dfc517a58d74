"""The usage log in PostgreSQL, the truth, as reports read it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from trinity_core.tables import Form
from trinity_core.usage_log import BATCH_ROWS_MAX, Position, UsageFilter, UsageRow
from trinity_core.usage_sums import SUMS_MAX, GroupBy, Sum, Summing, Sums
from trinity_storage import report_sql
from trinity_storage.copied import DELIMITERS, Finisher
from trinity_storage.postgres import Postgres, Row, Session


class ReportStore:
    """Reads the usage log. Every failure is a TrinityError, as of `Postgres`."""

    def __init__(self, postgres: Postgres) -> None:
        """`postgres` is open as long as this is used; its tables are those of the migrations."""
        self._postgres = postgres

    async def page(self, wanted: UsageFilter, *, after: Position | None, limit: int) -> list[UsageRow]:
        """The first `limit` rows, newest first, that come after a position."""
        async with self._postgres.connection() as session:
            narrowed = await _by_keys(session, wanted)
            if narrowed is None:
                return []
            asked = report_sql.page(narrowed, after=after, limit=limit)
            return [_row(row) for row in await session.fetch(asked.sql, *asked.args)]

    async def sums(
        self, wanted: UsageFilter, group_by: Sequence[GroupBy], *, lasts_ms: int, limit: int = SUMS_MAX
    ) -> Sums:
        """The sums of all rows by groups, the greatest `limit` of them, made within `lasts_ms`."""
        async with self._postgres.transaction(read_only=True) as session:
            narrowed = await _by_keys(session, wanted)
            if narrowed is None:
                return Summing(group_by).result()
            await session.execute(f"SET LOCAL statement_timeout = {lasts_ms:d}")
            asked = report_sql.sums(narrowed, group_by, limit=limit)
            rows = await session.fetch(asked.sql, *asked.args, timeout_ms=lasts_ms + _SLACK_MS)
        if not rows:
            return Sums([], 0, 0, 0)
        place = len(group_by)
        found = [Sum(tuple(row)[:place], int(row[place]), int(row[place + 1])) for row in rows]
        first = rows[0]
        return Sums(found, int(first[place + 2]), int(first[place + 3]), first[place + 4])

    async def changed_since(self, watermark: int, *, rows_max: int = 20_000) -> int | None:
        """The earliest hour of which a row has a `seq` above the watermark, unix seconds; None where there is none.

        Of more than `rows_max` such rows no more are looked at: then it is 0, as any hour may have one.
        """
        row = await self._postgres.fetch_row(report_sql.CHANGED_SINCE, watermark, rows_max + 1)
        assert row is not None
        earliest: int | None = row[0]
        return 0 if row[1] > rows_max else earliest

    async def has_associate(self, associate: str) -> bool:
        """Whether there is such an associate."""
        return bool(await self._postgres.fetch_value(report_sql.ASSOCIATE_EXISTS, associate))

    async def owners(self, key_ids: Sequence[str]) -> Mapping[str, str]:
        """The associates of those keys that exist; empty for a key that only the log knows."""
        return {row[0]: row[1] or "" for row in await self._postgres.fetch(report_sql.OWNERS, list(key_ids))}

    @asynccontextmanager
    async def snapshot(self, *, lasts_ms: int) -> AsyncIterator[Snapshot]:
        """The log as it is now, for at most `lasts_ms`, whatever is written meanwhile. Holds a connection."""
        async with self._postgres.transaction(read_only=True, snapshot=True) as session:
            await session.execute(
                f"SET LOCAL statement_timeout = {lasts_ms:d}; SET LOCAL datestyle = 'ISO'; "
                f"SET LOCAL idle_in_transaction_session_timeout = {lasts_ms:d}; "
                # The server stops even a sort whose reader is gone.
                f"SET LOCAL client_connection_check_interval = {_CHECKED_MS:d}"
            )
            snapshot = Snapshot(session, lasts_ms=lasts_ms)
            try:
                yield snapshot
            finally:
                await snapshot.close()


class Snapshot:
    """The log at one moment. One of its methods may run, once."""

    def __init__(self, session: Session, *, lasts_ms: int) -> None:
        self._session = session
        self._lasts_ms = lasts_ms
        self._filling: asyncio.Task[int] | None = None
        self.copied = 0
        """Rows that `copy` gave, once it has ended."""

    async def rows(self, wanted: UsageFilter) -> AsyncIterator[Sequence[UsageRow]]:
        """All rows, newest first, in batches of 1 to BATCH_ROWS_MAX."""
        narrowed = await _by_keys(self._session, wanted)
        if narrowed is None:
            return
        asked = report_sql.rows(narrowed)
        batches = self._session.batches(asked.sql, *asked.args, rows_max=BATCH_ROWS_MAX, timeout_ms=self._lasts_ms)
        async for rows in batches:
            yield [_row(row) for row in rows]

    async def copy(self, wanted: UsageFilter, form: Form, *, defuse: bool) -> AsyncIterator[bytes]:
        """What the writer of `form` (JSON, CSV or TSV) makes of all rows, in pieces, many times as fast.

        The caller's pace is the server's: a few pieces wait in between, never more. The last
        piece has come only when the iteration ends; `copied` then tells the rows.
        """
        narrowed = await _by_keys(self._session, wanted)
        if narrowed is None:
            return
        asked = report_sql.copied(narrowed, form, defuse=defuse)
        pieces: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=_PIECES_MAX)

        held: list[bytes] = []

        async def take(piece: bytes) -> None:
            held.append(piece)
            if sum(map(len, held)) >= _PIECE_BYTES:
                await pieces.put(b"".join(held))
                held.clear()

        async def fill() -> int:
            try:
                rows = await self._session.copy_text(
                    asked.sql, *asked.args, sink=take, delimiter=DELIMITERS[form], timeout_ms=self._lasts_ms
                )
                await pieces.put(b"".join(held))
            except Exception:
                await pieces.put(None)
                raise
            await pieces.put(None)
            return rows

        finisher = Finisher(form)
        self._filling = asyncio.create_task(fill())
        while (piece := await pieces.get()) is not None:
            if rows := finisher.take(piece):
                yield rows
        self.copied = await self._filling

    async def close(self) -> None:
        """End a copy that was left before its end; the connection is free afterwards, or closed."""
        if self._filling is not None:
            self._filling.cancel()
            await asyncio.wait((self._filling,))
            if not self._filling.cancelled():
                self._filling.exception()  # whoever left does not ask for it


async def _by_keys(session: Session, wanted: UsageFilter) -> UsageFilter | None:
    """The same rows, asked for by their keys, which an index knows, instead of by their associate; None: no rows."""
    if not wanted.associate:
        return wanted
    keys = frozenset(await session.fetch_value(report_sql.KEYS_OF, wanted.associate))
    keys = keys & wanted.key_ids if wanted.key_ids else keys
    return replace(wanted, associate="", key_ids=keys) if keys else None


def _row(row: Row) -> UsageRow:
    return UsageRow(*row)


_CHECKED_MS: Final = 1_000
_SLACK_MS: Final = 1_000
"""The server's own limit comes first."""
_PIECES_MAX: Final = 2
"""Pieces that wait between the database and a slow reader."""
_PIECE_BYTES: Final = 128 << 10
"""Rows are finished so many at once: what one read of the socket brings is less."""
