"""Streams of prices from the replica: each change is rendered once, and each batch once for all who are in step.

    live = LivePrices(answers=answers, clock=clock, standing=lambda: book.connection)
    book = PriceBook(address, on_change=live.changed)
    create_app(…, live=live)

Nothing is kept for a reader but how far it has come: one that is slow finds fewer, newer prices, and costs
no memory. A stream lives as long as the replica's own connection to the price service: when that is lost or
silent, or another run of the service has taken over, it fails, and its client resumes elsewhere or again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import msgspec
from google.protobuf.message import Message

from trinity.price.v1 import price_pb2
from trinity_core.errors import Reason, TrinityError
from trinity_http.live import Item
from trinity_http.prices import WATCH_PRICES, PriceAnswers
from trinity_http.upstream import Pause
from trinity_mesh.clock import Clock
from trinity_mesh.wire import stamp

SNAPSHOT_PRICES_MAX: Final = 64
"""Most prices in one batch of a snapshot."""


class Standing(Protocol):
    """How the replica stands; trinity_client.replica.Connection."""

    @property
    def connected(self) -> bool:
        """It follows the service now, and its snapshot is complete."""
        ...

    @property
    def epoch(self) -> int:
        """Run of the service's book."""
        ...

    @property
    def sequence(self) -> int:
        """Everything up to it has arrived."""
        ...

    @property
    def skipped(self) -> int:
        """Changes that the service folded before they came here, since the start."""
        ...


class _Entry(msgspec.Struct, gc=False, eq=False):
    """One asset's newest price."""

    price: price_pb2.Price
    order: int
    """Number of its change; grows with every change of any asset."""
    changes: int
    """Changes of this asset, this one included."""


