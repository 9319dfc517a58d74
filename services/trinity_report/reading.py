"""Where rows are read: from the copy in the cache as far as it is exact, from the database for the rest.

A sync made the copy at some moment; hours may have changed since. The database, asked once a
while, knows the earliest of them: all hours before it are as the copy has them, and only those
are read from it. While the database cannot be asked the copy is taken as it was made.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

from trinity_core.errors import Reason, TrinityError
from trinity_core.usage_log import Coverage, Position, UsageFilter, UsageLog, UsageRow
from trinity_core.usage_sums import GroupBy, Summing, Sums
from trinity_mesh.clock import Clock
from trinity_storage.reports import ReportStore

log = logging.getLogger(__name__)


class Source(IntEnum):
    """Where a report was read; numbers of trinity.report.v1.ServedFrom."""

    CACHE = 1
    DATABASE = 2


@dataclass(frozen=True, slots=True)
class _Part:
    """Some hours of a report."""

    wanted: UsageFilter
    copy: Coverage | None
    """The copy to read them from; None for the database."""


class Reading:
    """Reads pages and sums."""

    def __init__(
        self, *, store: ReportStore, copy: UsageLog | None, clock: Clock, check_ms: int, summary_ms: int
    ) -> None:
        """Of reading.

        Args:
            store: the database.
            copy: the copy in the cache, where there is one.
            clock: tells how old knowledge is.
            check_ms: how old the knowledge may be since when the copy is behind.
            summary_ms: longest that the database may take for sums.
        """
        self._store = store
        self._copy = copy
        self._clock = clock
        self._check_ns = check_ms * 1_000_000
        self._summary_ms = summary_ms
        self._checked: tuple[Coverage, int, int] | None = None
        """A copy, the hour from which on it is not exact, and when that was found out."""
        self._checking = False
        self._away = False
        """The database could not be asked the last time."""
        self._away_until_ns = 0

    async def page(self, wanted: UsageFilter, *, after: Position | None, limit: int) -> tuple[list[UsageRow], Source]:
        """The first `limit` rows, newest first, that come after a position; and where they were read."""
        parts = _parts(wanted, await self.exact())
        try:
            return await self._page(parts, after, limit)
        except TrinityError as error:
            if not _of_copy(parts, error):
                raise
        return await self._page([_Part(wanted, None)], after, limit)

    async def sums(self, wanted: UsageFilter, group_by: Sequence[GroupBy]) -> tuple[Sums, Source]:
        """The sums of all rows by groups, and where they were read."""
        parts = _parts(wanted, await self.exact())
        if any(part.copy for part in parts):
            try:
                found = await self._sums(parts, group_by)
            except TrinityError as error:
                if not _of_copy(parts, error):
                    raise
                found = None
            if found is not None:
                return found, _source(parts)
        return await self._store.sums(wanted, group_by, lasts_ms=self._summary_ms), Source.DATABASE

    async def exact(self) -> Coverage | None:
        """The copy, with the hours in which it is as the database; None where there is none to speak of."""
        if self._copy is None:
            return None
        try:
            coverage = await self._copy.coverage()
        except TrinityError as error:
            log.debug("the copy of the usage log cannot be used: %s", error)
            return None
        if coverage is None:
            return None
        end = min(coverage.end, await self._exact_before(coverage))
        return replace(coverage, end=end) if end > coverage.start else None

    async def whole(self, wanted: UsageFilter) -> AsyncIterator[Sequence[UsageRow]] | None:
        """All rows from the copy, where it has all that is wanted."""
        coverage = await self.exact()
        if self._copy is None or coverage is None or not coverage.start <= wanted.start < wanted.end <= coverage.end:
            return None
        return self._copy.rows(coverage, wanted)

    async def _exact_before(self, coverage: Coverage) -> int:
        now_ns = self._clock.monotonic_ns()
        known = self._checked
        if known is not None and known[0] == coverage and now_ns - known[2] <= self._check_ns:
            return known[1]
        if self._away and (self._checking or now_ns < self._away_until_ns):
            # One caller waits for the database to come back; the others have the copy meanwhile.
            return coverage.end
        self._checking = True
        try:
            changed = await self._store.changed_since(coverage.watermark)
        except TrinityError as error:
            if error.reason is not Reason.STORE_UNAVAILABLE:
                raise
            self._away, self._away_until_ns = True, self._clock.monotonic_ns() + _AWAY_NS
            return coverage.end
        finally:
            self._checking = False
        self._away = False
        before = coverage.end if changed is None else changed
        self._checked = (coverage, before, now_ns)
        return before

    async def _page(self, parts: Sequence[_Part], after: Position | None, limit: int) -> tuple[list[UsageRow], Source]:
        found: list[UsageRow] = []
        asked: list[_Part] = []
        gave: list[_Part] = []
        for part in parts:
            if after is not None and part.wanted.start > after.hour:
                continue
            asked.append(part)
            before = len(found)
            if part.copy is None:
                found += await self._store.page(part.wanted, after=after, limit=limit - before)
            else:
                async with aclosing(self._rows(part.copy, part.wanted, after)) as batches:
                    async for batch in batches:
                        found += batch[: limit - len(found)]
                        if len(found) == limit:
                            break
            if len(found) > before:
                gave.append(part)
            if len(found) == limit:
                break
        return found, _source(gave or asked)

    async def _sums(self, parts: Sequence[_Part], group_by: Sequence[GroupBy]) -> Sums | None:
        """Sums of some parts; None where there are too many groups to add them up here."""
        summing = Summing(group_by)
        for part in parts:
            if part.copy is None:
                sums = await self._store.sums(part.wanted, group_by, lasts_ms=self._summary_ms)
                if sums.truncated:
                    return None
                summing.add_sums(sums.sums)
                continue
            async with aclosing(self._rows(part.copy, part.wanted, None)) as batches:
                async for batch in batches:
                    summing.add(batch)
                    if summing.groups > _GROUPS_MAX:
                        return None
        return summing.result()

    async def _rows(
        self, copy: Coverage, wanted: UsageFilter, after: Position | None
    ) -> AsyncGenerator[Sequence[UsageRow], None]:
        assert self._copy is not None
        async for batch in self._copy.rows(copy, wanted, after=after):
            yield batch
            # Others come in between, even where the copy has everything at hand.
            await self._clock.sleep(0)


def _parts(wanted: UsageFilter, copy: Coverage | None) -> list[_Part]:
    """The hours of a report, newest first, each with where to read it."""
    if copy is None:
        return [_Part(wanted, None)]
    parts = [
        _Part(replace(wanted, start=max(wanted.start, copy.end)), None),
        _Part(replace(wanted, start=max(wanted.start, copy.start), end=min(wanted.end, copy.end)), copy),
        _Part(replace(wanted, end=min(wanted.end, copy.start)), None),
    ]
    return [part for part in parts if part.wanted.start < part.wanted.end] or [_Part(wanted, None)]


def _source(parts: Sequence[_Part]) -> Source:
    """The cache only where all of it came from there."""
    return Source.CACHE if parts and all(part.copy for part in parts) else Source.DATABASE


def _of_copy(parts: Sequence[_Part], error: TrinityError) -> bool:
    """Whether the database alone may do better."""
    return error.reason is Reason.STORE_UNAVAILABLE and any(part.copy for part in parts)


_AWAY_NS: Final = 5_000_000_000
"""How long a database that cannot be asked is left alone."""
_GROUPS_MAX: Final = 100_000
"""Groups that are added up in this process; more are left to the database."""
