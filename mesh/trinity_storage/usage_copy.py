"""Writes the copy of the usage log in Valkey: a new one beside the old, a switch, increments; see usage_cache.py.

A step that readers can see is one script, which the server runs whole or not at all. One
writer at a time is the caller's business (usage_source.py has the lock); one that has lost its
turn without noticing changes nothing, since every script compares before it writes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import groupby
from typing import Final

from trinity_core.errors import Reason, TrinityError
from trinity_core.usage_log import UsageRow
from trinity_storage.usage_cache import CURRENT, DAY_S, MADE, VERSION, Stamp, day_key, days_key, owners_key, part_field
from trinity_storage.usage_parts import merged, pack
from trinity_storage.valkey import Valkey, Word

PREFIX: Final = "{usage}:"


class CopyLostError(Exception):
    """The copy cannot be added to: it is not whole any more, or another took its place."""


class NewCopy:
    """A copy that is being made, which no reader sees before `switch`.

    Takes rows by hour, then associate, then in falling order of their position.
    """

    def __init__(self, valkey: Valkey, generation: str) -> None:
        """`generation` must be a name that no copy ever had."""
        self._valkey = valkey
        self._generation = generation
        self._open: list[UsageRow] = []
        self._commands: list[Sequence[Word]] = [
            ("HSET", days_key(generation), MADE, "1"),
            ("HSET", owners_key(generation), "", ""),
        ]
        self._bytes = 0
        self._day: int | None = None
        self._sums: dict[str, list[int]] = {}
        self._days: list[int] = []
        self._keys: set[str] = set()
        self.rows = 0
        """Rows taken."""
        self.packed_bytes = 0
        """Bytes of all parts so far."""

    async def add(self, rows: Sequence[UsageRow]) -> None:
        """Take some more rows. Memory for one part and one batch of commands, whatever the number of rows."""
        for (hour, associate), found in groupby(rows, key=_place):
            if self._open and _place(self._open[0]) != (hour, associate):
                self._close_part()
            if hour // DAY_S != self._day:
                self._close_day()
                self._day = hour // DAY_S
            self._open.extend(found)
        self.rows += len(rows)
        await self._send(least=_PIPELINE_BYTES)

    async def switch(self, *, former: bytes, stamp: Stamp) -> None:
        """Make it the current copy, in place of the one whose stamp reads `former`.

        Raises CopyLostError when a part of it is lost already (it does not fit) or another
        copy became the current one meanwhile.
        """
        self._close_part()
        self._close_day()
        await self._send(least=0)
        names = (CURRENT, days_key(self._generation), owners_key(self._generation))
        keys = [*names, *(day_key(self._generation, day) for day in self._days)]
        done = await self._valkey.call("EVAL", _SWITCH, len(keys), *keys, former, stamp.encoded)
        if done != 1:
            raise CopyLostError(_WHY[int(done)])

    def _close_part(self) -> None:
        if not self._open:
            return
        first = self._open[0]
        part = pack(self._open)
        key = day_key(self._generation, first.hour // DAY_S)
        self._commands.append(("HSET", key, part_field(first.hour, first.associate), part))
        self._bytes += len(part) + 100
        self.packed_bytes += len(part)
        sums = self._sums.setdefault(first.associate, [0, 0])
        for row in self._open:
            if row.key_id not in self._keys:
                self._keys.add(row.key_id)
                self._commands.append(("HSET", owners_key(self._generation), row.key_id, row.associate))
            sums[0 if row.billed else 1] += row.count
        self._open = []

    def _close_day(self) -> None:
        self._close_part()
        if self._day is None:
            return
        words: list[Word] = ["HSET", day_key(self._generation, self._day), VERSION, "1"]
        for associate, (billed, unbilled) in self._sums.items():
            words += (f"={associate}", f"{billed} {unbilled}")
        self._commands += (words, ("HSET", days_key(self._generation), str(self._day), "1"))
        self._days.append(self._day)
        self._sums = {}
        self._day = None

    async def _send(self, *, least: int) -> None:
        if self._bytes < least:
            return
        await self._valkey.pipeline(self._commands)
        self._commands, self._bytes = [], 0


async def add_changes(valkey: Valkey, *, former: bytes, was: Stamp, now: Stamp, rows: Sequence[UsageRow]) -> None:
    """Put changed rows and the new stamp into the current copy: all at one moment, or nothing of it.

    Raises CopyLostError as `NewCopy.switch` does, and TrinityError as `Valkey` does; then it
    may have happened.
    """
    parts: dict[int, dict[tuple[int, str], list[UsageRow]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.hour >= was.start:
            parts[row.hour // DAY_S][_place(row)].append(row)
    names = days_key(was.generation)
    known = {int(field) for field in await valkey.call("HKEYS", names) if field != MADE.encode()}
    owners = await _owners(valkey, was.generation, rows)
    keys: list[Word] = [CURRENT, names, owners_key(was.generation)]
    args: list[Word] = [former, now.encoded, len(owners), *(word for pair in owners.items() for word in pair)]
    for day, places in sorted(parts.items()):
        version, fields = await _changed_day(valkey, was.generation, day, places)
        if (version == b"") is (day in known):
            raise CopyLostError(_WHY[-1])
        keys.append(day_key(was.generation, day))
        args += (str(day), version, str(len(fields)), *(word for pair in fields.items() for word in pair))
    done = await valkey.call("EVAL", _ADD, len(keys), *keys, *args)
    if done != 1:
        raise CopyLostError(_WHY[int(done)])


async def sweep(valkey: Valkey, *, keep: str) -> int:
    """Remove every copy but that of a generation, in small steps; how many keys it were."""
    kept = (CURRENT.encode(), days_key(keep).encode(), f"{days_key(keep)}:".encode())
    removed = 0
    cursor = b"0"
    while True:
        cursor, found = await valkey.call("SCAN", cursor, "MATCH", f"{PREFIX}*", "COUNT", _SCANNED)
        gone = [name for name in found if name not in kept[:2] and not (keep and name.startswith(kept[2]))]
        if gone:
            removed += int(await valkey.call("UNLINK", *gone))
        if cursor == b"0":
            return removed


async def _owners(valkey: Valkey, generation: str, rows: Sequence[UsageRow]) -> dict[str, str]:
    """The associates of all keys of some rows."""
    owners = {row.key_id: row.associate for row in rows}
    if owners:
        known = await valkey.call("HMGET", owners_key(generation), *owners)
        for associate, former in zip(owners.values(), known, strict=True):
            # Rows of a key that changed hands would be in two parts.
            if former is not None and former.decode() != associate:
                raise CopyLostError("a key has another associate now")
    return owners


async def _changed_day(
    valkey: Valkey, generation: str, day: int, places: dict[tuple[int, str], list[UsageRow]]
) -> tuple[bytes, dict[str, bytes]]:
    """A day's version, and the fields that change, as they are to be."""
    fields = [part_field(*place) for place in places]
    owners = sorted({associate for _, associate in places})
    asked = [VERSION, *fields, *(f"={associate}" for associate in owners)]
    version, *values = await valkey.call("HMGET", day_key(generation, day), *asked)
    sums = {
        associate: [int(figure) for figure in (raw or b"0 0").split()]
        for associate, raw in zip(owners, values[len(fields) :], strict=True)
    }
    changed: dict[str, bytes] = {}
    for (hour, associate), field, part in zip(places, fields, values, strict=False):
        try:
            changed[field], billed, unbilled = merged(part, places[hour, associate], hour=hour, associate=associate)
        except ValueError as error:
            raise CopyLostError(str(error)) from error
        sums[associate][0] += billed
        sums[associate][1] += unbilled
    changed |= {f"={associate}": f"{billed} {unbilled}".encode() for associate, (billed, unbilled) in sums.items()}
    return version or b"", changed


