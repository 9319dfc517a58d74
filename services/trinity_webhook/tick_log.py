"""Writes what became of ticks: every attempt to the log, and to the endpoint whether it fails.

It is written behind. Where the store is slower than the endpoints, ticks wait for it (`has_room`),
and are folded meanwhile like those of a slow endpoint. Their payloads are not kept: they are of
their moment, and never sent again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from trinity_core.backoff import Backoff
from trinity_core.errors import Reason, TrinityError
from trinity_core.webhook_payload import TICK
from trinity_core.webhook_retry import Next, Outcome, RetryPolicy
from trinity_core.webhook_store import Outbox, Result
from trinity_core.webhooks import (
    Attempt,
    Delivery,
    DeliveryClass,
    DeliveryState,
    DisableReason,
    tick_delivery_id,
)
from trinity_mesh.clock import Clock
from trinity_webhook.lanes import Lane
from trinity_webhook.ticking import Pushed, asset_of
from trinity_webhook.waiting import write_behind

log = logging.getLogger(__name__)

_FLUSH_S: Final = 0.2
_BATCH: Final = 8_000
_WRITERS: Final = 4
_ROWS: Final = 1_000
_DISABLES: Final = {Next.DISABLE_GONE: DisableReason.GONE, Next.DISABLE_FAILING: DisableReason.FAILING}


class TickLog:
    """The log of one worker's ticks."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        disabled: Callable[[Lane, DisableReason], None],
        freed: Callable[[], None],
        policy: RetryPolicy,
        clock: Clock,
        waiting_max: int,
        backoff: Backoff,
    ) -> None:
        """Nothing waits yet.

        Args:
            outbox: where it is written.
            disabled: hears that an endpoint was given up.
            freed: hears that there is room again.
            policy: when an endpoint is given up.
            clock: times.
            waiting_max: most attempts that wait; 0: attempts of ticks are not logged.
            backoff: waits while the store cannot be used.
        """
        self._outbox = outbox
        self._disabled = disabled
        self._freed = freed
        self._policy = policy
        self._clock = clock
        self._waiting_max = waiting_max
        self._backoff = backoff
        self._waiting: deque[tuple[Delivery, Attempt]] = deque()
        self._verdicts: dict[str, tuple[Lane, Result]] = {}
        self._tries: dict[str, tuple[str, int]] = {}
        self._wake = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Attempts that wait to be written."""
        return len(self._waiting)

    def has_room(self, under_way: int) -> bool:
        """Whether an attempt more can be logged, besides those that are under way."""
        return self._waiting_max == 0 or len(self._waiting) + under_way < self._waiting_max

    def add(self, pushed: Pushed) -> None:
        """A batch was sent."""
        lane, sent = pushed.lane, pushed.sent
        endpoint = lane.endpoint
        at_ns = pushed.at_ns // 1_000 * 1_000
        name = tick_delivery_id(pushed.message.message, endpoint.endpoint)
        before, tries = self._tries.get(endpoint.endpoint, ("", 0))
        tries = tries + 1 if before == name else 1
        self._tries[endpoint.endpoint] = name, tries
        attempt = sent.attempt(name, tries, at_ns=at_ns)
        delivered = sent.outcome is Outcome.DELIVERED
        state = DeliveryState.DELIVERED if delivered else DeliveryState.FAILED
        self._judge(lane, attempt, state, stale=sent.stale)
        self._wake.set()
        if self._waiting_max == 0:
            return
        delivery = Delivery(
            delivery=name,
            endpoint=endpoint.endpoint,
            associate=endpoint.associate,
            subscription=pushed.subscription,
            asset=asset_of(pushed.items),
            kind=DeliveryClass.TICK,
            type=TICK,
            payload=b"",
            state=state,
            attempts=tries,
            tries=tries,
            create_time_ns=at_ns,
            done_time_ns=at_ns,
            last_status=sent.status,
            last_outcome=sent.outcome,
        )
        self._waiting.append((delivery, attempt))

    def forget(self, endpoint: str) -> None:
        """The worker does not see to an endpoint any more."""
        self._tries.pop(endpoint, None)
        self._verdicts.pop(endpoint, None)

    async def run(self) -> None:
        """Write until cancelled."""
        await write_behind(
            self.flush,
            wake=self._wake,
            gather_s=_FLUSH_S,
            clock=self._clock,
            backoff=self._backoff,
            on_away=lambda error: log.warning("ticks are not logged now: %s", error.message),
        )

    async def flush(self) -> None:
        """Write what waits. Raises TrinityError."""
        for endpoint, (lane, result) in list(self._verdicts.items()):
            await self._unless_lost(self._outbox.judge(lane.lease, endpoint, result))
            if self._verdicts.get(endpoint) == (lane, result):
                del self._verdicts[endpoint]
            if result.disable is not None:
                self._disabled(lane, result.disable)
        while self._waiting:
            entries = [self._waiting[at] for at in range(min(_BATCH, len(self._waiting)))]
            parts = [entries[at : at + _ROWS] for at in range(0, len(entries), _ROWS)]
            # What was written before one fails is written again, which changes nothing.
            await asyncio.gather(*(self._write(parts[at::_WRITERS]) for at in range(_WRITERS)))
            for _ in entries:
                self._waiting.popleft()
            self._freed()

    async def _write(self, parts: Sequence[Sequence[tuple[Delivery, Attempt]]]) -> None:
        for part in parts:
            await self._outbox.log(part)

    async def _unless_lost(self, write: Coroutine[Any, Any, None]) -> None:
        try:
            await write
        except TrinityError as error:
            if error.reason is not Reason.STORE_CONFLICT:
                raise

    def _judge(self, lane: Lane, attempt: Attempt, state: DeliveryState, *, stale: bool) -> None:
        """What is new of the endpoint: that it fails, that it does not any more, that it is given up."""
        failing = attempt.outcome is not Outcome.DELIVERED
        if stale or (not failing and lane.failing_since_ns is None):
            return
        now_ns = attempt.at_ns
        verdict = self._policy.judge(
            attempt.outcome, attempts=1, now_ns=now_ns, failing_since_ns=lane.failing_since_ns, random=lambda: 0.5
        )
        disable = _DISABLES.get(verdict.next)
        if failing and lane.failing_since_ns is not None and disable is None:
            return
        lane.failing_since_ns = (lane.failing_since_ns or now_ns) if failing else None
        lane.closed |= disable is not None
        result = Result(attempt=attempt, state=state, failing=failing, disable=disable)
        self._verdicts[lane.endpoint.endpoint] = lane, result
