"""Tells the store how calls of endpoints go: a few seconds late, and never at a delivery's cost.

What could not be stored is told with what comes next. A telling of which nobody knows whether it was
stored is told again: these counts are for people, the exact ones are the log's and the ledger's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from trinity_core.backoff import Backoff
from trinity_core.webhook_activity import Activity, Seen, added
from trinity_core.webhook_store import Outbox
from trinity_mesh.clock import Clock
from trinity_webhook.lanes import Lane
from trinity_webhook.waiting import write_behind

log = logging.getLogger(__name__)

_TOLD_S: Final = 2.0
_ROWS: Final = 1_000


class ActivityLog:
    """What one worker sees of its endpoints."""

    def __init__(
        self, *, outbox: Outbox, ticks_in_flight: Callable[[str], int], clock: Clock, backoff: Backoff
    ) -> None:
        """`ticks_in_flight` says how many batches are under way to an endpoint."""
        self._outbox = outbox
        self._ticks_in_flight = ticks_in_flight
        self._clock = clock
        self._backoff = backoff
        self._changed: dict[Lane, None] = {}
        self._wake = asyncio.Event()

    def note(self, lane: Lane) -> None:
        """An attempt has ended, and its lane has taken note of it."""
        self._changed[lane] = None
        self._wake.set()

    async def run(self) -> None:
        """Tell until cancelled."""
        await write_behind(
            self.flush,
            wake=self._wake,
            gather_s=_TOLD_S,
            clock=self._clock,
            backoff=self._backoff,
            on_away=lambda error: log.warning("how endpoints do is told later: %s", error.message),
        )

    async def flush(self) -> None:
        """Tell what has changed until now. Raises TrinityError."""
        left = list(self._changed)
        self._changed.clear()
        try:
            while left:
                lanes = left[:_ROWS]
                untold = [lane.tally.untold() for lane in lanes]
                seen: dict[str, Seen] = {}
                for lane, (activity, _) in zip(lanes, untold, strict=True):
                    # An endpoint that has just come back under another lease has two lanes.
                    name, new = lane.endpoint.endpoint, self._now(lane, activity)
                    before = seen.get(name)
                    if before is not None:
                        new = added(before.activity, before.token, new, lane.lease.token)
                    token = max(lane.lease.token, 0 if before is None else before.token)
                    seen[name] = Seen(endpoint=name, token=token, activity=new)
                await self._outbox.see(list(seen.values()))
                for lane, (_, counts) in zip(lanes, untold, strict=True):
                    lane.tally.told(counts)
                left = left[_ROWS:]
        finally:
            self._changed |= dict.fromkeys(left)

    def _now(self, lane: Lane, activity: Activity) -> Activity:
        """What was not told yet together with how the endpoint stands."""
        now_ns, unix_ns = self._clock.monotonic_ns(), self._clock.unix_ns() // 1_000 * 1_000
        until_ns = lane.left_alone_until_ns(now_ns)
        return replace(
            activity,
            in_flight=0 if lane.gone else lane.in_flight + self._ticks_in_flight(lane.endpoint.endpoint),
            circuit=lane.circuit(now_ns),
            ready_time_ns=None if until_ns is None else unix_ns + (until_ns - now_ns) // 1_000 * 1_000,
            time_ns=unix_ns,
        )
