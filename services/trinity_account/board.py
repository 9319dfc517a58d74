"""Every key that is valid, as streams send it, in the order of the last change; pure.

The board follows the database: what was read is applied, and then confirmed with the version up to
which nothing is missing. Streams go by `order`, which counts what happened to this board.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final, NamedTuple

from trinity.account.v1 import account_pb2
from trinity_account.encoding import record_to_bytes
from trinity_core.accounts import KeyRecord
from trinity_mesh.wire import unstamp

_FOR_EVER: Final = 1 << 63


@dataclass(frozen=True, slots=True)
class Entry:
    """One key on the board."""

    key_id: str
    record: bytes
    """Serialised KeyRecord."""
    version: int
    order: int
    ends_ns: int
    """When it ends, unix nanoseconds; 0 when it has, by being revoked."""


class Encoded(NamedTuple):
    """A record that was read, ready for the board."""

    key_id: str
    record: bytes
    version: int
    ends_ns: int


def encoded(records: Iterable[KeyRecord]) -> list[Encoded]:
    """Make records ready. It takes longer than putting them on the board, so large readings do it part by part."""
    return [
        Encoded(record.key_id, record_to_bytes(record), record.version, _end(record.revoked, record.expire_time_ns))
        for record in records
    ]


class KeyBoard:
    """The keys, and which of them a stream lacks."""

    def __init__(self, *, ended_max: int) -> None:
        """`ended_max` bounds how many ended keys are remembered."""
        self._ended_max = ended_max
        self._entries: dict[str, Entry] = {}
        self._floor = 0
        self.version = 0
        """Every change up to this version is on the board; 0: nothing was confirmed yet."""
        self.order = 0
        """Order of the newest entry."""

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key_id: str) -> account_pb2.KeyRecord | None:
        """One key; it may have ended."""
        record = self.record(key_id)
        return None if record is None else account_pb2.KeyRecord.FromString(record)

    def record(self, key_id: str) -> bytes | None:
        """One key's record; it may have ended."""
        entry = self._entries.get(key_id)
        return None if entry is None else entry.record

    def records(self) -> Iterable[tuple[str, bytes]]:
        """Every key, with its record."""
        return ((entry.key_id, entry.record) for entry in self._entries.values())

    def apply(self, reading: Iterable[Encoded]) -> list[str]:
        """Take what was read; the ids of keys of which it told something new."""
        changed = []
        for key_id, record, own, ends_ns in reading:
            old = self._entries.get(key_id)
            if (old is None or old.version < own) and self._put(key_id, record, own, ends_ns):
                changed.append(key_id)
        return changed

    def confirm(self, version: int) -> None:
        """Nothing up to a version is missing."""
        self.version = version

    def begin_anew(self, reading: Sequence[Encoded], version: int) -> list[str]:
        """Take all keys that are valid now; those not among them have ended. The ids of keys that changed."""
        for key_id, entry in self._entries.items():
            self._entries[key_id] = replace(entry, version=-1)
        changed = self.apply(reading)
        named = {each.key_id for each in reading}
        for key_id in [key_id for key_id, entry in self._entries.items() if entry.ends_ns and key_id not in named]:
            message = account_pb2.KeyRecord.FromString(self._entries[key_id].record)
            message.revoked = True
            self._put(key_id, message.SerializeToString(), version, 0)
            changed.append(key_id)
        self.version = self._floor = version
        return changed

    def begin_with_copies(self, copies: Iterable[tuple[str, bytes]]) -> None:
        """Take copies of records of an unknown version, to have something while the truth is away."""
        for key_id, data in copies:
            message = account_pb2.KeyRecord.FromString(data)
            ends_ns = unstamp(message.expire_time) if message.HasField("expire_time") else None
            self._put(key_id, data, -1, _end(message.revoked, ends_ns))

    def valid(self, now_ns: int) -> list[bytes]:
        """The records of all keys that are valid at a time."""
        return [entry.record for entry in self._entries.values() if entry.ends_ns > now_ns]

    def since(self, version: int) -> list[bytes] | None:
        """The records that changed after a version; None where that is not known any more, or not yet."""
        if not self._floor <= version <= self.version:
            return None
        return [entry.record for entry in self._entries.values() if entry.version > version]

    def after(self, order: int) -> list[bytes]:
        """The records that came after an order, oldest first."""
        found = []
        for entry in reversed(self._entries.values()):
            if entry.order <= order:
                break
            found.append(entry.record)
        found.reverse()
        return found

    def prune(self, now_ns: int) -> int:
        """Forget what ended longest ago when there is too much of it; how much was forgotten."""
        ended = [entry for entry in self._entries.values() if entry.ends_ns <= now_ns]
        excess = len(ended) - self._ended_max
        for entry in islice(ended, max(0, excess)):
            del self._entries[entry.key_id]
            # Who has not heard of this change by now could not be told any more.
            self._floor = max(self._floor, entry.version)
        return max(0, excess)

    def _put(self, key_id: str, record: bytes, version: int, ends_ns: int) -> bool:
        old = self._entries.get(key_id)
        if old is not None and old.record == record:
            self._entries[key_id] = replace(old, version=version)
            return False
        self._entries.pop(key_id, None)
        self.order += 1
        self._entries[key_id] = Entry(key_id, record, version, self.order, ends_ns)
        return True


def _end(revoked: bool, expire_time_ns: int | None) -> int:
    if revoked:
        return 0
    return _FOR_EVER if expire_time_ns is None else expire_time_ns