class LivePrices:
    """Everything that streams have in common."""

    def __init__(
        self, *, answers: PriceAnswers, clock: Clock, standing: Callable[[], Standing], flush_ms: int = 5
    ) -> None:
        """`flush_ms` is the shortest time between two batches of a stream, whatever it asks for."""
        self._answers = answers
        self._standing = standing
        self._entries: dict[str, _Entry] = {}
        self._joins: dict[tuple[int, int], tuple[bytes, int]] = {}
        self._flushed: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._flush_s = flush_ms / 1_000
        self.clock = clock
        self.order = 0
        """Number of the newest change: as many as there were."""
        self.flushed_order = 0
        """The same when streams were woken last: who is quick waits for the next time, so that all are in step."""
        self.streams = 0
        """Streams open now."""
        self.joined = 0
        """Batches rendered since the start."""

    def changed(self, price: price_pb2.Price) -> None:
        """Take a price that changed, or whose state did; for PriceBook's `on_change`."""
        # Taken out and put in again, so that the order of the entries is the order of change.
        known = self._entries.pop(price.asset, None)
        self.order += 1
        self._entries[price.asset] = _Entry(price, self.order, 1 if known is None else known.changes + 1)
        if self.streams and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._flush_s, self._wake)

    def open(self, method: str, request: Message) -> PriceStream | None:
        """A stream of prices; None for another method, and where the service has to say what is to be said.

        That is while the replica does not follow it, and for an asset that has no price here: it may not exist.
        """
        if method != WATCH_PRICES or not self.standing().connected:
            return None
        if any(asset.upper() not in self._entries for asset in request.assets):  # type: ignore[attr-defined]
            return None
        return PriceStream(self, request)

    def standing(self) -> Standing:
        """How the replica stands now."""
        return self._standing()

    def since(self, order: int, assets: frozenset[str] | None) -> list[_Entry]:
        """Entries newer than a change, in the order of change; only those of `assets` where given."""
        found = []
        for entry in reversed(self._entries.values()):
            if entry.order <= order:
                break
            if assets is None or entry.price.asset in assets:
                found.append(entry)
        found.reverse()
        return found

    def all_since(self, order: int) -> tuple[bytes, int]:
        """Everything newer than a change as the items of a JSON array, and their number; made once for all in step."""
        key = (order, self.order)
        found = self._joins.get(key)
        if found is None:
            entries = self.since(order, None)
            if len(self._joins) >= _JOINS_MAX:
                self._joins.clear()
            found = self._joins[key] = self.join(entries), len(entries)
        return found

    def join(self, entries: Sequence[_Entry]) -> bytes:
        """Some prices as the items of a JSON array."""
        self.joined += 1
        body = self._answers.body
        return b",".join([body(entry.price) for entry in entries])

    async def flushed(self) -> None:
        """Return when streams are woken next; shared by all."""
        if self._flushed is None:
            self._flushed = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._flushed)

    def wake(self) -> None:
        """Let every stream look up now."""
        self._wake()

    def _wake(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.flushed_order = self.order
        if self._flushed is not None:
            self._flushed.set_result(None)
            self._flushed = None


class PriceStream:
    """One reader's way through the changes."""

    def __init__(self, live: LivePrices, request: Any) -> None:
        """`request` is a WatchPricesRequest that passed validation."""
        self._live = live
        self._assets = frozenset(asset.upper() for asset in request.assets) or None
        self._heartbeat_s = (request.heartbeat_ms or _HEARTBEAT_MS) / 1_000
        self._interval_ns = request.interval_ms * 1_000_000
        standing = live.standing()
        self._epoch = standing.epoch
        self._skipped = standing.skipped
        self._why: TrinityError | Pause | None = None
        self._parts = self._snapshot(request, standing)
        self._cursor = self._total = live.order
        self._seen = {} if self._assets is None else {e.price.asset: e.changes for e in live.since(0, self._assets)}
        self._sent_ns = live.clock.monotonic_ns()
        live.streams += 1
        self._open = True

    async def next(self, wait_s: float) -> Item | Pause:
        """See LiveStream."""
        clock = self._live.clock
        until_ns = clock.monotonic_ns() + round(wait_s * 1e9)
        while True:
            self._check()
            if isinstance(self._why, Pause):
                return self._why
            now_ns = clock.monotonic_ns()
            item = self._ready(now_ns)
            if item is not None:
                self._sent_ns = now_ns
                return item
            if now_ns >= until_ns:
                return Pause.SILENCE
            await self._rest(now_ns, until_ns)

    def end(self, why: TrinityError | Pause) -> None:
        """See LiveStream."""
        if self._why is None:
            self._why = why
            self._live.wake()

    async def close(self) -> None:
        """See LiveStream."""
        if self._open:
            self._open = False
            self._live.streams -= 1

    def _check(self) -> None:
        """Raise TrinityError where the stream was ended for a reason, or the replica has lost the service."""
        if isinstance(self._why, TrinityError):
            raise self._why
        standing = self._live.standing()
        if not standing.connected or standing.epoch != self._epoch:
            raise _LOST

    def _ready(self, now_ns: int) -> Item | None:
        if self._parts:
            return self._item(*self._parts.pop(0))
        live = self._live
        due = now_ns - self._sent_ns
        if self._cursor < live.flushed_order and due >= self._interval_ns:
            prices, skipped = self._changes()
            if prices:
                return self._item(prices, skipped=skipped)
        if due >= self._heartbeat_s * 1e9:
            return self._item(b"")
        return None

    def _changes(self) -> tuple[bytes, int]:
        """What changed since the last batch, and how many changes were folded into it. The cursor moves on."""
        live = self._live
        standing = live.standing()
        if self._assets is None:
            prices, count = live.all_since(self._cursor)
            skipped = live.order - self._total - count + standing.skipped - self._skipped
            self._skipped = standing.skipped
        else:
            entries = live.since(self._cursor, self._assets)
            prices = live.join(entries) if entries else b""
            skipped = 0
            for entry in entries:
                skipped += entry.changes - self._seen.get(entry.price.asset, 0) - 1
                self._seen[entry.price.asset] = entry.changes
        self._cursor = self._total = live.order
        return prices, skipped

    async def _rest(self, now_ns: int, until_ns: int) -> None:
        """Wait for the next changes, but no longer than until something else is due."""
        due_ns = min(until_ns, self._sent_ns + round(self._heartbeat_s * 1e9), now_ns + _LOOK_NS)
        if self._interval_ns and self._cursor < self._live.flushed_order:
            due_ns = min(due_ns, self._sent_ns + self._interval_ns)
            await self._live.clock.sleep(max(0, due_ns - now_ns) / 1e9)
            return
        try:
            async with asyncio.timeout(max(0, due_ns - now_ns) / 1e9):
                await self._live.flushed()
        except TimeoutError:
            pass

    def _snapshot(self, request: Any, standing: Standing) -> list[tuple[bytes, int, bool, bool]]:
        """The batches that open the stream: prices, skipped, of a snapshot, the last of it."""
        live = self._live
        resumes = request.resume_epoch == standing.epoch and 0 < request.resume_sequence <= standing.sequence
        after = request.resume_sequence if resumes else 0
        entries = [entry for entry in live.since(0, self._assets) if entry.price.sequence > after]
        size = SNAPSHOT_PRICES_MAX
        parts = [entries[start : start + size] for start in range(0, len(entries), size)] or [[]]
        return [(live.join(part), 0, True, number == len(parts)) for number, part in enumerate(parts, start=1)]

    def _item(self, prices: bytes, skipped: int = 0, snapshot: bool = False, complete: bool = False) -> Item:
        clock = self._live.clock
        sequence = self._live.standing().sequence
        sent = stamp(clock.unix_ns()).ToJsonString()
        body = _BATCH % (
            prices,
            _BOOLS[snapshot],
            _BOOLS[complete],
            sequence,
            self._epoch,
            sent.encode("ascii"),
            clock.monotonic_ns(),
            skipped,
        )
        # Behind a part of a snapshot nothing can be resumed: the rest of it would be missing.
        return Item(body, f"{self._epoch}-{sequence}" if complete or not snapshot else None)


_LOST: Final = TrinityError(
    Reason.BACKEND_UNAVAILABLE, "the price service cannot be followed now; open the stream again", retry_after_ms=1_000
)
_JOINS_MAX: Final = 16
_HEARTBEAT_MS: Final = 1_000
"""Of a request that names none."""
_LOOK_NS: Final = 1_000_000_000
"""How often a stream with nothing to say looks whether the replica still follows the service."""
_BOOLS: Final = (b"false", b"true")
_BATCH: Final = (
    b'{"prices":[%b],"snapshot":%b,"snapshotComplete":%b,"sequence":"%d","epoch":"%d","sentTime":"%b",'
    b'"sentMonotonicNs":"%d","clockId":"gateway","skipped":"%d","traceparent":""}'
)
