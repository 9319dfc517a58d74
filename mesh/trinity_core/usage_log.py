"""The usage log as reports read it: its rows, the filter, and the port of a copy that may stand in for the database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import msgspec

from trinity_core.errors import Reason, TrinityError
from trinity_core.usage import Outcome

BATCH_ROWS_MAX: Final = 1_000
"""Most rows in one batch: what a reader does between two of them must not hold up an event loop."""
HOURS_END: Final = 253_402_300_800
"""No hour is so late: the year 10000, unix seconds."""


class Position(NamedTuple):
    """Where a row stands in the log; no two rows have the same. Texts compare by code points."""

    hour: int
    key_id: str
    transport: int
    method: str
    asset: str
    outcome: int


class UsageRow(msgspec.Struct, frozen=True, gc=False):
    """Answers of one kind to one key in one hour."""

    hour: int
    """Start of the hour, unix seconds."""
    associate: str
    """Owner of the key; empty for a key that is not known (any more)."""
    key_id: str
    """Public id of the key."""
    key_name: str
    """Its name; empty likewise."""
    transport: int
    """Number of trinity_core.usage.Transport."""
    method: str
    """Short name of what was asked for."""
    asset: str
    """Asset id; empty for methods about none or several."""
    outcome: int
    """Number of trinity_core.usage.Outcome."""
    count: int
    """Answers."""

    @property
    def position(self) -> Position:
        """Where it stands in the log."""
        return Position(self.hour, self.key_id, self.transport, self.method, self.asset, self.outcome)

    @property
    def billed(self) -> bool:
        """Whether the customer pays for it."""
        return self.outcome <= Outcome.SERVED


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageFilter:
    """Which rows are wanted: those that pass every part. An empty part lets all pass."""

    start: int = 0
    """First hour, unix seconds."""
    end: int = HOURS_END
    """Hours before this one, unix seconds."""
    associate: str = ""
    key_ids: frozenset[str] = frozenset()
    assets: frozenset[str] = frozenset()
    transports: frozenset[int] = frozenset()
    methods: frozenset[str] = frozenset()
    outcomes: frozenset[int] = frozenset()

    def takes(self, row: UsageRow) -> bool:
        """Whether a row passes."""
        return (
            self.start <= row.hour < self.end
            and (not self.associate or row.associate == self.associate)
            and (not self.key_ids or row.key_id in self.key_ids)
            and (not self.assets or row.asset in self.assets)
            and (not self.transports or row.transport in self.transports)
            and (not self.methods or row.method in self.methods)
            and (not self.outcomes or row.outcome in self.outcomes)
        )


@dataclass(frozen=True, slots=True)
class Coverage:
    """What one complete copy of the log holds: every row of the hours from `start` to before `end`, up to a change."""

    generation: str
    """Names the copy."""
    start: int
    """First hour that is in it, unix seconds; 0 where it goes back to the beginning of the log."""
    end: int
    """Hours before this one are in it, unix seconds."""
    watermark: int
    """Every change of the log with a `seq` up to this one is in it."""


class UsageLog(Protocol):
    """A copy of the usage log, made by the sync and read by reports. Losing it loses nothing.

    Every failure MUST be raised as TrinityError STORE_UNAVAILABLE, and every step (a call, or
    the next batch of an iteration) MUST return or raise within the bound that the adapter
    was made with, whatever the store does.
    """

    async def coverage(self) -> Coverage | None:
        """What the newest complete copy holds; None where there is none.

        A copy that is still being made, or that has lost any of its rows, MUST NOT be named.
        For each hour that is covered, the copy MUST hold every row whose `seq` was not above
        `watermark` when it was read from the database, and no row that the database never
        had. Later states of rows may be in it. Names of keys are those of that time.
        """
        ...

    def rows(
        self, coverage: Coverage, wanted: UsageFilter, *, after: Position | None = None
    ) -> AsyncIterator[Sequence[UsageRow]]:
        """The rows of that copy that `wanted` takes, of covered hours only, newest first.

        They MUST come in falling order of `Position`, each once, beginning below `after`
        where one is given, in batches of 1 to BATCH_ROWS_MAX. Rows that a sync adds meanwhile
        may be left out or not; a row that was there MUST NOT be left out. When that cannot
        be kept (the copy is gone, a part of it was evicted or cannot be read), the iteration
        MUST raise instead of ending.
        """
        ...


class MemoryUsageLog:
    """The twin: a copy within one process, filled by hand."""

    def __init__(self) -> None:
        self._rows: list[UsageRow] = []
        self._coverage: Coverage | None = None

    def fill(self, coverage: Coverage, rows: Sequence[UsageRow]) -> None:
        """Replace the copy."""
        self._rows = sorted(rows, key=lambda row: row.position, reverse=True)
        self._coverage = coverage

    def lose(self) -> None:
        """Be as a store that was emptied."""
        self._rows, self._coverage = [], None

    async def coverage(self) -> Coverage | None:
        """See UsageLog."""
        return self._coverage

    async def rows(
        self, coverage: Coverage, wanted: UsageFilter, *, after: Position | None = None
    ) -> AsyncIterator[Sequence[UsageRow]]:
        """See UsageLog."""
        held = self._coverage
        if held is None or held.generation != coverage.generation:
            raise TrinityError(Reason.STORE_UNAVAILABLE, "the copy of the usage log is gone")
        found = [
            row
            for row in self._rows
            if held.start <= row.hour < held.end and wanted.takes(row) and (after is None or row.position < after)
        ]
        for first in range(0, len(found), BATCH_ROWS_MAX):
            yield found[first : first + BATCH_ROWS_MAX]
