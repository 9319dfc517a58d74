"""Newest tick of every asset and venue, spread to every stream as ready-made bytes.

A tick is turned into its `Tick` submessage (tag, length, bytes) at most once, when the
first stream takes it, and shared by all. A batch is the join of such pieces and a short
tail: a protobuf message is the concatenation of its fields (protobuf.dev, "encoding"),
so the bytes read exactly like a StreamTicksResponse built field by field. A tick that is
replaced before anybody took it is never serialised. A slow stream finds fewer, newer
ticks, and holds at most one an asset and venue.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from trinity.feed.v1 import feed_pb2
from trinity_core.assets import AssetTable
from trinity_core.errors import Reason, TrinityError
from trinity_core.ticks import Liveness, Tick
from trinity_core.venues import Venue
from trinity_mesh.clock import Clock
from trinity_mesh.fanout import Fanout, Subscription
from trinity_mesh.telemetry import tracing
from trinity_mesh.wire import liveness_to_message, tick_to_message

_NS: Final = 1_000_000_000
_MS: Final = 1_000_000
_TICKS: Final = b"\x0a"
"""Tag of StreamTicksResponse.ticks: field 1, length-delimited."""
_SIGN_NS: Final = 100 * _MS
"""A sign of life that is newer by less may wait while there are ticks: nobody looks at it more often."""
_LIVENESS: Final = b"\x12"
"""Tag of StreamTicksResponse.liveness: field 2, length-delimited."""
_SENT: Final = b"\x18"
"""Tag of StreamTicksResponse.sent_monotonic_ns: field 3, varint."""

_TRACEPARENT: Final = b"\x42"
"""Tag of StreamTicksResponse.traceparent: field 8, length-delimited."""

_SNAPSHOT: Final = b"\x38\x01"
"""StreamTicksResponse.snapshot, true: field 7, varint."""

Key = tuple[Venue, str]
"""Venue and asset; the asset is empty for a change of the venue's connection."""


class Piece:
    """One tick and, once a stream took it, the bytes of its field in a batch."""

    __slots__ = ("_bytes", "tick")

    def __init__(self, tick: Tick) -> None:
        self.tick = tick
        self._bytes: bytes | None = None

    def field_bytes(self) -> bytes:
        """The field `ticks` of a batch that holds the tick, made once."""
        if self._bytes is None:
            self._bytes = _field(_TICKS, tick_to_message(self.tick).SerializeToString())
        return self._bytes


class TracedPiece(Piece):
    """A piece whose way is traced."""

    __slots__ = ("trace",)

    def __init__(self, tick: Tick, trace: str) -> None:
        super().__init__(tick)
        self.trace = trace
        """W3C traceparent."""


class Pulse:
    """Sign of life of one venue: written by its connection, read by every stream."""

    __slots__ = ("alive_mono_ns", "changes", "connected")

    def __init__(self) -> None:
        self.alive_mono_ns = 0
        """Monotonic time of the newest frame of any kind, nanoseconds; 0 before the first."""
        self.connected = False
        """The connection stands and is subscribed."""
        self.changes = 0
        """How often `connected` changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What every stream of one hub shares."""

    clock: Clock
    fanout: Fanout[Key, Piece | None]
    worker: str
    tail: bytes
    """Serialised fields that are the same in every batch: clock id, worker, sandbox."""
    flush_ns: int
    """Least time between two batches of one stream."""
    idle_ns: int
    """Time without news after which a heartbeat leaves."""


