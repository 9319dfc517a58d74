"""One sync: increments into the copy that is there, or a whole new copy where there is none to add to."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from trinity_mesh.clock import Clock
from trinity_storage.usage_cache import DAY_S, Stamp, current, whole
from trinity_storage.usage_copy import CopyLostError, NewCopy, add_changes, no_room, sweep
from trinity_storage.usage_source import SourceSnapshot, UsageSource
from trinity_storage.valkey import Valkey


class Kind(StrEnum):
    """What a sync did."""

    FULL = "full"
    INCREMENT = "increment"


@dataclass(frozen=True, slots=True)
class Done:
    """A sync that is done."""

    kind: Kind
    why: str
    """Why everything was loaded; empty for an increment."""
    rows: int
    """Rows that were copied."""
    packed_bytes: int
    """Bytes of all parts, after a full load."""
    watermark: int
    generation: str
    took_ms: int


Progress = Callable[[Kind, int, int], None]
"""Told now and then: kind, rows copied, rows expected (0: not known)."""


class Syncing:
    """Brings the copy in Valkey up to the database; several processes may, one at a time."""

    def __init__(self, *, source: UsageSource, valkey: Valkey, history_days: int, clock: Clock) -> None:
        """`history_days` is how far back a new copy goes; 0: to the beginning."""
        self._source = source
        self._valkey = valkey
        self._history_days = history_days
        self._clock = clock
        self._swept = False

    async def once(self, *, full: bool = False, progress: Progress = lambda *_: None) -> Done:
        """Sync now. Whatever happens, readers keep a complete copy, the old or the new one.

        Raises STORE_CONFLICT while another process syncs, and STORE_UNAVAILABLE when a store
        fails or the cache has too little room.
        """
        began_ns = self._clock.monotonic_ns()
        async with self._source.opened() as snapshot:
            database = await snapshot.identity()
            raw, _ = await current(self._valkey)
            was = await whole(self._valkey)
            if not self._swept:
                # Whoever synced before may have been killed, this one's last attempt included.
                await sweep(self._valkey, keep="" if was is None else was.generation)
                self._swept = True
            why = "it was asked for" if full else await self._why_full(snapshot, was, database)
            if not why:
                assert was is not None
                try:
                    return await self._increment(snapshot, was, raw, began_ns, progress)
                except CopyLostError as error:
                    why = str(error)
                    raw, _ = await current(self._valkey)
            return await self._full(snapshot, database, raw, why, began_ns, progress)

    async def _why_full(self, snapshot: SourceSnapshot, was: Stamp | None, database: str) -> str:
        if was is None:
            return "there was no complete copy"
        if was.database != database or await snapshot.watermark() < was.watermark:
            return "the copy was of another database, or of a later state of this one"
        return ""

    async def _increment(
        self, snapshot: SourceSnapshot, was: Stamp, raw: bytes, began_ns: int, progress: Progress
    ) -> Done:
        total = 0
        while True:
            rows, watermark = await snapshot.changed(was.watermark, rows_max=STEP_ROWS)
            if not rows:
                break
            now = self._stamped(was, watermark)
            await add_changes(self._valkey, former=raw, was=was, now=now, rows=rows)
            raw, was = now.encoded, now
            total += len(rows)
            progress(Kind.INCREMENT, total, 0)
            if len(rows) < STEP_ROWS:
                break
            if total >= INCREMENT_ROWS_MAX:
                raise CopyLostError("so much had changed that loading all of it is faster")
        return Done(Kind.INCREMENT, "", total, 0, was.watermark, was.generation, self._since_ms(began_ns))

    async def _full(
        self, snapshot: SourceSnapshot, database: str, raw: bytes, why: str, began_ns: int, progress: Progress
    ) -> Done:
        former = await whole(self._valkey)
        self._swept = False
        now_ms = self._clock.unix_ns() // 1_000_000
        today = now_ms // 1_000 // DAY_S
        stamp = Stamp(
            generation=secrets.token_hex(8),
            start=(today - self._history_days) * DAY_S if self._history_days else 0,
            watermark=await snapshot.watermark(),
            database=database,
            loaded_ms=now_ms,
            synced_ms=now_ms,
        )
        about = 0 if self._history_days else await snapshot.about()
        copy = NewCopy(self._valkey, stamp.generation)
        try:
            async for rows in snapshot.rows(start=stamp.start, rows_max=BATCH_ROWS):
                await copy.add(rows)
                progress(Kind.FULL, copy.rows, max(about, copy.rows))
            await copy.switch(former=raw, stamp=stamp)
        except CopyLostError as error:
            await sweep(self._valkey, keep="" if former is None else former.generation)
            raise no_room(error) from error
        await sweep(self._valkey, keep=stamp.generation)
        self._swept = True
        progress(Kind.FULL, copy.rows, copy.rows)
        return Done(
            Kind.FULL, why, copy.rows, copy.packed_bytes, stamp.watermark, stamp.generation, self._since_ms(began_ns)
        )

    def _stamped(self, was: Stamp, watermark: int) -> Stamp:
        return Stamp(
            generation=was.generation,
            start=was.start,
            watermark=watermark,
            database=was.database,
            loaded_ms=was.loaded_ms,
            synced_ms=self._clock.unix_ns() // 1_000_000,
        )

    def _since_ms(self, began_ns: int) -> int:
        return (self._clock.monotonic_ns() - began_ns) // 1_000_000


STEP_ROWS: Final = 5_000
"""Rows of one step of an increment; readers see a whole step or nothing of it."""
INCREMENT_ROWS_MAX: Final = 100_000
"""More changes than these make a new copy instead."""
BATCH_ROWS: Final = 5_000
"""Rows fetched at once in a full load."""
