"""Asks a service for what is not at hand: never one call a datagram.

At most one call a subject (an asset, the holder of a key) is under way and at most one starts every
`interval_ms`; whoever asks meanwhile waits for the next answer. Nothing is kept here: who wants to
keep outcomes is told of each by `heard`, before those who wait.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, Protocol, TypeVar

from trinity_core.errors import Reason, TrinityError
from trinity_mesh.clock import Clock

log = logging.getLogger(__name__)

S = TypeVar("S", bound=Hashable)
S_contra = TypeVar("S_contra", contravariant=True)
F = TypeVar("F")
F_co = TypeVar("F_co", covariant=True)

_TURN: Final = 64
"""Answers delivered before other work of the process gets its turn."""


class Lookup(Protocol[S_contra, F_co]):
    """One call to a service."""

    def __call__(self, subject: S_contra, /) -> Awaitable[F_co]:
        """What the service says of a subject. MUST raise TrinityError where it says nothing good."""
        ...


class Lookups(Generic[S, F]):
    """Coalesced, bounded look-ups on one event loop."""

    def __init__(
        self,
        *,
        lookup: Lookup[S, F],
        clock: Clock,
        timeout_ms: int,
        interval_ms: int,
        calls_max: int,
        waiters_max: int,
        heard: Callable[[S, F | TrinityError], None] | None = None,
    ) -> None:
        """`calls_max` bounds the calls under way, `waiters_max` those who wait for one of them."""
        self._lookup = lookup
        self._clock = clock
        self._timeout_s = timeout_ms / 1_000
        self._interval_ns = interval_ms * 1_000_000
        self._calls_max = calls_max
        self._waiters_max = waiters_max
        self._heard = heard
        self._waiting: dict[S, list[Callable[[F | TrinityError], None]]] = {}
        self._asked_ns: dict[S, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, subject: S, deliver: Callable[[F | TrinityError], None]) -> bool:
        """Have `deliver` called with the outcome, later; False when too many wait already.

        With an interval `subject` MUST be one of a finite set: the time of its last call is kept.
        """
        waiting = self._waiting.get(subject)
        if waiting is None:
            if len(self._waiting) >= self._calls_max:
                return False
            self._waiting[subject] = [deliver]
            task = asyncio.get_running_loop().create_task(self._ask(subject))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return True
        if len(waiting) >= self._waiters_max:
            return False
        waiting.append(deliver)
        return True

    async def close(self) -> None:
        """Give up every call under way; nobody who waits is answered."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._waiting.clear()

    async def _ask(self, subject: S) -> None:
        if self._interval_ns:
            await self._due(subject)
        outcome = await self._outcome(subject)
        if self._heard is not None:
            self._heard(subject, outcome)
        for index, deliver in enumerate(self._waiting.pop(subject, ()), 1):
            deliver(outcome)
            if index % _TURN == 0:
                await self._clock.sleep(0)

    async def _due(self, subject: S) -> None:
        """Return when the interval since the last call is over."""
        wait_ns = self._asked_ns.get(subject, -self._interval_ns) + self._interval_ns - self._clock.monotonic_ns()
        if subject in self._asked_ns and wait_ns > 0:
            await self._clock.sleep(wait_ns / 1e9)
        self._asked_ns[subject] = self._clock.monotonic_ns()

    async def _outcome(self, subject: S) -> F | TrinityError:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._lookup(subject)
        except TrinityError as error:
            return error
        except TimeoutError:
            return TrinityError(Reason.DEADLINE_EXCEEDED, "the service did not answer in time")
        except Exception:
            log.exception("look-up of %s failed", subject)
            return TrinityError(Reason.INTERNAL, "the look-up failed")
