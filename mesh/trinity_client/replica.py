"""What a replica does with each batch of WatchPrices. Pure: batches in, changed prices out.

The rules of the stream (trinity.price.v1.WatchPricesResponse) are checked, not trusted: a
stream opens with a snapshot, sequences only grow, an epoch lasts as long as the stream. A
batch that breaks one raises StreamBrokenError, and the next stream starts from a whole
snapshot, so that a gap is mended or seen but never hidden.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from trinity.price.v1 import price_pb2
from trinity_client.view import PriceView, Timeline
from trinity_core.prices import State
from trinity_mesh.clock import Clock
from trinity_mesh.wire import unstamp

ASSETS_MAX: Final = 10_000
"""Most assets that a replica holds; a stream that sends more is broken."""


class StreamBrokenError(Exception):
    """A batch broke the rules of the stream; the text says which."""


@dataclass(frozen=True, slots=True)
class Connection:
    """How the book stands with the price service."""

    connected: bool
    """A stream is open and its snapshot is complete."""
    streams: int
    """Streams opened since the start; each after the first is a reconnection."""
    failures: int
    """Attempts that failed since data last came."""
    detail: str
    """Why the last stream ended, in words; empty before any did."""
    epoch: int
    """Run of the service's book; 0 before the first snapshot is complete."""
    sequence: int
    """Everything up to this sequence has arrived."""
    skipped: int
    """Changes that the service folded into newer ones for this book."""
    replacements: int
    """Whole snapshots taken: 1 for the start, one more for each restart of the service."""
    silent_ms: float
    """Time since anything came, milliseconds; -1 before anything did."""
    transit_ms: float
    """Time the newest batch was under way, milliseconds."""


