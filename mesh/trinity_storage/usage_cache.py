"""The copy of the usage log in Valkey, as reports read it.

Keys, all of one hash slot so that a script may touch several:

    {usage}:current          the complete copy: JSON of a `Stamp`
    {usage}:<generation>     hash: the days that the copy has, besides the field "made"
    {usage}:<generation>:<d> hash: one day. "v" counts its changes, "HH:<associate>" is a part
                             (usage_parts.py), "=<associate>" the day's billed and unbilled sum
    {usage}:<generation>:owners  hash: the associate of each key in the copy; only the sync reads it

A server that runs out of memory drops whole keys only. So a day that the copy has and whose key is
there is whole, and one whose key is not there was lost: never taken for "no usage".

Commands used: GET, HGET, HMGET, HGETALL, HKEYS, EXISTS; all of Redis 2.8 and later.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from typing import Final

import msgspec

from trinity_core.errors import Reason, TrinityError
from trinity_core.usage import HOUR_S
from trinity_core.usage_log import BATCH_ROWS_MAX, HOURS_END, Coverage, Position, UsageFilter, UsageRow
from trinity_storage.usage_parts import unpack
from trinity_storage.valkey import Valkey

CURRENT: Final = "{usage}:current"
MADE: Final = "made"
VERSION: Final = "v"
DAY_S: Final = 86_400


class Stamp(msgspec.Struct, frozen=True):
    """What stands in `{usage}:current`."""

    generation: str
    start: int
    """First hour, unix seconds; 0: from the beginning."""
    watermark: int
    database: str
    """Names the database that it was read from."""
    loaded_ms: int
    """Unix time of the full load."""
    synced_ms: int
    """Unix time of the last increment, or of the load."""

    @property
    def encoded(self) -> bytes:
        """As it stands there."""
        return msgspec.json.encode(self)

    @property
    def coverage(self) -> Coverage:
        """As reports know it."""
        return Coverage(self.generation, self.start, HOURS_END, self.watermark)


@dataclass(frozen=True, slots=True)
class DayTotal:
    """What an associate used on one day."""

    day: int
    """Start of the day (UTC), unix seconds."""
    associate: str
    """Empty for keys that are not known (any more)."""
    billed: int
    unbilled: int


def days_key(generation: str) -> str:
    """The key that names the days of a copy."""
    return f"{{usage}}:{generation}"


def day_key(generation: str, day: int) -> str:
    """The key of a day; `day` counts days since 1970."""
    return f"{{usage}}:{generation}:{day}"


def owners_key(generation: str) -> str:
    """The key that tells whose keys they are; its field "" is always there."""
    return f"{{usage}}:{generation}:owners"


def part_field(hour: int, associate: str) -> str:
    """The field of a part; `hour` in unix seconds."""
    return f"{hour % DAY_S // HOUR_S:02d}:{associate}"


class ValkeyUsageLog:
    """UsageLog on a server that speaks RESP. Reads only; the sync writes (usage_copy.py)."""

    def __init__(self, valkey: Valkey, *, step_ms: int = 2_000) -> None:
        """`valkey` stays its owner's to close. `step_ms` bounds each call, and each batch of an iteration."""
        self._valkey = valkey
        self._step_s = step_ms / 1_000

    async def coverage(self) -> Coverage | None:
        """See UsageLog."""
        stamp = await self.stamp()
        return None if stamp is None else stamp.coverage

    async def stamp(self) -> Stamp | None:
        """What the complete copy is; None where there is none, or where a part of it was lost."""
        with _renamed():
            async with asyncio.timeout(self._step_s):
                return await whole(self._valkey)

    async def rows(
        self, coverage: Coverage, wanted: UsageFilter, *, after: Position | None = None
    ) -> AsyncIterator[Sequence[UsageRow]]:
        """See UsageLog."""
        reading = _Reading(self._valkey, coverage, wanted, after)
        while True:
            with _renamed():
                async with asyncio.timeout(self._step_s):
                    batch = await reading.batch()
            if not batch:
                return
            yield batch

    async def totals(self, coverage: Coverage, *, start: int, end: int, associate: str = "") -> list[DayTotal]:
        """Sums of the days from `start` to before `end` (unix seconds, whole days), of one associate or of each.

        Newest first. Raises STORE_UNAVAILABLE when the copy is not whole (any more).
        """
        found: list[DayTotal] = []
        with _renamed():
            async with asyncio.timeout(self._step_s):
                for day in await _days(self._valkey, coverage, start, end):
                    key = day_key(coverage.generation, day)
                    if not (fields := await _fields(self._valkey, key)):
                        raise _lost()
                    names = [name for name in fields if name.startswith("=")]
                    if associate:
                        names = [name for name in names if name == f"={associate}"]
                    for name, sums in zip(names, await _values(self._valkey, key, names), strict=True):
                        if sums is None:
                            raise _lost()
                        billed, unbilled = sums.split()
                        found.append(DayTotal(day * DAY_S, name[1:], int(billed), int(unbilled)))
        return found


async def current(valkey: Valkey) -> tuple[bytes, Stamp | None]:
    """What stands in `{usage}:current`, as it is and as it reads."""
    raw: bytes = await valkey.call("GET", CURRENT) or b""
    try:
        return raw, msgspec.json.decode(raw, type=Stamp) if raw else None
    except msgspec.MsgspecError:
        return raw, None


