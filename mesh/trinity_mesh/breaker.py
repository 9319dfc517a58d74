"""A circuit breaker for one backend: closed, open, half-open. No sockets; time is an argument.

A backend that failed several times in a row is left alone for a while. Then a few calls try it, and the first
that is answered closes the circuit again; one that fails opens it for twice as long, up to a bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When a backend is left alone. Raises ValueError for a setting out of its bounds."""

    failures: int = 5
    """Failures in a row that open the circuit."""
    open_ms: int = 500
    """How long it stays open the first time; twice as long each time that a trial fails."""
    open_ms_max: int = 5_000
    """How long it stays open at most."""
    probes_max: int = 1
    """Calls that may try a half-open circuit at once."""

    def __post_init__(self) -> None:
        if self.failures < 1 or self.probes_max < 1 or not 1 <= self.open_ms <= self.open_ms_max:
            raise ValueError("failures and probes_max must be 1 or more, and 1 <= open_ms <= open_ms_max")


class Circuit(Enum):
    """Where a breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Breaker:
    """The circuit to one backend."""

    __slots__ = ("_failures", "_open_ms", "_probes", "_settings", "_until_ns", "circuit", "opened")

    def __init__(self, settings: BreakerSettings) -> None:
        self._settings = settings
        self._failures = 0
        self._open_ms = settings.open_ms
        self._probes = 0
        self._until_ns = 0
        self.circuit = Circuit.CLOSED
        """Where it stands."""
        self.opened = 0
        """How often it opened."""

    def allows(self, now_ns: int) -> bool:
        """Whether a call may go there now. Asking changes nothing."""
        if self.circuit is Circuit.CLOSED:
            return True
        if self.circuit is Circuit.OPEN:
            return now_ns >= self._until_ns
        return self._probes < self._settings.probes_max

    def began(self, now_ns: int) -> bool:
        """A call goes there; True when it is a trial, whose end must be told by one of the methods below."""
        if self.circuit is Circuit.CLOSED:
            return False
        if self.circuit is Circuit.OPEN:
            if now_ns < self._until_ns:
                return False
            self.circuit, self._probes = Circuit.HALF_OPEN, 0
        self._probes += 1
        return True

    def succeeded(self, *, trial: bool) -> None:
        """A call was answered."""
        self._failures = 0
        if trial or self.circuit is Circuit.HALF_OPEN:
            self.circuit, self._open_ms, self._probes = Circuit.CLOSED, self._settings.open_ms, 0

    def failed(self, now_ns: int, *, trial: bool) -> None:
        """A call failed, and the backend is at fault."""
        if trial and self.circuit is Circuit.HALF_OPEN:
            self._open_ms = min(self._settings.open_ms_max, self._open_ms * 2)
            self._open(now_ns)
            return
        self._failures += 1
        if self.circuit is Circuit.CLOSED and self._failures >= self._settings.failures:
            self._open(now_ns)

    def given_up(self, *, trial: bool) -> None:
        """A call ended without telling anything: its caller went away."""
        if trial and self.circuit is Circuit.HALF_OPEN and self._probes:
            self._probes -= 1

    def left_ms(self, now_ns: int) -> int:
        """Until a call may try it, milliseconds."""
        return max(0, -((now_ns - self._until_ns) // 1_000_000)) if self.circuit is Circuit.OPEN else 0

    def _open(self, now_ns: int) -> None:
        self.circuit, self._failures, self._probes = Circuit.OPEN, 0, 0
        self._until_ns = now_ns + self._open_ms * 1_000_000
        self.opened += 1
