"""Exports: all rows of a filter in one form, at constant memory and the reader's pace, with a proof of the end."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from trinity_core.aligned import writer_of
from trinity_core.errors import Reason, TrinityError
from trinity_core.tables import Form, TableWriter
from trinity_core.usage_log import UsageFilter, UsageRow
from trinity_core.usage_table import COLUMNS, cells
from trinity_report.reading import Reading, Source
from trinity_storage.reports import ReportStore, Snapshot

CHUNK_BYTES_MAX: Final = 256 << 10
"""Most bytes of one message."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants exported."""

    wanted: UsageFilter
    form: Form
    defuse: bool
    """Keep text cells from being formulas, where the form is one that spreadsheets read."""
    marked: bool
    """End with a record that tells the number of rows and the sum of what came before it."""


class Export:
    """One export under way: iterate `chunks` to its end, then `rows` and `sha256` tell of it."""

    def __init__(
        self, wish: Wish, *, snapshot: Snapshot | None, copy: AsyncIterator[Sequence[UsageRow]] | None
    ) -> None:
        """One of `snapshot` and `copy` is what rows are read from."""
        self._wish = wish
        self._snapshot = snapshot
        self._copy = copy
        self._digest = hashlib.sha256()
        self.rows = 0

    @property
    def source(self) -> Source:
        """Where it is read."""
        return Source.CACHE if self._snapshot is None else Source.DATABASE

    @property
    def sha256(self) -> str:
        """Of all bytes so far, in hexadecimal."""
        return self._digest.hexdigest()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The bytes, CHUNK_BYTES_MAX at most at a time. The first chunk comes at once; it may be empty."""
        wish = self._wish
        writer = writer_of(wish.form, COLUMNS, defuse=wish.defuse)
        first = writer.head()
        self._digest.update(first)
        yield first
        held, size = list[bytes](), 0
        async with aclosing(self._parts(writer)) as parts:
            async for part in parts:
                self._digest.update(part)
                held.append(part)
                size += len(part)
                if size >= _CHUNK_BYTES:
                    for chunk in _sliced(b"".join(held)):
                        yield chunk
                    held, size = [], 0
        for chunk in _sliced(b"".join(held)):
            yield chunk

    async def _parts(self, writer: TableWriter) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._bodies(writer)) as bodies:
            async for body in bodies:
                yield body
        yield writer.flush()
        if self._wish.marked:
            yield writer.mark(rows=self.rows, sha256=self.sha256)
        yield writer.tail()

    async def _bodies(self, writer: TableWriter) -> AsyncGenerator[bytes, None]:
        wish = self._wish
        if self._snapshot is not None and wish.form is not Form.TEXT:
            async for rows in self._snapshot.copy(wish.wanted, wish.form, defuse=wish.defuse):
                yield rows
            self.rows = self._snapshot.copied
            return
        batches = self._copy if self._snapshot is None else self._snapshot.rows(wish.wanted)
        assert batches is not None
        async for batch in batches:
            self.rows += len(batch)
            yield writer.rows(cells(row, wish.form) for row in batch)


class Exports:
    """Opens exports, some at once at most."""

    def __init__(self, *, store: ReportStore, reading: Reading, exports_max: int, each_max: int, lasts_ms: int) -> None:
        """`each_max` bounds those of one caller, `lasts_ms` how long each may take."""
        self._store = store
        self._reading = reading
        self._exports_max = exports_max
        self._each_max = each_max
        self._lasts_ms = lasts_ms
        self._open: Counter[str] = Counter()

    @property
    def open_now(self) -> int:
        """Exports under way."""
        return self._open.total()

    @asynccontextmanager
    async def open(self, wish: Wish, *, caller: str) -> AsyncIterator[Export]:
        """One export. It shows the database at one moment, or, where that is away, the copy of it.

        Raises TrinityError TOO_MANY_STREAMS, or STORE_UNAVAILABLE when neither can be read.
        """
        if self.open_now >= self._exports_max or self._open[caller] >= self._each_max:
            raise TrinityError(
                Reason.TOO_MANY_STREAMS,
                "as many exports are under way as there may be; try again",
                retry_after_ms=5_000,
            )
        self._open[caller] += 1
        try:
            async with AsyncExitStack() as stack:
                snapshot, copy = None, None
                try:
                    snapshot = await stack.enter_async_context(self._store.snapshot(lasts_ms=self._lasts_ms))
                except TrinityError as error:
                    if error.reason is Reason.STORE_UNAVAILABLE:
                        copy = await self._reading.whole(wish.wanted)
                    if copy is None:
                        raise
                yield Export(wish, snapshot=snapshot, copy=copy)
        finally:
            self._open[caller] -= 1
            if not self._open[caller]:
                del self._open[caller]


def _sliced(data: bytes) -> list[bytes]:
    return [data[at : at + CHUNK_BYTES_MAX] for at in range(0, len(data), CHUNK_BYTES_MAX)]


_CHUNK_BYTES: Final = 128 << 10
"""Less is gathered before it is sent."""
