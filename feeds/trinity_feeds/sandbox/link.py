"""One open connection: the session's frames on their way to the socket, bent by the faults that hold."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from websockets.asyncio.server import ServerConnection
from websockets.protocol import State

from trinity_feeds.sandbox.board import Active, FaultBoard
from trinity_feeds.sandbox.faults import Kind
from trinity_feeds.sandbox.garbage import garbage
from trinity_feeds.sandbox.quotes import Quote
from trinity_feeds.sandbox.stamps import SECOND, Moment
from trinity_feeds.sandbox.venue import Close, Frame, SandboxVenue, Session

_LATE_MAX = 50_000
"""Frames that a slow venue holds back for one connection; beyond that the connection is cut."""


@dataclass(slots=True)
class Counts:
    """What one venue's server did since it started."""

    connections: int = 0
    refused: int = 0
    """Connection attempts refused, for whatever reason."""
    messages: int = 0
    """Messages received."""
    frames: int = 0
    """Frames sent, heartbeats and replies included."""
    data_frames: int = 0
    bytes: int = 0
    """Payload bytes sent."""
    rest: int = 0
    """REST calls answered."""
    cut_slow: int = 0
    """Connections cut because their reader let too much wait."""


class Link:
    """One connection and its session."""

    def __init__(
        self,
        *,
        connection: ServerConnection,
        session: Session,
        venue: SandboxVenue,
        counts: Counts,
    ) -> None:
        self.session = session
        self._connection = connection
        self._venue = venue
        self._faults: FaultBoard = venue.faults
        self._counts = counts
        self._buffer_max = venue.settings.buffer_bytes_max
        self._muted = False
        self._closing: asyncio.Task[None] | None = None
        self._over = False
        self._lose: list[tuple[Active, int]] = []
        """Gaps that have begun, with the data frames still to lose."""
        self._held: dict[str, Frame] = {}
        """The older frame of an asset, waiting to be overtaken."""
        self._late: deque[tuple[int, Frame]] = deque()
        """Frames that a slow venue sends later, with their time."""
        self._garbage: dict[int, tuple[int, int]] = {}
        """When each garbage fault sends next, and its turn."""

    def receive(self, text: str | bytes, now: Moment) -> None:
        """Hand the session what the client sent."""
        self._counts.messages += 1
        self.session.heard_ns = now.mono_ns
        self.session.received(text, now)
        self.flush(now)

    def step(self, quotes: Sequence[Quote], begun: Sequence[Active], now: Moment) -> None:
        """Time passed: what changed, what went wrong, what is due."""
        if self._over:
            return
        for active in begun:
            self._begin(active, now)
        silent = self._faults.silent(self._venue.venue)
        if silent != self._muted:
            self._mute(silent)
        if silent:
            if self.session.end is not None:
                self._finish(self.session.end)
            return
        if quotes:
            self.session.offer(quotes, now)
        self.session.poll(now)
        self.flush(now)

    def flush(self, now: Moment) -> None:
        """Send what the session left, as the faults let it pass."""
        if self._over:
            return
        session = self.session
        frames = session.out
        if frames:
            session.out = []
            session.sent_ns = now.mono_ns
        active = self._faults.at(self._venue.venue)
        if active or self._held or self._late or self._lose:
            frames = self._pass(frames, active, now)
        if frames or session.ping_due:
            self._write(frames)
        if session.end is not None:
            self._finish(session.end)

    def abort(self) -> None:
        """End the socket at once."""
        self._over = True
        self._connection.transport.abort()

    def _begin(self, active: Active, now: Moment) -> None:
        fault = active.fault
        match fault.fault:
            case Kind.DISCONNECT:
                self.session.close(fault.code)
            case Kind.CUT:
                self.session.close(None)
            case Kind.GAP:
                self._lose.append((active, fault.count))
            case Kind.MAINTENANCE:
                self.session.maintenance(active, now)
            case Kind.GARBAGE:
                self._garbage[active.number] = (now.mono_ns, 0)
            case _:
                pass

    def _mute(self, muted: bool) -> None:
        """A silent venue does not even answer protocol pings: nothing is read any more."""
        self._muted = muted
        if muted:
            self._connection.transport.pause_reading()
        else:
            self._connection.transport.resume_reading()

    def _pass(self, frames: Sequence[Frame], active: Sequence[Active], now: Moment) -> list[Frame]:
        kept = [frame for frame in frames if not (frame.asset and self._lost(frame))]
        kept = self._swapped(kept, [each for each in active if each.fault.fault is Kind.OUT_OF_ORDER])
        twice = [each for each in active if each.fault.fault is Kind.DUPLICATE]
        if twice:
            kept = [
                frame
                for once in kept
                for frame in [once] * (2 if once.asset and any(each.concerns(once.asset) for each in twice) else 1)
            ]
        for each in active:
            if each.fault.fault is Kind.GARBAGE:
                due_ns, turn = self._garbage.get(each.number, (now.mono_ns, 0))
                if due_ns <= now.mono_ns:
                    kept.append(garbage(each.fault, turn))
                    self._garbage[each.number] = (now.mono_ns + int(each.fault.every_s * SECOND), turn + 1)
        return self._delayed(kept, now)

    def _lost(self, frame: Frame) -> bool:
        for index, (active, left) in enumerate(self._lose):
            if active.concerns(frame.asset):
                self._lose[index : index + 1] = [(active, left - 1)] if left > 1 else []
                return True
        return False

    def _swapped(self, frames: list[Frame], active: Sequence[Active]) -> list[Frame]:
        if not active:
            released, self._held = list(self._held.values()), {}
            return [*released, *frames]
        swapped = []
        for frame in frames:
            if not frame.asset or not any(each.concerns(frame.asset) for each in active):
                swapped.append(frame)
            elif frame.asset in self._held:
                swapped += [frame, self._held.pop(frame.asset)]
            else:
                self._held[frame.asset] = frame
        return swapped

    def _delayed(self, frames: list[Frame], now: Moment) -> list[Frame]:
        slow = self._faults.find(self._venue.venue, Kind.SLOW)
        if slow is None and not self._late:
            return frames
        due_ns = now.mono_ns + (0 if slow is None else int(slow.fault.delay_s * SECOND))
        self._late.extend((due_ns, frame) for frame in frames)
        if len(self._late) > _LATE_MAX:
            self._cut_slow()
            return []
        ready = []
        while self._late and self._late[0][0] <= now.mono_ns:
            ready.append(self._late.popleft()[1])
        return ready

    def _write(self, frames: Sequence[Frame]) -> None:
        protocol, transport = self._connection.protocol, self._connection.transport
        if protocol.state is not State.OPEN:
            return
        if transport.get_write_buffer_size() > self._buffer_max:
            self._cut_slow()
            return
        counts = self._counts
        for frame in frames:
            if frame.binary:
                protocol.send_binary(frame.data)
            else:
                protocol.send_text(frame.data)
            counts.bytes += len(frame.data)
            counts.data_frames += frame.asset != ""
        counts.frames += len(frames)
        if self.session.ping_due:
            self.session.ping_due = False
            protocol.send_ping(b"")
        transport.write(b"".join(protocol.data_to_send()))

    def _cut_slow(self) -> None:
        self._counts.cut_slow += 1
        self.abort()

    def _finish(self, end: Close) -> None:
        if self._muted:
            self._mute(False)
        if end.code is None:
            self.abort()
            return
        self._over = True
        self._closing = asyncio.create_task(self._connection.close(end.code, end.reason))
