"""The ledger: one count for each answer, in memory that outlives the process, before the answer leaves.

A process owns files of grow-only counters (`<spool>/<incarnation>.uctr`) that are mapped into its
memory. Adding one is a store into a page that belongs to the kernel, so no death of the process
loses it. Nothing is ever taken back or used again: an hour that begins gets new slots, a file that
is full is followed by another, and a file in which nothing counts any more is given up, to be
recorded by the collector like the file of a process that died.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from trinity_admission.ledger_config import Durability, LedgerConfig
from trinity_admission.ledger_disk import LedgerDisk, stopping
from trinity_admission.ledger_file import LedgerFile
from trinity_admission.ledger_files import AGAIN_NS, LedgerFiles
from trinity_core.errors import TrinityError
from trinity_core.usage import HOUR_NS, HOUR_S, Counted, hour_of
from trinity_mesh.clock import Clock

log = logging.getLogger(__name__)

Kind = tuple[str, int, str, str, int]
"""Key id, transport, method, asset, outcome."""
Answered = tuple[int, str, str, int]
"""Transport, method, asset, outcome."""

_TIDY_S: Final = 0.1
_NOWHERE: Final = memoryview(b"").cast("Q")


class Slot:
    """Where answers of one kind to one key are counted now. Made by `Ledger.slot`, opaque to others."""

    __slots__ = ("cells", "file", "from_ns", "hour", "index", "kind", "owed", "until_ns")

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.file: LedgerFile | None = None
        self.cells = _NOWHERE
        self.index = 0
        self.hour = 0
        self.from_ns = self.until_ns = 0
        """Wall-clock time in which the cell is the right one."""
        self.owed = 0
        """Answers that were counted and never left."""


class Ledger:
    """The ledger of one process and one thread. `async with Ledger(...) as ledger:` starts and closes it.

    At the answer: `slot = ledger.slot(…)` (or a slot kept from before), `ledger.count(slot)`,
    `await ledger.committed()` where `ledger.strict`, and only then the answer goes to the kernel.
    """

    def __init__(self, config: LedgerConfig, *, spool: Path, clock: Clock) -> None:
        """Nothing is written yet. `spool` must be on a local disk: the lock of a file is its owner's sign of life."""
        self._clock = clock
        self._unix_ns = clock.unix_ns
        self._slots: dict[Kind, Slot] = {}
        self._bound: dict[LedgerFile, set[Slot]] = {}
        self._to_sweep: list[LedgerFile] = []
        self._swept_hour = 0
        self._past: dict[Answered, int] = {}
        self._files = LedgerFiles(config, spool=spool, clock=clock)
        self._disk = LedgerDisk(config, files=lambda: self._files.held, clock=clock)
        self._tidying: asyncio.Task[None] | None = None
        self._at_files = asyncio.Lock()
        self._closed = False
        self.strict = config.durability is Durability.STRICT
        """Answers must wait for `committed`."""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Make the first file, and look after the files from now on. Without room it starts, and refuses."""
        await self._tidy()
        self._disk.start()
        self._tidying = asyncio.create_task(self._tidy_now_and_then())

    async def close(self) -> None:
        """Put everything on the disk and give the files up, to be recorded. Nothing can be counted afterwards."""
        if self._closed:
            return
        self._closed = True
        async with self._at_files:  # a file that is being made must not be left behind
            if self._tidying is not None:
                self._tidying.cancel()
                await asyncio.gather(self._tidying, return_exceptions=True)
        for slot in [slot for bound in self._bound.values() for slot in bound]:
            self._release(slot)
        await self._disk.close()
        for file in self._files.all():
            await self._disk.do(file.close)
        self._disk.shut()

    @property
    def incarnations(self) -> tuple[str, ...]:
        """Names of the files in which something may be counted now."""
        return tuple(file.layout.incarnation for file in self._files.held)

    @property
    def slots(self) -> int:
        """Counters in use now."""
        return sum(map(len, self._bound.values()))

    def totals(self) -> dict[Answered, int]:
        """What was counted since the start, the answers of all keys together: read from the counters themselves."""
        totals = dict(self._past)
        for bound in self._bound.values():
            for slot in bound:
                answered = slot.kind[1:]
                totals[answered] = totals.get(answered, 0) + slot.cells[slot.index]
        return totals

    @property
    def refused(self) -> int:
        """How often there was no room for something new to count."""
        return self._files.refused

    @property
    def disk_failures(self) -> int:
        """How often the disk did not take what was counted."""
        return self._disk.failures

    def slot(self, key_id: str, transport: int, method: str, asset: str, outcome: int) -> Slot:
        """Where to count answers of one kind; may be kept and used for the life of the ledger.

        Raises TrinityError LEDGER_FULL when there is no room for a kind that was not counted
        before, STOPPING once the ledger is closed, and ValueError for what no counter may count.
        """
        kind = (key_id, transport, method, asset, outcome)
        slot = self._slots.get(kind)
        if slot is None:
            slot = Slot(kind)
            self._bind(slot, hour_of(self._unix_ns()))
            self._slots[kind] = slot
        return slot

    def count(self, slot: Slot, n: int = 1) -> None:
        """Count `n` answers that are about to leave, in the hour that the wall clock shows.

        A slot that is in use goes on, in its hour, even when there is no room for the next
        one. Raises LEDGER_FULL or STOPPING for one that is not; then the answer must not leave.
        """
        if not slot.from_ns <= self._unix_ns() < slot.until_ns:
            n = self._turn(slot, n)
        slot.cells[slot.index] += n

    def count_each(self, slots: Sequence[Slot], unix_ns: int, n: int = 1) -> bool:
        """Count `n` answers in each of the slots, by a clock that was just read; or False, and none."""
        for slot in slots:
            if not slot.from_ns <= unix_ns < slot.until_ns:
                return self._count_each(slots, n)
        for slot in slots:
            slot.cells[slot.index] += n
        return True

    def _count_each(self, slots: Sequence[Slot], n: int) -> bool:
        """The same where an hour has begun, or answers are owed."""
        done = 0
        try:
            for slot in slots:
                self.count(slot, n)
                done += 1
        except TrinityError:
            for slot in slots[:done]:
                self.give_back(slot, n)
            return False
        return True

    def give_back(self, slot: Slot, n: int = 1) -> None:
        """The kernel did not take `n` answers that were counted: that many of the next ones are free."""
        slot.owed += n
        slot.until_ns = 0

    async def committed(self) -> None:
        """Return once everything counted before the call is on the disk; at once unless durability is "strict".

        Raises TrinityError LEDGER_FULL when the disk failed; then the answer must not leave.
        """
        if not self.strict:
            return
        if self._closed:
            raise stopping()
        await self._disk.committed()

    def _turn(self, slot: Slot, n: int) -> int:
        """Bring a slot to the hour it is now; how many of `n` answers are to be counted."""
        now_ns = self._unix_ns()
        hour = hour_of(now_ns)
        if slot.file is not None and slot.hour == hour:
            slot.from_ns, slot.until_ns = _span_ns(hour)
        else:
            try:
                self._bind(slot, hour)
            except TrinityError:
                if slot.file is None:
                    raise
                slot.from_ns, slot.until_ns = now_ns - AGAIN_NS, now_ns + AGAIN_NS
        free = min(slot.owed, n)
        slot.owed -= free
        if slot.owed:
            slot.until_ns = 0  # the next answer comes here as well
        return n - free

    def _bind(self, slot: Slot, hour: int) -> None:
        key_id, transport, method, asset, outcome = slot.kind
        counted = Counted(key_id, hour, transport, method, asset, outcome)
        if self._closed:
            raise stopping()
        file = self._files.room()
        index = file.add(counted)
        self._release(slot)
        slot.file, slot.cells, slot.index, slot.hour = file, file.cells, index, hour
        slot.from_ns, slot.until_ns = _span_ns(hour)
        self._bound.setdefault(file, set()).add(slot)

    def _release(self, slot: Slot) -> None:
        if slot.file is not None:
            self._bound[slot.file].discard(slot)
            answered = slot.kind[1:]
            self._past[answered] = self._past.get(answered, 0) + slot.cells[slot.index]
        slot.file, slot.cells, slot.index = None, _NOWHERE, 0
        slot.from_ns = slot.until_ns = 0

    async def _tidy_now_and_then(self) -> None:
        while True:
            await self._clock.sleep(_TIDY_S)
            async with self._at_files:
                try:
                    await self._tidy()
                except Exception:
                    log.exception("unforeseen error while looking after the ledger files")

    async def _tidy(self) -> None:
        """Have a file ready for those to come, and give up those in which nothing counts any more."""
        if self._files.wants_spare():
            try:
                made = await self._disk.do(self._files.make)
            except TrinityError:
                made = None  # It was logged, and whoever needs room is told.
            unneeded = made and self._files.take_spare(made)
            if unneeded is not None:
                await self._disk.do(unneeded.close)
        self._sweep()
        for file in [
            each for each in self._files.held if each is not self._files.current and not self._bound.get(each)
        ]:
            self._files.held.remove(file)
            self._bound.pop(file, None)
            await self._disk.do(file.close)

    def _sweep(self) -> None:
        """Let go of slots that were idle for an hour, a file at a time."""
        hour = hour_of(self._unix_ns())
        if hour != self._swept_hour:
            self._swept_hour = hour
            self._to_sweep = list(self._files.held)
        if not self._to_sweep:
            return
        for slot in tuple(self._bound.get(self._to_sweep.pop(), ())):
            if slot.hour not in (hour, hour - HOUR_S):
                self._release(slot)
                if self._slots.get(slot.kind) is slot:
                    del self._slots[slot.kind]


def _span_ns(hour: int) -> tuple[int, int]:
    start_ns = hour * 1_000_000_000
    return start_ns, start_ns + HOUR_NS
