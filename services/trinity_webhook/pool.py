"""Connections that wait for their next request: by endpoint, bounded in number, idle time and age."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Final

from trinity_mesh.clock import Clock
from trinity_webhook.exchange import Connection
from trinity_webhook.sender_config import SenderConfig

_MS: Final = 10**6
_S: Final = 10**9
_SWEEP_S: Final = 1.0

Place = tuple[str, str, int, bool]
"""Endpoint, host, port, TLS: what a connection may be used again for."""


@dataclass(slots=True)
class Pooled:
    """A connection with what the pool knows of it."""

    connection: Connection
    place: Place
    opened_ns: int
    idle_until_ns: int = 0


class Pool:
    """Idle connections. The newest is used first, so that those that are too many grow old and go."""

    def __init__(self, config: SenderConfig, *, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._idle: OrderedDict[int, Pooled] = OrderedDict()
        self._places: dict[Place, deque[Pooled]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._idle)

    def take(self, place: Place) -> Pooled | None:
        """A connection that may take a request; it is the caller's until `give`. None: open one."""
        waiting = self._places.get(place)
        if not waiting:
            return None
        now_ns = self._clock.monotonic_ns()
        while waiting:
            found = waiting[-1]
            self._remove(found)
            if self._is_usable(found, now_ns):
                return found
            found.connection.close()
        return None

    def give(self, pooled: Pooled, keep_s: int | None) -> None:
        """Keep a connection for its next request; `keep_s` is for how long its server says it keeps it."""
        now_ns = self._clock.monotonic_ns()
        idle_ns = self._config.idle_ms * _MS
        if keep_s is not None:
            # A second less: its clock began earlier than ours.
            idle_ns = min(idle_ns, (keep_s - 1) * _S)
        pooled.idle_until_ns = now_ns + idle_ns
        if not self._is_usable(pooled, now_ns):
            pooled.connection.close()
            return
        self._idle[id(pooled)] = pooled
        waiting = self._places.setdefault(pooled.place, deque())
        waiting.append(pooled)
        if len(waiting) > self._config.idle_per_endpoint_max:
            self._drop(waiting[0])
        if len(self._idle) > self._config.idle_max:
            self._drop(next(iter(self._idle.values())))
        if self._timer is None and self._idle:
            self._timer = asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep)

    def forget(self, endpoint: str) -> None:
        """Close the connections of an endpoint."""
        for place in [place for place in self._places if place[0] == endpoint]:
            for pooled in [*self._places[place]]:
                self._drop(pooled)

    def clear(self) -> None:
        """Close all at once."""
        for pooled in [*self._idle.values()]:
            self._remove(pooled)
            pooled.connection.abort()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _is_usable(self, pooled: Pooled, now_ns: int) -> bool:
        young = now_ns < pooled.opened_ns + self._config.age_ms_max * _MS
        return young and now_ns < pooled.idle_until_ns and pooled.connection.is_open

    def _drop(self, pooled: Pooled) -> None:
        self._remove(pooled)
        pooled.connection.close()

    def _remove(self, pooled: Pooled) -> None:
        del self._idle[id(pooled)]
        waiting = self._places[pooled.place]
        waiting.remove(pooled)
        if not waiting:
            del self._places[pooled.place]

    def _sweep(self) -> None:
        self._timer = None
        now_ns = self._clock.monotonic_ns()
        for pooled in [each for each in self._idle.values() if not self._is_usable(each, now_ns)]:
            self._drop(pooled)
        if self._idle:
            self._timer = asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep)