def _place(row: UsageRow) -> tuple[int, str]:
    return row.hour, row.associate


def no_room(error: CopyLostError) -> TrinityError:
    """What a caller is told who cannot help it."""
    return TrinityError(Reason.STORE_UNAVAILABLE, f"the usage log could not be copied: {error}")


_PIPELINE_BYTES: Final = 256 << 10
_SCANNED: Final = 200
_WHY: Final = {
    0: "another copy took its place",
    -1: "a part of it was lost; the cache may have too little memory for it",
}

_SWITCH: Final = """
local now = redis.call('GET', KEYS[1]) or ''
if now ~= ARGV[1] then return 0 end
for i = 2, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 0 then return -1 end
end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""

_ADD: Final = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
if redis.call('EXISTS', KEYS[2], KEYS[3]) ~= 2 then return -1 end
local days = 4 + 2 * tonumber(ARGV[3])
local at = days
for i = 4, #KEYS do
  if (redis.call('HGET', KEYS[i], 'v') or '') ~= ARGV[at + 1] then return -1 end
  if (ARGV[at + 1] == '') ~= (redis.call('HEXISTS', KEYS[2], ARGV[at]) == 0) then return -1 end
  at = at + 3 + 2 * tonumber(ARGV[at + 2])
end
for i = 4, days - 1, 2 do
  redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1])
end
at = days
for i = 4, #KEYS do
  local fields = tonumber(ARGV[at + 2])
  for j = 0, fields - 1 do
    redis.call('HSET', KEYS[i], ARGV[at + 3 + 2 * j], ARGV[at + 4 + 2 * j])
  end
  redis.call('HINCRBY', KEYS[i], 'v', 1)
  redis.call('HSET', KEYS[2], ARGV[at], '1')
  at = at + 3 + 2 * fields
end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""
