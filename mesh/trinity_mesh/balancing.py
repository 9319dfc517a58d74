"""Which backend a call goes to: round robin over those that are well, with a circuit breaker and outlier ejection.

A backend is well while its health service says SERVING, its circuit is closed (or it is time for a trial) and it
is not ejected. Where none is well, those whose health is unknown or bad are tried rather than nobody, as far as
their circuits allow it; where no circuit does, a call is refused at once.

With one backend there is nothing to choose. grpc itself fails calls to one that cannot be reached at once and
comes back when it can; only calls that ran out of time open its circuit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from weakref import WeakSet

import grpc.aio

from trinity_core.errors import Reason, TrinityError
from trinity_mesh.breaker import Breaker, BreakerSettings, Circuit
from trinity_mesh.calling import CallDetails, Method
from trinity_mesh.clock import Clock
from trinity_mesh.ejection import Ejection, EjectionSettings, Record


@dataclass(frozen=True, slots=True)
class BalancingSettings:
    """How backends are judged. Raises ValueError for a setting out of its bounds."""

    timeouts_from_ms: int = 250
    """A call that ran out of time counts against its backend if it had this long or more."""
    breaker: BreakerSettings = field(default_factory=BreakerSettings)
    ejection: EjectionSettings = field(default_factory=EjectionSettings)

    def __post_init__(self) -> None:
        if self.timeouts_from_ms < 1:
            raise ValueError("timeouts_from_ms must be 1 or more")


class BackendState(StrEnum):
    """How a backend is; where several hold, the last of them."""

    HEALTHY = "healthy"
    UNKNOWN = "unknown"
    """Nothing was heard of its health yet; a single backend is not asked for it."""
    UNWELL = "unwell"
    EJECTED = "ejected"
    CIRCUIT_OPEN = "circuit_open"
    """Or half-open: it has not answered since."""


class Backend:
    """One server of a service, and what its calls have shown."""

    __slots__ = ("address", "breaker", "channel", "healthy", "record")

    def __init__(self, address: str, channel: grpc.aio.Channel, settings: BalancingSettings) -> None:
        self.address = address
        self.channel = channel
        self.breaker = Breaker(settings.breaker)
        self.record = Record()
        self.healthy: bool | None = None
        """What its health service says; None while nothing is known."""

    def state(self, now_ns: int) -> BackendState:
        """How it is now."""
        if self.breaker.circuit is not Circuit.CLOSED:
            return BackendState.CIRCUIT_OPEN
        if self.record.ejected(now_ns):
            return BackendState.EJECTED
        if self.healthy is None:
            return BackendState.UNKNOWN
        return BackendState.HEALTHY if self.healthy else BackendState.UNWELL


@dataclass(slots=True)
class Attempt:
    """One call to one backend."""

    backend: Backend
    call: Any
    started_ns: int
    trial: bool
    """Tries a half-open circuit."""
    settled: bool = False


class Stub:
    """One method, as each backend's channel calls it."""

    def __init__(self, method: Method, serializer: Any, deserializer: Any) -> None:
        self.method = method
        self._serializer = serializer
        self._deserializer = deserializer
        self._made: dict[Backend, Any] = {}

    def call(self, backend: Backend, request: Any, details: CallDetails) -> Any:
        """Make a call there."""
        make = self._made.get(backend)
        if make is None:
            maker = getattr(backend.channel, self.method.kind)
            make = self._made[backend] = maker(self.method.path, self._serializer, self._deserializer)
        how: dict[str, Any] = {
            "timeout": details.timeout,
            "metadata": details.metadata,
            "credentials": details.credentials,
            "wait_for_ready": details.wait_for_ready,
            "compression": details.compression,
        }
        return make(**how) if self.method.kind.startswith("stream_") and request is None else make(request, **how)

    def forget(self, backend: Backend) -> None:
        """It is one no more."""
        self._made.pop(backend, None)


