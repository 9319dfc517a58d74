"""Asks the price service for what the replica lacks: never one call a datagram.

At most one call an asset is under way and at most one starts every `interval_ms`;
whoever asks meanwhile waits for the next answer. So nothing is cached here and every
answer was judged by the service just now.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from trinity.price.v1 import price_pb2
from trinity_core.errors import Reason, TrinityError
from trinity_mesh.clock import Clock

log = logging.getLogger(__name__)

Outcome = price_pb2.Price | TrinityError
Deliver = Callable[[Outcome], None]


class Lookup(Protocol):
    """One call to the price service."""

    def __call__(self, asset: str, /) -> Awaitable[price_pb2.Price]:
        """The price of an asset (id, upper case). MUST raise TrinityError where there is none."""
        ...


class Lookups:
    """Coalesced, bounded look-ups on one event loop."""

    def __init__(
        self, *, lookup: Lookup, clock: Clock, timeout_ms: int, interval_ms: int, assets_max: int, waiters_max: int
    ) -> None:
        """`assets_max` bounds the calls under way, `waiters_max` those who wait for one of them."""
        self._lookup = lookup
        self._clock = clock
        self._timeout_s = timeout_ms / 1_000
        self._interval_ns = interval_ms * 1_000_000
        self._assets_max = assets_max
        self._waiters_max = waiters_max
        self._waiting: dict[str, list[Deliver]] = {}
        self._asked_ns: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, asset: str, deliver: Deliver) -> bool:
        """Have `deliver` called with the outcome, later; False when too many wait already.

        `asset` MUST be one of a finite set: the time of its last call is kept.
        """
        waiting = self._waiting.get(asset)
        if waiting is None:
            if len(self._waiting) >= self._assets_max:
                return False
            self._waiting[asset] = [deliver]
            task = asyncio.get_running_loop().create_task(self._ask(asset))
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

    async def _ask(self, asset: str) -> None:
        wait_ns = self._asked_ns.get(asset, -self._interval_ns) + self._interval_ns - self._clock.monotonic_ns()
        if asset in self._asked_ns and wait_ns > 0:
            await self._clock.sleep(wait_ns / 1e9)
        self._asked_ns[asset] = self._clock.monotonic_ns()
        outcome = await self._outcome(asset)
        for deliver in self._waiting.pop(asset, ()):
            deliver(outcome)

    async def _outcome(self, asset: str) -> Outcome:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._lookup(asset)
        except TrinityError as error:
            return error
        except TimeoutError:
            return TrinityError(Reason.DEADLINE_EXCEEDED, "the price service did not answer in time")
        except Exception:
            log.exception("look-up of %s failed", asset)
            return TrinityError(Reason.INTERNAL, "the look-up failed")
