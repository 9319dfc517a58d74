"""The newest price of each asset in the order of change, and the batches that are made of them.

Nothing is kept for a watcher but how far it has come: a slow one costs no memory, and its
next batch is simply what is newer than its cursor, once an asset.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from trinity.price.v1 import price_pb2
from trinity_core.prices import Price
from trinity_mesh.clock import Clock
from trinity_mesh.telemetry import tracing
from trinity_mesh.wire import stamp
from trinity_price.encoding import PriceEncoder
from trinity_price.wall import AnchoredWall

_JOINS_MAX: Final = 16


class Entry(msgspec.Struct, gc=False, eq=False):
    """One asset's newest price; its frame is made when a watcher first needs it."""

    price: Price
    changes: int
    """Changes of the asset since the start of the book, this one included."""
    frame: bytes | None = None


class Publication:
    """What there is to send. Written by one writer, read by every watcher; no locks, one event loop."""

    def __init__(self, *, clock: Clock, clock_id: str, wall: AnchoredWall, epoch: int) -> None:
        """`clock_id` names the clock that `clock.monotonic_ns` reads, `epoch` the run of the book."""
        self._clock = clock
        self._clock_id = clock_id
        self._wall = wall
        self._encoder = PriceEncoder(epoch=epoch)
        self._entries: dict[str, Entry] = {}
        self._joins: dict[int, tuple[bytes, int]] = {}
        self._traced = (0, "")
        self.epoch = epoch
        self.sequence = 0
        """The book's greatest sequence."""
        self.changes = 0
        """Changes taken since the start."""
        self.sandbox = False
        """The prices are simulated. Set by `mark_sandbox`, never taken back."""

    def put(self, prices: Sequence[Price]) -> None:
        """Take changed prices in the order of their sequence."""
        if not prices:
            return
        entries = self._entries
        for price in prices:
            asset = price.asset
            # Taken out and put in again, so that the order of the entries is the order of change.
            known = entries.pop(asset, None)
            entries[asset] = Entry(price, 1 if known is None else known.changes + 1)
        self.sequence = prices[-1].sequence
        self.changes += len(prices)
        self._joins.clear()
        if tracing.on and (trace := tracing.current()):
            self._traced = self.sequence, trace

    def trace_since(self, cursor: int) -> str:
        """Traceparent of the newest change that is traced, if it is newer than a sequence; empty else."""
        sequence, trace = self._traced
        return trace if sequence > cursor else ""

    def mark_sandbox(self) -> None:
        """From now on every price says that it is simulated."""
        if not self.sandbox:
            self.sandbox = True
            self.forget_frames()

    def forget_frames(self) -> None:
        """Make every frame anew: the wall clock's anchor moved."""
        for entry in self._entries.values():
            entry.frame = None
        self._joins.clear()

    def since(self, cursor: int, assets: frozenset[str] | None = None) -> list[Entry]:
        """Entries newer than a sequence, in the order of change; only those of `assets` where given."""
        found = []
        for entry in reversed(self._entries.values()):
            if entry.price.sequence <= cursor:
                break
            if assets is None or entry.price.asset in assets:
                found.append(entry)
        found.reverse()
        return found

    def join_since(self, cursor: int) -> tuple[bytes, int]:
        """The frames of everything newer than a sequence, and their number; made once for all who ask in step."""
        join = self._joins.get(cursor)
        if join is None:
            entries = self.since(cursor)
            if len(self._joins) >= _JOINS_MAX:
                self._joins.clear()
            join = self._joins[cursor] = self.join(entries), len(entries)
        return join

    def join(self, entries: Iterable[Entry]) -> bytes:
        """The frames of some entries."""
        return b"".join([entry.frame or self._frame(entry) for entry in entries])

    def frame_of(self, asset: str) -> tuple[bytes, Price] | None:
        """The frame of an asset's newest price, and the price; None where there is none."""
        entry = self._entries.get(asset)
        return None if entry is None else (entry.frame or self._frame(entry), entry.price)

    def tail(
        self, *, sequence: int, snapshot: bool = False, complete: bool = False, skipped: int = 0, trace: str = ""
    ) -> bytes:
        """The fields of a batch that leaves now, all but its prices."""
        now_ns = self._clock.monotonic_ns()
        return price_pb2.WatchPricesResponse(
            snapshot=snapshot,
            snapshot_complete=complete,
            sequence=sequence,
            epoch=self.epoch,
            sent_time=stamp(self._wall.unix_ns(now_ns)),
            sent_monotonic_ns=now_ns,
            clock_id=self._clock_id,
            skipped=skipped,
            traceparent=trace,
        ).SerializeToString()

    def _frame(self, entry: Entry) -> bytes:
        frame = self._encoder.frame(entry.price, wall_offset_ns=self._wall.offset_ns, sandbox=self.sandbox)
        entry.frame = frame
        return frame
