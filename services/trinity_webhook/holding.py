"""What a worker sees to: its share of the endpoints, held by lease, and what their owners ask for.

Leases are renewed at a quarter of their life. When they could not be renewed in time nothing is sent
until they are: they may be another's. Where their tokens are the same then, they were nobody's
meanwhile, and everything goes on as it was.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from trinity_core.backoff import Backoff
from trinity_core.errors import TrinityError
from trinity_core.webhook_store import Lease, Outbox, Watched
from trinity_mesh.clock import Clock
from trinity_webhook.waiting import wait_for

log = logging.getLogger(__name__)

_NOTHING: Final = Watched((), ())
_MS: Final = 1_000_000
_PARTS: Final = 4
Changed = Callable[[Sequence[Lease], Watched], None]


class Holding:
    """The leases of one worker."""

    def __init__(
        self,
        outbox: Outbox,
        *,
        holder: str,
        changed: Changed,
        paused: Callable[[bool], None],
        clock: Clock,
        lease_ms: int,
        poll_ms: int,
        backoff: Backoff,
    ) -> None:
        """Nothing is asked for yet.

        Args:
            outbox: where the leases are.
            holder: name of this worker, new for each life of it.
            changed: told what is held whenever that is another, or was changed by its owner.
            paused: told True when the leases have run out, and False when they hold again.
            clock: times.
            lease_ms: how long a lease lasts.
            poll_ms: longest time between two looks.
            backoff: waits while the store cannot be used.
        """
        self._outbox = outbox
        self._holder = holder
        self._changed = changed
        self._paused = paused
        self._is_paused = False
        self._clock = clock
        self._lease_ns = lease_ms * _MS
        self._poll_s = min(poll_ms, lease_ms // _PARTS) / 1_000
        self._backoff = backoff
        self._wake = asyncio.Event()
        self._version: int | None = None
        self._renewed_ns: int | None = None
        self.leases: Sequence[Lease] = ()
        """What is held now."""
        self.held = asyncio.Event()
        """What is held, and for whom, was read once."""

    def wake(self) -> None:
        """Something has changed, or may have."""
        self._wake.set()

    async def run(self) -> None:
        """Hold and follow until cancelled."""
        while True:
            self._wake.clear()
            try:
                await self._in_time(self.look)
            except TrinityError as error:
                if self._backoff.failures == 0:
                    log.warning("leases cannot be renewed now: %s", error.message)
                self._give_up_old()
                await self._clock.sleep(self._backoff.failed_s())
            else:
                self._backoff.succeeded()
                await wait_for(self._wake, self._poll_s, self._clock)

    async def look(self) -> None:
        """Renew, and read what has changed, once. Raises TrinityError."""
        now_ns = self._clock.monotonic_ns()
        if self._renewed_ns is None or now_ns - self._renewed_ns >= self._lease_ns // _PARTS:
            unix_ns = self._clock.unix_ns()
            # After a time without the store all leases have run out, and every worker comes back for its own.
            late = self._renewed_ns is not None and now_ns - self._renewed_ns >= self._lease_ns
            leases = await self._outbox.lease(
                self._holder, now_ns=unix_ns, until_ns=unix_ns + self._lease_ns, take=not (late and self.leases)
            )
            self._renewed_ns = now_ns
            if leases != self.leases:
                self._version = None
                self.leases = leases
        version = await self._outbox.version()
        if version != self._version:
            leases = self.leases
            watched = await self._outbox.watched([lease.shard for lease in leases]) if leases else _NOTHING
            self._version = version
            self._changed(leases, watched)
        if self._is_paused:
            self._is_paused = False
            self._paused(False)
        self.held.set()

    async def end(self) -> None:
        """Give everything up: others take it at once."""
        self.leases = ()
        try:
            await self._outbox.end_lease(self._holder)
        except TrinityError as error:
            log.warning("leases end by themselves: %s", error.message)

    async def _in_time(self, look: Callable[[], Awaitable[None]]) -> None:
        """A look that must not outlast the leases."""
        looking = asyncio.ensure_future(look())
        ended = asyncio.ensure_future(self._end_of_leases())
        try:
            await asyncio.wait((looking, ended), return_when=asyncio.FIRST_COMPLETED)
            if not looking.done():
                self._give_up_old()
            await looking
        finally:
            for each in (looking, ended):
                each.cancel()

    async def _end_of_leases(self) -> None:
        if self._is_paused or not self.leases or self._renewed_ns is None:
            await asyncio.Event().wait()
            return
        left_ns = self._renewed_ns + self._lease_ns - self._clock.monotonic_ns()
        await self._clock.sleep(max(0, left_ns) / 1e9)

    def _give_up_old(self) -> None:
        if self._is_paused or not self.leases or self._renewed_ns is None:
            return
        if self._clock.monotonic_ns() - self._renewed_ns >= self._lease_ns:
            log.warning("the leases could not be renewed in time; nothing is sent until they can be")
            self._is_paused = True
            self._paused(True)
