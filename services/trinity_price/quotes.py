"""Quotes read by REST at a caller's request: which worker is asked, and that a thousand callers cost one quote."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from trinity_core.assets import AssetTable
from trinity_core.errors import Reason, TrinityError
from trinity_core.ticks import Tick
from trinity_core.venues import Venue
from trinity_mesh.clock import Clock
from trinity_mesh.deadline_budget import for_everybody
from trinity_price.feed import Feed, by_reach

_MS: Final = 1_000_000
_NO_USE: Final = frozenset({Reason.UNKNOWN_ASSET, Reason.INVALID_FIELD, Reason.NOT_LISTED})
"""Refusals by one worker that say nothing of the others."""

Key = tuple[str, Venue | None]


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How the last attempt for a key ended, and until when it stands for the next."""

    until_ns: int
    error: TrinityError | None


class Quotes:
    """Fetches a quote, applies it, and remembers for a moment how that went."""

    def __init__(
        self,
        *,
        feeds: Sequence[Feed],
        assets: AssetTable,
        apply: Callable[[Sequence[Tick]], None],
        clock: Clock,
        timeout_ms: int,
        again_after_ms: int,
        remembered_max: int,
    ) -> None:
        """`again_after_ms` is how long an attempt stands for others, be it a success or a failure.

        `timeout_ms` bounds an attempt whatever the deadlines of those who wait for it.
        """
        self._feeds = tuple(feeds)
        self._assets = assets
        self._apply = apply
        self._clock = clock
        self._timeout_s = timeout_ms / 1_000
        self._again_ns = again_after_ms * _MS
        self._remembered_max = remembered_max
        self._under_way: dict[Key, asyncio.Task[TrinityError | None]] = {}
        self._outcomes: dict[Key, _Outcome] = {}
        self.fetched = 0
        """Attempts that gave a quote."""
        self.failed = 0
        self.shared = 0
        """Callers who were served by an attempt that another had begun, or that had just ended."""

    async def refresh(self, asset: str, venue: Venue | None, *, within_s: float) -> None:
        """Return once a quote of the asset (of one venue where given) was read and applied.

        Raises TrinityError: why there is none, with `retry_after_ms`; DEADLINE_EXCEEDED when
        the caller's `within_s` is over first (the attempt goes on for others).
        """
        key = (asset, venue)
        outcome = self._outcomes.get(key)
        if outcome is not None and self._clock.monotonic_ns() < outcome.until_ns:
            self.shared += 1
            if outcome.error is not None:
                raise _again(outcome.error, outcome.until_ns - self._clock.monotonic_ns())
            return
        task = self._under_way.get(key)
        if task is None:
            with for_everybody():
                task = self._under_way[key] = asyncio.create_task(self._attempt(key))
            task.add_done_callback(lambda done: self._under_way.pop(key, None) and None)
        else:
            self.shared += 1
        await self._within(task, within_s)

    async def close(self) -> None:
        """Give up the attempts under way."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _within(self, task: asyncio.Task[TrinityError | None], within_s: float) -> None:
        alarm = asyncio.ensure_future(self._clock.sleep(within_s))
        try:
            await asyncio.wait((task, alarm), return_when=asyncio.FIRST_COMPLETED)
        finally:
            alarm.cancel()
        if not task.done():
            raise TrinityError(Reason.DEADLINE_EXCEEDED, "no venue answered within the call's deadline")
        if task.cancelled():
            raise TrinityError(Reason.STOPPING, "the price service is stopping", retry_after_ms=500)
        error = task.result()
        if error is not None:
            # Each waiting caller gets an error of its own: a traceback grows on what is raised.
            raise _again(error, self._again_ns)

    async def _attempt(self, key: Key) -> TrinityError | None:
        """Fetch and apply one quote; the error instead, because those who waited may all be gone."""
        error: TrinityError | None = None
        try:
            self._apply([await self._bounded(self._ask(key))])
            self.fetched += 1
        except TrinityError as failure:
            error = failure
            self.failed += 1
        self._remember(key, _Outcome(self._clock.monotonic_ns() + self._again_ns, error))
        return error

    async def _bounded(self, fetch: Awaitable[Tick]) -> Tick:
        attempt = asyncio.ensure_future(fetch)
        alarm = asyncio.ensure_future(self._clock.sleep(self._timeout_s))
        try:
            await asyncio.wait((attempt, alarm), return_when=asyncio.FIRST_COMPLETED)
            if not attempt.done():
                raise TrinityError(Reason.VENUE_UNAVAILABLE, f"no venue answered within {self._timeout_s:g} s")
            return attempt.result()
        finally:
            alarm.cancel()
            attempt.cancel()

    async def _ask(self, key: Key) -> Tick:
        """Ask one worker after the other, the most promising first."""
        asset, venue = key
        wanted = [venue] if venue is not None else [listing.venue for listing in self._assets.get(asset).listings]
        newest = TrinityError(Reason.VENUE_UNAVAILABLE, "there is no feed worker to ask")
        useless: TrinityError | None = None
        for feed in by_reach(self._feeds, wanted):
            try:
                return await feed.fetch(asset, venue, timeout_s=self._timeout_s)
            except TrinityError as error:
                if error.reason in _NO_USE or error.reason is Reason.UNKNOWN_VENUE:
                    useless = error
                else:
                    newest, useless = error, None
        raise useless or newest

    def _remember(self, key: Key, outcome: _Outcome) -> None:
        outcomes = self._outcomes
        outcomes.pop(key, None)
        while len(outcomes) >= self._remembered_max:
            # Oldest first: they are in the order of their end.
            del outcomes[next(iter(outcomes))]
        outcomes[key] = outcome


def _again(error: TrinityError, wait_ns: int) -> TrinityError:
    wait_ms = max(1, -(-wait_ns // _MS))
    retry_after_ms = max(wait_ms, error.retry_after_ms or 0)
    return TrinityError(error.reason, error.message, error.metadata, retry_after_ms, error.violations)
