"""gRPC calls of one process, counted by the names of gRFC A66.

Method labels come from contracts, never from callers: a server counts the methods that it has, and
whatever else it is asked for is "other". What is counted is a few additions a call.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import grpc

from trinity_mesh.clock import SystemClock
from trinity_mesh.telemetry import catalogue
from trinity_mesh.telemetry.metrics import LATENCY_BOUNDS, SIZE_BOUNDS, Histogram, Metric, Sample

OTHER: Final = "other"
"""Method of calls for what a server does not have."""
_TARGETS_MAX: Final = 256
"""Pairs of method and target that a client counts apart; further ones count as OTHER."""


class Ended:
    """Calls of one kind that ended with one status."""

    __slots__ = ("duration", "received", "sent")

    def __init__(self) -> None:
        self.duration = Histogram(LATENCY_BOUNDS)
        self.sent = Histogram(SIZE_BOUNDS)
        self.received = Histogram(SIZE_BOUNDS)


class Calls:
    """Calls of one kind: of one method, and for a client to one target."""

    __slots__ = ("_ended", "labels", "now_ns", "started")

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.labels = labels
        self.started = 0
        self.now_ns = SystemClock.monotonic_ns
        self._ended: dict[str, Ended] = {}

    def end(self, status: str, began_ns: int, sent: int = -1, received: int = -1) -> None:
        """Count a call that ended, with the bytes of its messages where they are known."""
        ended = self._ended.get(status)
        if ended is None:
            ended = self._ended[status] = Ended()
        ended.duration.add((self.now_ns() - began_ns) / 1e9)
        if sent >= 0:
            ended.sent.add(sent)
        if received >= 0:
            ended.received.add(received)

    def samples(
        self, started: Metric | None, duration: Metric, sent: Metric | None = None, received: Metric | None = None
    ) -> Iterator[Sample]:
        """What was counted, as these metrics."""
        if started is not None:
            yield Sample(started, self.labels, self.started)
        for status, ended in self._ended.items():
            labels = (*self.labels, status)
            yield Sample(duration, labels, ended.duration)
            if sent is not None and ended.sent.count:
                yield Sample(sent, labels, ended.sent)
            if received is not None and ended.received.count:
                yield Sample(received, labels, ended.received)


class CallCounts:
    """All calls of one process, as a server and as a client."""

    def __init__(self) -> None:
        self._served: dict[str, Calls] = {}
        self._attempts: dict[tuple[str, str], Calls] = {}
        self._called: dict[tuple[str, str], Calls] = {}

    def served(self, method: str) -> Calls:
        """Where to count calls of a method of this server's: "trinity.price.v1.PriceService/GetPrice", or OTHER."""
        return self._served.setdefault(method, Calls((method,)))

    def attempts(self, method: str, target: str) -> Calls:
        """Where to count attempts to call a method of a target's."""
        return _kept(self._attempts, method, target)

    def called(self, method: str, target: str) -> Calls:
        """Where to count calls of a method of a target's, however many attempts each takes."""
        return _kept(self._called, method, target)

    def samples(self) -> Iterator[Sample]:
        """Everything counted so far."""
        for calls in tuple(self._served.values()):
            yield from calls.samples(
                catalogue.SERVER_STARTED, catalogue.SERVER_DURATION, catalogue.SERVER_SENT, catalogue.SERVER_RECEIVED
            )
        for calls in tuple(self._attempts.values()):
            yield from calls.samples(
                catalogue.ATTEMPT_STARTED,
                catalogue.ATTEMPT_DURATION,
                catalogue.ATTEMPT_SENT,
                catalogue.ATTEMPT_RECEIVED,
            )
        for calls in tuple(self._called.values()):
            yield from calls.samples(None, catalogue.CALL_DURATION)


@cache
def process_calls() -> CallCounts:
    """Those of this process; read by `process_readings`."""
    from trinity_mesh.telemetry.readings import process_readings

    counts = CallCounts()
    process_readings().add(counts.samples)
    return counts


def method_of(path: str | bytes) -> str:
    """A method's name as A66 has it, of its path "/package.Service/Method"."""
    text = path.decode("ascii", "replace") if isinstance(path, bytes) else path
    return text.removeprefix("/")


def size_of(message: Any) -> int:
    """Bytes of a message; -1 where that is not known (a stream of requests)."""
    if type(message) is bytes:
        return len(message)
    size = getattr(message, "ByteSize", None)
    return -1 if size is None else int(size())


def status_of(code: Any) -> str:
    """The name of a status: of grpc.StatusCode, or of its number."""
    if isinstance(code, grpc.StatusCode):
        return code.name
    return _NAMES.get(code or 0, "UNKNOWN")


_NAMES: Final = {code.value[0]: code.name for code in grpc.StatusCode}


def _kept(kept: dict[tuple[str, str], Calls], method: str, target: str) -> Calls:
    calls = kept.get((method, target))
    if calls is None:
        if len(kept) >= _TARGETS_MAX:
            method, target = OTHER, OTHER
        calls = kept.setdefault((method, target), Calls((method, target)))
    return calls
