"""Streams of price batches: when each leaves, and that a slow caller gets fewer, newer ones.

A stream is a loop of its own that is woken when there is something to send. It sends what
is newer than its cursor, waits until the transport took it, and only then looks again: what
changed meanwhile is folded, and counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Final

from trinity_core.errors import Reason, TrinityError
from trinity_mesh.clock import Clock
from trinity_price.publication import Entry, Publication

_MS: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What one caller wants."""

    assets: frozenset[str] | None = None
    """Ids in upper case; None for all."""
    heartbeat_ms: int = 1_000
    interval_ms: int = 0
    resume_epoch: int = 0
    resume_sequence: int = 0


class Watching:
    """Opens streams on one publication, and wakes them at most every `flush_ms`."""

    def __init__(
        self, *, clock: Clock, publication: Publication, flush_ms: float, streams_max: int, snapshot_prices_max: int
    ) -> None:
        """`snapshot_prices_max` is the most prices in one batch of a snapshot."""
        self._clock = clock
        self._publication = publication
        self._flush_ns = round(flush_ms * _MS)
        self._streams_max = streams_max
        self._snapshot_prices_max = snapshot_prices_max
        self._dirty = asyncio.Event()
        self._flushed: asyncio.Future[None] | None = None
        self._flushed_sequence = 0
        self._closed = False
        self.streams = 0
        """Streams open now."""
        self.refused = 0
        """Streams that were one too many."""
        self.batches = 0
        """Batches sent since the start."""
        self.skipped = 0
        """Changes folded into newer ones since the start, over all streams."""

    def changed(self) -> None:
        """The publication has something new."""
        self._dirty.set()

    def close(self) -> None:
        """End every stream with UNAVAILABLE (STOPPING)."""
        self._closed = True
        self._wake()

    async def run(self) -> None:
        """Wake the streams after changes: at once after a rest, else `flush_ms` after the last time."""
        flushed_ns = self._clock.monotonic_ns() - self._flush_ns
        while True:
            await self._dirty.wait()
            rest_ns = flushed_ns + self._flush_ns - self._clock.monotonic_ns()
            if rest_ns > 0:
                await self._clock.sleep(rest_ns / 1e9)
            flushed_ns = self._clock.monotonic_ns()
            self._dirty.clear()
            self._flushed_sequence = self._publication.sequence
            self._wake()

    async def stream(self, watch: Watch) -> AsyncIterator[bytes]:
        """Iterate over one caller's batches, serialised.

        Raises TrinityError TOO_MANY_STREAMS, or STOPPING when the service stops.
        """
        if self._closed:
            raise _stopping()
        if self.streams >= self._streams_max:
            self.refused += 1
            raise TrinityError(
                Reason.TOO_MANY_STREAMS,
                f"{self._streams_max} price streams are open already; close one or try again later",
                retry_after_ms=1_000,
            )
        self.streams += 1
        stream = _Stream(watch, self._publication)
        heartbeat_ns = watch.heartbeat_ms * _MS
        sleeper: asyncio.Future[None] | None = None
        try:
            for batch in stream.snapshot(self._snapshot_prices_max):
                self.batches += 1
                yield batch
            sent_ns = self._clock.monotonic_ns()
            while True:
                if watch.interval_ms:
                    rest_ns = sent_ns + watch.interval_ms * _MS - self._clock.monotonic_ns()
                    if rest_ns > 0:
                        await self._clock.sleep(rest_ns / 1e9)
                now_ns = self._clock.monotonic_ns()
                batch = b""
                if stream.cursor < self._flushed_sequence:
                    batch = stream.changes()
                    self.skipped += stream.skipped
                if not batch and now_ns - sent_ns >= heartbeat_ns:
                    batch = stream.heartbeat()
                if self._closed:
                    raise _stopping()
                if batch:
                    self.batches += 1
                    yield batch
                    sent_ns = self._clock.monotonic_ns()
                    continue
                # One timer serves many batches: it is set anew only when it has run out.
                if sleeper is None or sleeper.done():
                    rest_s = (sent_ns + heartbeat_ns - now_ns) / 1e9
                    sleeper = asyncio.ensure_future(self._clock.sleep(rest_s))
                await asyncio.wait((self._flush(), sleeper), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.streams -= 1
            if sleeper is not None:
                sleeper.cancel()

    def _flush(self) -> asyncio.Future[None]:
        """Done when the streams are woken next; shared by all."""
        if self._flushed is None:
            self._flushed = asyncio.get_running_loop().create_future()
        return self._flushed

    def _wake(self) -> None:
        if self._flushed is not None:
            self._flushed.set_result(None)
            self._flushed = None


class _Stream:
    """How far one caller has come."""

    __slots__ = ("_assets", "_publication", "_seen", "_total", "_watch", "cursor", "skipped")

    def __init__(self, watch: Watch, publication: Publication) -> None:
        self._watch = watch
        self._assets = watch.assets
        self._publication = publication
        self._total = 0
        self._seen: dict[str, int] = {}
        self.cursor = 0
        """Everything up to this sequence was sent, or is newer in what will be."""
        self.skipped = 0
        """Changes that the newest batch folded."""

    def snapshot(self, prices_max: int) -> Iterator[bytes]:
        """The batches that open the stream. What they hold is fixed now, whenever they are taken."""
        publication = self._publication
        watch = self._watch
        resumes = watch.resume_epoch == publication.epoch and 0 < watch.resume_sequence <= publication.sequence
        entries = publication.since(watch.resume_sequence if resumes else 0, self._assets)
        sequence = self.cursor = publication.sequence
        self._total = publication.changes
        if self._assets is not None:
            self._seen = {entry.price.asset: entry.changes for entry in publication.since(0, self._assets)}
        parts = [entries[start : start + prices_max] for start in range(0, len(entries), prices_max)] or [[]]
        for index, part in enumerate(parts, start=1):
            tail = publication.tail(sequence=sequence, snapshot=True, complete=index == len(parts))
            yield publication.join(part) + tail

    def changes(self) -> bytes:
        """The batch of everything newer than the cursor, which moves on; empty when nothing concerns the caller."""
        publication = self._publication
        trace = publication.trace_since(self.cursor)
        if self._assets is None:
            join, count = publication.join_since(self.cursor)
            self.skipped = publication.changes - self._total - count
            self._total = publication.changes
        else:
            entries = publication.since(self.cursor, self._assets)
            join, self.skipped = publication.join(entries), self._folded(entries)
        self.cursor = publication.sequence
        return join + publication.tail(sequence=self.cursor, skipped=self.skipped, trace=trace) if join else b""

    def heartbeat(self) -> bytes:
        """A batch without prices."""
        return self._publication.tail(sequence=self.cursor)

    def _folded(self, entries: list[Entry]) -> int:
        seen = self._seen
        folded = 0
        for entry in entries:
            asset = entry.price.asset
            folded += entry.changes - seen.get(asset, 0) - 1
            seen[asset] = entry.changes
        return folded


def _stopping() -> TrinityError:
    return TrinityError(Reason.STOPPING, "the price service is stopping; open the stream again", retry_after_ms=500)
