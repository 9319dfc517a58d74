"""The replica of the keys on disk, so that a process that starts while the account service is down knows them.

    magic, 8 bytes | unix ns at which the records were known to be right, 8 | version, 8 | records, each
    as its length, 4 bytes, and its protobuf | HMAC-SHA256 of all before it under the pepper, 32

Only digests of keys are in it, as in the database, and nobody without the pepper can add a key,
or change what one may do. Its age counts against the age bound like any other.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from google.protobuf.message import DecodeError

from trinity.account.v1 import account_pb2
from trinity_admission.keyring import Keyring
from trinity_mesh.clock import Clock
from trinity_mesh.whole_file import write_whole

log = logging.getLogger(__name__)

_MAGIC: Final = b"TRINKEY1"
_HEAD: Final = struct.Struct(">8sqQ")
_LENGTH: Final = struct.Struct(">I")
_SEAL_BYTES: Final = 32
_LABEL: Final = b"key-file"
_FILE_BYTES_MAX: Final = 1 << 30
_SOON_S: Final = 0.1
"""Between a change and the file, so that many changes at once are written once."""
_CONFIRM_NS: Final = 60_000_000_000
"""How often the file is told anew that its records are right."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What a file holds."""

    heard_unix_ns: int
    version: int
    records: tuple[account_pb2.KeyRecord, ...]


def pack(wires: Iterable[bytes], *, version: int, heard_unix_ns: int, pepper: bytes) -> bytes:
    """The bytes of a file."""
    parts = [_HEAD.pack(_MAGIC, heard_unix_ns, version)]
    for wire in wires:
        parts += (_LENGTH.pack(len(wire)), wire)
    body = b"".join(parts)
    return body + _seal(body, pepper)


def unpack(data: bytes, *, pepper: bytes) -> Kept:
    """What the bytes of a file hold. Raises ValueError for what `pack` did not write under this pepper."""
    body, seal = data[:-_SEAL_BYTES], data[-_SEAL_BYTES:]
    if len(body) < _HEAD.size or not hmac.compare_digest(_seal(body, pepper), seal):
        raise ValueError("it was damaged, or written under another pepper")
    magic, heard_unix_ns, version = _HEAD.unpack_from(body)
    if magic != _MAGIC:
        raise ValueError("it has another version")
    records, at = [], _HEAD.size
    while at < len(body):
        (length,) = _LENGTH.unpack_from(body, at)
        at += _LENGTH.size
        try:
            records.append(account_pb2.KeyRecord.FromString(body[at : at + length]))
        except DecodeError as error:
            raise ValueError("a record cannot be read") from error
        at += length
    return Kept(heard_unix_ns, version, tuple(records))


class KeyFile:
    """Keeps a keyring's records in a file. `async with KeyFile(...)` loads them, and writes as they change."""

    def __init__(self, path: Path, *, keyring: Keyring, pepper: bytes, clock: Clock) -> None:
        """Nothing is read yet. Several processes of a host may share the file: they hold the same."""
        self._path = path
        self._keyring = keyring
        self._pepper = pepper
        self._clock = clock
        self._dirty = asyncio.Event()
        self._written_ns = clock.monotonic_ns()
        self._written_heard_ns: int | None = None
        self._task: asyncio.Task[None] | None = None
        self.failures = 0
        """How often the file could not be written."""

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._load)
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._dirty.is_set():
            await self.save()

    def changed(self) -> None:
        """The keyring holds something else now."""
        self._dirty.set()

    async def save(self) -> None:
        """Write what the keyring holds, if it was ever right."""
        heard_ns = self._keyring.heard_ns
        if heard_ns is None:
            return
        self._dirty.clear()
        self._written_heard_ns = heard_ns
        now_ns = self._written_ns = self._clock.monotonic_ns()
        heard_unix_ns = self._clock.unix_ns() - (now_ns - heard_ns)
        wires, version = self._keyring.wires(), self._keyring.version
        try:
            await asyncio.to_thread(self._write, wires, version, heard_unix_ns)
        except OSError as error:
            self.failures += 1
            log.error("%s cannot be written: %s", self._path, error.strerror)  # noqa: TRY400 - the text says all

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(_SOON_S)
            due = self._clock.monotonic_ns() - self._written_ns >= _CONFIRM_NS
            if self._dirty.is_set() or (due and self._keyring.heard_ns != self._written_heard_ns):
                await self.save()

    def _write(self, wires: Sequence[bytes], version: int, heard_unix_ns: int) -> None:
        data = pack(wires, version=version, heard_unix_ns=heard_unix_ns, pepper=self._pepper)
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(self._path, data)

    def _load(self) -> None:
        try:
            with self._path.open("rb") as file:
                data = file.read(_FILE_BYTES_MAX)
            kept = unpack(data, pepper=self._pepper)
        except FileNotFoundError:
            return
        except (OSError, ValueError, struct.error) as error:
            log.warning("%s is left aside: %s", self._path, error)
            return
        # A wall clock that was set back makes the records seem to come from the future: they count as new.
        age_ns = max(0, self._clock.unix_ns() - kept.heard_unix_ns)
        self._keyring.restore(kept.records, version=kept.version, heard_ns=self._clock.monotonic_ns() - age_ns)
        log.info("%d keys stand in %s, as they were %d s ago", len(self._keyring), self._path, age_ns // 1_000_000_000)


def _seal(body: bytes, pepper: bytes) -> bytes:
    return hmac.digest(hmac.digest(pepper, _LABEL, "sha256"), body, "sha256")
