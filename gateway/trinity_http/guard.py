"""Bounds on what a connection may do to the server: how many, how slow, how large.

uvicorn by itself waits for ever for a request that never ends. Here one sweep, a few times
a second, looks at every connection's deadline; a connection's own work is to write a
number down as it goes from state to state, which costs a request next to nothing.
"""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Final, Protocol

from trinity_admission.networks import Networks
from trinity_core.errors import Reason, TrinityError
from trinity_http.settings import HttpLimits
from trinity_mesh.clock import Clock

SWEEP_S: Final = 0.25
"""Time between two sweeps; a deadline is kept to within it."""

ENDED_AT_ONCE: Final = 32
"""Connections ended in one go: thousands that are late together must not make good ones wait."""

BREATH_S: Final = 0.005
"""Time for others between two such goes."""

NEVER: Final = 1 << 62
"""A deadline that does not come, nanoseconds."""


class Guarded(Protocol):
    """A connection under guard."""

    @property
    def due_ns(self) -> int:
        """When its present state ends; NEVER where it may last. The guard's clock."""
        ...

    def overdue(self) -> None:
        """Answer with an error where that is still possible, and close."""
        ...


class ConnectionGuard:
    """Counts the connections of one server and ends those that are overdue."""

    def __init__(self, limits: HttpLimits, *, clock: Clock, proxies: Networks | None = None) -> None:
        """`proxies` are balancers, whose connections are many clients': no bound for one address is theirs."""
        self.limits = limits
        self._proxies = proxies
        self.refused = 0
        """Connections that were one too many."""
        self.overdue = 0
        """Connections ended because they kept the server waiting."""
        self.malformed = 0
        """Requests that were no HTTP."""
        self.draining = False
        """The server is about to stop: every answer is the last of its connection."""
        self.now_ns = clock.monotonic_ns
        """The clock of deadlines."""
        self._clock = clock
        self._open: set[Guarded] = set()
        self._by_address: Counter[str] = Counter()

    @property
    def connections(self) -> int:
        """Connections open now."""
        return len(self._open)

    def enter(self, connection: Guarded, address: str) -> TrinityError | None:
        """Take note of a new connection; the error to answer with when it is one too many.

        `address` is the client's, "" where there is none (a Unix socket). Every connection
        that entered, refused or not, must `leave`.
        """
        self._open.add(connection)
        address = self._bounded(address)
        if address:
            self._by_address[address] += 1
        if len(self._open) > self.limits.connections_max:
            self.refused += 1
            return _too_many("this server has as many connections as it takes; try again")
        most = self.limits.connections_per_address_max
        if most and address and self._by_address[address] > most:
            self.refused += 1
            return _too_many(f"more than {most} connections from one address; use fewer, for longer")
        return None

    def leave(self, connection: Guarded, address: str) -> None:
        """Forget a connection."""
        self._open.discard(connection)
        address = self._bounded(address)
        if address:
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]

    def _bounded(self, address: str) -> str:
        """The address whose connections are counted; empty for a proxy's."""
        return "" if self._proxies is not None and self._proxies.hold(address) else address

    def after(self, wait_ms: int) -> int:
        """The time `wait_ms` from now, for a connection's deadline."""
        return self._clock.monotonic_ns() + wait_ms * 1_000_000

    def sweep(self) -> bool:
        """End connections whose deadline has passed, a few at most; whether there are more."""
        now = self._clock.monotonic_ns()
        late = (connection for connection in self._open if connection.due_ns <= now)
        few = tuple(itertools.islice(late, ENDED_AT_ONCE))
        for connection in few:
            self.overdue += 1
            connection.overdue()
        return len(few) == ENDED_AT_ONCE

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            await self._clock.sleep(BREATH_S if self.sweep() else SWEEP_S)


def _too_many(text: str) -> TrinityError:
    return TrinityError(Reason.TOO_MANY_CONNECTIONS, text, retry_after_ms=1_000)