async def whole(valkey: Valkey) -> Stamp | None:
    """The stamp of the current copy, if every key of it is there. Raises TrinityError as `Valkey` does."""
    for _ in range(_TRIES):
        raw, stamp = await current(valkey)
        if stamp is None:
            return None
        fields = await _fields(valkey, days_key(stamp.generation))
        keys = [day_key(stamp.generation, int(field)) for field in fields if field != MADE]
        there = sum([await valkey.call("EXISTS", *some) for some in _some(keys)]) if MADE in fields else -1
        if there == len(keys):
            return stamp
        if (await current(valkey))[0] == raw:
            return None
    return None


class _Reading:
    """One iteration: hours of days, newest first, a day's parts of one associate fetched at once."""

    def __init__(self, valkey: Valkey, coverage: Coverage, wanted: UsageFilter, after: Position | None) -> None:
        self._valkey = valkey
        self._coverage = coverage
        self._wanted = wanted
        self._after = after
        self._start = max(coverage.start, wanted.start, 0)
        self._end = min(coverage.end, wanted.end, HOURS_END if after is None else after.hour + HOUR_S)
        self._hours: Iterator[tuple[int, int]] = iter(())
        self._days: Iterator[int] | None = None
        self._rows: Iterator[UsageRow] = iter(())
        self._names: dict[str, list[str]] = {}

    async def batch(self) -> list[UsageRow]:
        """The next rows; none when there are no more."""
        if self._days is None:
            self._days = iter(await _days(self._valkey, self._coverage, self._start, self._end))
        found: list[UsageRow] = []
        while True:
            found.extend(islice(self._rows, BATCH_ROWS_MAX - len(found)))
            if len(found) == BATCH_ROWS_MAX:
                return found
            hour = next(self._hours, None)
            if hour is not None:
                await self._open(*hour)
                continue
            day = next(self._days, None)
            if day is None:
                return found
            await self._open_day(day)

    async def _open_day(self, day: int) -> None:
        first = day * DAY_S
        hours = range(
            max(first, -(-self._start // HOUR_S) * HOUR_S), min(first + DAY_S, -(-self._end // HOUR_S) * HOUR_S), HOUR_S
        )
        key = day_key(self._coverage.generation, day)
        self._names = {}
        if self._wanted.associate:
            names = [part_field(hour, self._wanted.associate) for hour in hours]
            parts = await _values(self._valkey, key, names)
            streams = [
                unpack(part, hour=hour, associate=self._wanted.associate)
                for hour, part in zip(hours, parts, strict=True)
                if part is not None
            ]
            self._rows = self._taken(row for stream in reversed(streams) for row in stream)
            return
        for name in await _fields(self._valkey, key):
            self._names.setdefault(name[:3], []).append(name)
        if not self._names:
            raise _lost()
        self._hours = ((day, hour) for hour in reversed(hours) if part_field(hour, "") in self._names)

    async def _open(self, day: int, hour: int) -> None:
        names = self._names[part_field(hour, "")]
        parts = await _values(self._valkey, day_key(self._coverage.generation, day), names)
        if None in parts:
            raise _lost()
        streams = [
            unpack(part, hour=hour, associate=name[3:])
            for name, part in zip(names, parts, strict=True)
            if part is not None
        ]
        self._rows = self._taken(heapq.merge(*streams, key=attrgetter("position"), reverse=True))

    def _taken(self, rows: Iterator[UsageRow]) -> Iterator[UsageRow]:
        takes, after = self._wanted.takes, self._after
        return (row for row in rows if takes(row) and (after is None or row.position < after))


async def _days(valkey: Valkey, coverage: Coverage, start: int, end: int) -> list[int]:
    """Days of a copy that have hours from `start` to before `end`, newest first."""
    fields = await _fields(valkey, days_key(coverage.generation))
    if MADE not in fields:
        raise _lost()
    days = (int(field) for field in fields if field != MADE)
    return sorted((day for day in days if day * DAY_S < end and (day + 1) * DAY_S > start), reverse=True)


async def _fields(valkey: Valkey, key: str) -> list[str]:
    return [name.decode() for name in await valkey.call("HKEYS", key)]


async def _values(valkey: Valkey, key: str, names: Sequence[str]) -> list[bytes | None]:
    """Some fields of a day, at one moment each hundred or so."""
    found: list[bytes | None] = []
    for some in _some(names):
        version, *values = await valkey.call("HMGET", key, VERSION, *some)
        if version is None:
            raise _lost()
        found.extend(values)
    return found


def _some(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[first : first + _AT_ONCE] for first in range(0, len(names), _AT_ONCE)) if names else iter(())


@contextmanager
def _renamed() -> Iterator[None]:
    try:
        yield
    except TrinityError as error:
        if error.reason is Reason.STORE_UNAVAILABLE:
            raise
        raise TrinityError(Reason.STORE_UNAVAILABLE, "the copy of the usage log cannot be read") from error
    except TimeoutError as error:
        raise TrinityError(Reason.STORE_UNAVAILABLE, "the copy of the usage log cannot be read in time") from error
    except ValueError as error:
        raise TrinityError(Reason.STORE_UNAVAILABLE, "the copy of the usage log cannot be read") from error


def _lost() -> TrinityError:
    return TrinityError(Reason.STORE_UNAVAILABLE, "the copy of the usage log is gone, or a part of it")


_TRIES: Final = 3
_AT_ONCE: Final = 128