class Balancer:
    """Chooses among the backends of one channel, and judges them by how their calls end."""

    def __init__(self, settings: BalancingSettings, *, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._slow_ns = settings.timeouts_from_ms * 1_000_000
        self._ejection = Ejection(settings.ejection, now_ns=clock.monotonic_ns())
        # Weakly: a caller may make a stub for each of its calls.
        self._stubs: WeakSet[Stub] = WeakSet()
        self._next = 0
        self.backends: tuple[Backend, ...] = ()
        """Those that calls go to now."""

    @property
    def ejections(self) -> int:
        """How often a backend was ejected."""
        return self._ejection.ejections

    def replace(self, backends: Iterable[Backend]) -> None:
        """From now on calls go to these."""
        kept = tuple(backends)
        for gone in set(self.backends) - set(kept):
            for stub in self._stubs:
                stub.forget(gone)
        self.backends = kept

    def stub(self, method: Method, serializer: Any, deserializer: Any) -> Stub:
        """A method of the service."""
        stub = Stub(method, serializer, deserializer)
        self._stubs.add(stub)
        return stub

    def pick(self, now_ns: int, avoid: Collection[Backend] = ()) -> Backend:
        """The next backend for a call; one that is not among `avoid` where there is one that is well.

        Raises TrinityError BACKEND_UNAVAILABLE when the circuits of all are open.
        """
        backends = self.backends
        if len(backends) == 1:
            if not backends[0].breaker.allows(now_ns):
                raise self._refusal(now_ns)
            return backends[0]
        if self._ejection.due(now_ns):
            self._ejection.judge((backend.record for backend in backends), now_ns)
        best: Backend | None = None
        best_rank = _NOT_ALLOWED
        count, start = len(backends), self._next
        for step in range(count):
            index = (start + step) % count
            rank = _rank(backends[index], now_ns, avoid)
            if rank < best_rank:
                best, best_rank, self._next = backends[index], rank, index + 1
                if not rank:
                    break
        if best is None:
            raise self._refusal(now_ns)
        return best

    def begin(self, stub: Stub, request: Any, details: CallDetails, avoid: Collection[Backend] = ()) -> Attempt:
        """Make a call with one answer. Raises TrinityError BACKEND_UNAVAILABLE when there is nobody to ask."""
        now_ns = self._clock.monotonic_ns()
        backend = self.pick(now_ns, avoid)
        return Attempt(backend, stub.call(backend, request, details), now_ns, backend.breaker.began(now_ns))

    def succeeded(self, attempt: Attempt) -> None:
        """The backend gave an answer, good or bad."""
        if not attempt.settled:
            attempt.settled = True
            attempt.backend.breaker.succeeded(trial=attempt.trial)
            attempt.backend.record.good += 1

    def failed(self, attempt: Attempt, *, timeout: bool = False) -> None:
        """The backend gave none: it was lost, ran out of time (`timeout`), or was overtaken by another."""
        if attempt.settled:
            return
        now_ns = self._clock.monotonic_ns()
        alone = len(self.backends) == 1
        if (alone and not timeout) or (timeout and now_ns - attempt.started_ns < self._slow_ns):
            self.given_up(attempt)
            return
        attempt.settled = True
        attempt.backend.breaker.failed(now_ns, trial=attempt.trial)
        attempt.backend.record.bad += 1

    def given_up(self, attempt: Attempt) -> None:
        """Nobody waits for the answer any more, which says nothing of the backend."""
        if not attempt.settled:
            attempt.settled = True
            attempt.backend.breaker.given_up(trial=attempt.trial)

    def _refusal(self, now_ns: int) -> TrinityError:
        if not self.backends:
            return TrinityError(Reason.BACKEND_UNAVAILABLE, "the name of the service stands for no address now")
        left_ms = min(backend.breaker.left_ms(now_ns) for backend in self.backends)
        names = ", ".join(backend.address for backend in self.backends)
        return TrinityError(
            Reason.BACKEND_UNAVAILABLE,
            f"the latest calls to {names} were not answered; it is tried again in {left_ms} ms",
            retry_after_ms=max(1, left_ms),
        )


_NOT_ALLOWED = 100
"""Ranks from here on are no choice at all."""

Make = Callable[[str], grpc.aio.Channel]
"""Opens grpc's own channel to one address."""


def _rank(backend: Backend, now_ns: int, avoid: Collection[Backend]) -> int:
    """How bad a choice a backend is; 0 for a good one."""
    if not backend.breaker.allows(now_ns):
        return _NOT_ALLOWED
    rank = 0 if backend.healthy else 1 if backend.healthy is None else 3
    if backend.record.ejected(now_ns):
        rank += 2
    return rank + 10 if backend in avoid else rank
