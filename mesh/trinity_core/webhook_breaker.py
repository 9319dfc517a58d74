"""A circuit breaker for one endpoint: after failures in a row it is left alone, then asked with one probe. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from trinity_core.webhook_rules import MS


class Circuit(IntEnum):
    """Whether an endpoint is called; numbers as in trinity.webhook.v1.Circuit."""

    CLOSED = 1
    """It is."""
    OPEN = 2
    """It is left alone until the pause is over."""
    HALF_OPEN = 3
    """One probe is under way, or may be."""


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When a breaker opens and for how long."""

    failures: int = 5
    """Failures in a row that open it."""
    first_ms: int = 1_000
    """First pause; each probe that fails doubles it."""
    cap_ms: int = 60_000
    """Longest pause."""


class EndpointBreaker:
    """Ask `may_call` before an attempt; tell `succeeded`, `failed` or `gave_up` after it.

    Time is nanoseconds of one clock that does not go back.
    """

    def __init__(self, settings: BreakerSettings) -> None:
        self._settings = settings
        self._failures = 0
        self._pause_ms = settings.first_ms
        self._until_ns: int | None = None
        self._probing = False

    def circuit(self, now_ns: int) -> Circuit:
        """How it stands."""
        if self._until_ns is None:
            return Circuit.CLOSED
        return Circuit.OPEN if now_ns < self._until_ns else Circuit.HALF_OPEN

    def due_ns(self) -> int | None:
        """When a probe may be made; None while the circuit is closed."""
        return self._until_ns

    def may_call(self, now_ns: int) -> bool:
        """Whether an attempt may be made now. When the circuit is half open, True is said to one probe."""
        circuit = self.circuit(now_ns)
        if circuit is Circuit.HALF_OPEN and not self._probing:
            self._probing = True
            return True
        return circuit is Circuit.CLOSED

    def succeeded(self) -> None:
        """An attempt was answered well: the circuit is closed."""
        self._failures = 0
        self._pause_ms = self._settings.first_ms
        self._until_ns = None
        self._probing = False

    def failed(self, now_ns: int, *, began_ns: int) -> None:
        """An attempt failed."""
        self._failures += 1
        if self._until_ns is not None:
            if began_ns < self._until_ns:
                return  # it was under way when the circuit opened, and tells nothing new
            self._pause_ms = min(2 * self._pause_ms, self._settings.cap_ms)
        elif self._failures < self._settings.failures:
            return
        self._probing = False
        self._until_ns = now_ns + self._pause_ms * MS

    def gave_up(self, *, began_ns: int) -> None:
        """An attempt was not made, or ended without telling anything of the endpoint: the next may be the probe."""
        if self._until_ns is not None and began_ns >= self._until_ns:
            self._probing = False