class Replica:
    """Newest price of each asset, and how far the stream has come."""

    def __init__(self, *, clock: Clock, clock_id: str) -> None:
        """`clock_id` names the clock that `clock.monotonic_ns` reads."""
        self._clock = clock
        self._clock_id = clock_id
        self._views: dict[str, PriceView] = {}
        self._timeline = Timeline(clock=clock, clock_id=clock_id)
        self._staged: dict[str, PriceView] = {}
        self._staged_timeline: Timeline | None = None
        self._stream_epoch = 0
        self._opening = True
        self.views: Mapping[str, PriceView] = MappingProxyType(self._views)
        """Newest price of each asset, by id."""
        self.epoch = 0
        """Run of the book that the prices belong to; 0 before a snapshot is complete, or when it is not trusted."""
        self.sequence = 0
        """Everything up to this sequence has arrived."""
        self.skipped = 0
        """Changes that the service folded into newer ones, since the start."""
        self.replacements = 0
        """Whole snapshots taken; each replaced every price. The first stands for the start."""
        self.transit_ns = 0
        """Time the newest batch was under way, nanoseconds; between hosts, what it took more than the fastest."""

    @property
    def complete(self) -> bool:
        """A whole snapshot has arrived, once."""
        return self.replacements > 0

    @property
    def opening(self) -> bool:
        """The stream's snapshot is not complete yet."""
        return self._opening

    def opened(self) -> tuple[int, int]:
        """A stream is about to open: (epoch, sequence) to resume after, (0, 0) for a whole snapshot."""
        self._opening = True
        self._stream_epoch = 0
        self._staged = {}
        self._staged_timeline = None
        return self.epoch, self.sequence

    def distrust(self) -> None:
        """The stream broke its rules: let the next one send a whole snapshot, which replaces everything."""
        self.epoch = 0

    def receive(self, batch: price_pb2.WatchPricesResponse, now_ns: int) -> list[PriceView]:
        """Take one batch that arrived at `now_ns`; the prices that changed by it, in order.

        A snapshot of another epoch changes nothing until it is complete; then it replaces
        every price, and those it lacks are among the changes, HALTED. Raises
        StreamBrokenError when the batch breaks a rule.
        """
        timeline = self._timeline_of(batch)
        self.transit_ns = timeline.observe(clock_id=batch.clock_id, sent_mono_ns=batch.sent_monotonic_ns, now_ns=now_ns)
        self.skipped += batch.skipped
        wall_to_mono_ns = batch.sent_monotonic_ns - unstamp(batch.sent_time)
        if not batch.snapshot:
            if self._opening:
                raise StreamBrokenError("a change came before the snapshot was complete")
            return self._changes(batch, wall_to_mono_ns)
        if not self._opening:
            raise StreamBrokenError("a second snapshot came")
        if batch.epoch == self.epoch:
            if batch.sequence < self.sequence:
                raise StreamBrokenError(f"the snapshot ends at {batch.sequence}, behind {self.sequence}")
            changed = self._merge(batch.prices, wall_to_mono_ns)
        else:
            changed = self._stage(batch, timeline, wall_to_mono_ns)
        if batch.snapshot_complete:
            self._opening = False
            self.sequence = batch.sequence
        return changed

    def aged(self, now_ns: int) -> list[PriceView]:
        """Put into each message the state that it has by now; the prices whose message changed."""
        changed = []
        for asset, view in self._views.items():
            if view.holds(now_ns):
                continue
            state = view.state_at(now_ns)
            if state.value != view.message.state:
                changed.append((asset, view.judged(state)))
        for asset, view in changed:
            self._views[asset] = view
        return [view for _, view in changed]

    def _timeline_of(self, batch: price_pb2.WatchPricesResponse) -> Timeline:
        """The sender's timeline: the one we have when the sender is the run we know, else a new one."""
        if not batch.epoch:
            raise StreamBrokenError("a batch came without an epoch")
        if not batch.HasField("sent_time"):
            raise StreamBrokenError("a batch came without the time it was sent")
        if not self._stream_epoch:
            self._stream_epoch = batch.epoch
        elif batch.epoch != self._stream_epoch:
            raise StreamBrokenError("the epoch changed in mid-stream")
        if batch.epoch == self.epoch:
            return self._timeline
        if self._staged_timeline is None:
            self._staged_timeline = Timeline(clock=self._clock, clock_id=self._clock_id)
        return self._staged_timeline

    def _changes(self, batch: price_pb2.WatchPricesResponse, wall_to_mono_ns: int) -> list[PriceView]:
        """Every price is newer than all that came before it in the stream."""
        views = self._views
        timeline = self._timeline
        newest = self.sequence
        changed = []
        for message in batch.prices:
            sequence = message.sequence
            if sequence <= newest:
                raise StreamBrokenError(f"sequence {sequence} came after {newest}")
            newest = sequence
            view = PriceView(message, sequence, timeline, wall_to_mono_ns)
            views[message.asset] = view
            changed.append(view)
        if newest > batch.sequence or batch.sequence < self.sequence:
            raise StreamBrokenError(f"the batch ends at {batch.sequence}, behind {newest}")
        self._bounded(views)
        self.sequence = batch.sequence
        return changed

    def _merge(self, messages: Iterable[price_pb2.Price], wall_to_mono_ns: int) -> list[PriceView]:
        """A snapshot of the run we know: what is newer replaces what we have."""
        changed = []
        for message in messages:
            known = self._views.get(message.asset)
            if known is None or message.sequence > known.sequence:
                view = PriceView(message, message.sequence, self._timeline, wall_to_mono_ns)
                self._views[message.asset] = view
                changed.append(view)
        self._bounded(self._views)
        return changed

    def _stage(self, batch: price_pb2.WatchPricesResponse, timeline: Timeline, wall_to_mono_ns: int) -> list[PriceView]:
        """A snapshot of another run: kept aside until it is whole."""
        for message in batch.prices:
            self._staged[message.asset] = PriceView(message, message.sequence, timeline, wall_to_mono_ns)
        self._bounded(self._staged)
        if not batch.snapshot_complete:
            return []
        gone = [view.judged(State.HALTED) for asset, view in self._views.items() if asset not in self._staged]
        self._views.clear()
        self._views.update(self._staged)
        self._timeline = timeline
        self._staged = {}
        self._staged_timeline = None
        self.epoch = batch.epoch
        self.replacements += 1
        return [*gone, *self._views.values()]

    def _bounded(self, views: Mapping[str, PriceView]) -> None:
        if len(views) > ASSETS_MAX:
            raise StreamBrokenError(f"more than {ASSETS_MAX} assets came")