class Hub:
    """Takes ticks and signs of life from the connections and spreads them; one a worker."""

    def __init__(
        self,
        *,
        clock: Clock,
        clock_id: str,
        worker: str,
        sandbox: bool,
        venues: Collection[Venue],
        assets: AssetTable,
        flush_ms: float,
        heartbeat_ms: int,
        streams_max: int,
    ) -> None:
        """`flush_ms` is the least time between two batches of one stream, `heartbeat_ms` the most."""
        self.venues = tuple(sorted(venues))
        self._latest: dict[Key, Piece] = {}
        self._pulses: Mapping[Venue, Pulse] = {venue: Pulse() for venue in self.venues}
        self._keys: Mapping[Venue, frozenset[Key]] = {
            venue: frozenset([(venue, ""), *((venue, asset) for asset, _ in assets.symbols(venue).values())])
            for venue in self.venues
        }
        self._fanout: Fanout[Key, Piece | None] = Fanout(subscriptions_max=streams_max)
        constant = feed_pb2.StreamTicksResponse(clock_id=clock_id, worker=worker, sandbox=sandbox)
        self._terms = Terms(
            clock=clock,
            fanout=self._fanout,
            worker=worker,
            tail=constant.SerializeToString(),
            flush_ns=round(flush_ms * _MS),
            # A quarter of the bound is left to the scheduler and the network.
            idle_ns=heartbeat_ms * _MS * 3 // 4,
        )
        self._closed = False

    @property
    def streams(self) -> int:
        """Streams that are open."""
        return len(self._fanout)

    @property
    def refused(self) -> int:
        """Streams that were one too many."""
        return self._fanout.refused

    def publish(self, ticks: Sequence[Tick]) -> None:
        """Take ticks in the order of receipt; each replaces the one before it of its asset and venue."""
        latest = self._latest
        pieces = []
        trace = tracing.sampled_root("tick", {"venue": ticks[0].venue}) if tracing.on and ticks else ""
        for tick in ticks:
            key, piece = (tick.venue, tick.asset), TracedPiece(tick, trace) if trace else Piece(tick)
            # Taken out first, so that the order of the dictionary stays the order of receipt.
            latest.pop(key, None)
            latest[key] = piece
            pieces.append((key, piece))
        self._fanout.publish(pieces)

    def alive(self, venue: Venue, mono_ns: int) -> None:
        """A frame of any kind came from the venue at `mono_ns`; told with the next batch."""
        self._pulses[venue].alive_mono_ns = mono_ns

    def connected(self, venue: Venue, *, connected: bool) -> None:
        """The venue's connection stands and is subscribed, or it ended; a change is told at once."""
        pulse = self._pulses[venue]
        if pulse.connected is not connected:
            pulse.connected = connected
            pulse.changes += 1
            self._fanout.publish([((venue, ""), None)])

    def stream(self, venues: Collection[Venue]) -> TickStream:
        """A new stream of these venues, snapshot first; `close` it when its reader is gone.

        Raises TrinityError TOO_MANY_STREAMS when there are as many as the worker takes,
        STOPPING when it is stopping.
        """
        if self._closed:
            raise _stopping()
        wanted = [venue for venue in self.venues if venue in venues]
        subscription = self._fanout.subscribe(
            keys=frozenset[Key]().union(*(self._keys[venue] for venue in wanted)), initial=self._latest.items()
        )
        pulses = {venue: self._pulses[venue] for venue in wanted}
        return TickStream(terms=self._terms, subscription=subscription, pulses=pulses)

    def close(self) -> None:
        """End every stream, and let none open."""
        self._closed = True
        self._fanout.close()


class TickStream:
    """One caller's stream of batches."""

    def __init__(
        self, *, terms: Terms, subscription: Subscription[Key, Piece | None], pulses: Mapping[Venue, Pulse]
    ) -> None:
        self._terms = terms
        self._subscription = subscription
        self._pulses = pulses
        self._told: dict[Venue, tuple[int, int]] = {}
        self._sent_ns: int | None = None

    async def next(self) -> bytes:
        """The next batch as a serialised StreamTicksResponse, once it is due.

        The first is the snapshot and comes at once. Later ones leave as soon as there is
        news and `flush_ms` have passed since the one before; without news, as heartbeats.
        Raises TrinityError STOPPING when the worker stops.
        """
        terms, clock = self._terms, self._terms.clock
        if self._sent_ns is None:
            return self._batch(clock.monotonic_ns(), snapshot=True)
        idle_ns = self._sent_ns + terms.idle_ns - clock.monotonic_ns()
        if await self._subscription.wait(max(0, idle_ns) / _NS):
            early_ns = self._sent_ns + terms.flush_ns - clock.monotonic_ns()
            if early_ns > 0 and not self._subscription.closed:
                await clock.sleep(early_ns / _NS)
        if self._subscription.closed:
            raise _stopping()
        return self._batch(clock.monotonic_ns(), snapshot=False)

    def close(self) -> None:
        """Forget the stream; harmless when done twice."""
        self._terms.fanout.unsubscribe(self._subscription)

    def _batch(self, now_ns: int, *, snapshot: bool) -> bytes:
        self._sent_ns = now_ns
        pieces, _ = self._subscription.take()
        parts = [piece.field_bytes() for piece in pieces if piece is not None]
        for venue, pulse in self._pulses.items():
            alive_ns, changes = self._told.get(venue, (0, -1))
            newer_ns = pulse.alive_mono_ns - alive_ns
            if snapshot or changes != pulse.changes or newer_ns >= _SIGN_NS or (newer_ns and not pieces):
                self._told[venue] = pulse.alive_mono_ns, pulse.changes
                liveness = Liveness(venue, self._terms.worker, pulse.alive_mono_ns, pulse.connected)
                parts.append(_field(_LIVENESS, liveness_to_message(liveness).SerializeToString()))
        if tracing.on:
            traces = [piece.trace for piece in pieces if isinstance(piece, TracedPiece)]
            if traces and not snapshot:
                parts.append(_field(_TRACEPARENT, traces[-1].encode("ascii")))
        parts += (_SENT, _varint(now_ns), self._terms.tail)
        if snapshot:
            parts.append(_SNAPSHOT)
        return b"".join(parts)


def _field(tag: bytes, body: bytes) -> bytes:
    """A length-delimited field."""
    return b"".join((tag, _varint(len(body)), body))


def _varint(value: int) -> bytes:
    """A number from 0 to 2**63 - 1, seven bits a byte, lowest first."""
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _stopping() -> TrinityError:
    return TrinityError(
        Reason.STOPPING, "this feed worker is stopping; connect to another or try again", retry_after_ms=1_000
    )
