"""Works off the outbox: alerts, tests and challenges; each attempt is recorded before the next is made.

What is claimed is held here until what became of it is stored, and there is room for a bounded
number: the window rolls on as attempts end. An endpoint has its own limits within it, and one that
is slow, or left alone, keeps no other from being served.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from typing import Any, Final, TypeVar

from trinity_core.backoff import Backoff
from trinity_core.errors import Reason, TrinityError
from trinity_core.webhook_retry import Outcome, RetryPolicy
from trinity_core.webhook_store import Lease, Outbox, Result
from trinity_core.webhooks import Delivery, DeliveryClass, DisableReason
from trinity_mesh.clock import Clock
from trinity_webhook.counting import DeliveryCounts
from trinity_webhook.judging import judge
from trinity_webhook.lanes import Lane
from trinity_webhook.senders import Courier
from trinity_webhook.sending import Sent, challenge_answer
from trinity_webhook.waiting import wait_for

log = logging.getLogger(__name__)

T = TypeVar("T")

_WAIT_NS: Final = 1_000_000_000
"""What cannot be sent within this time is given back, so that it takes nobody's place."""
_PER_ENDPOINT: Final = 64
_DUES_MAX: Final = 10_000
_GAP_S: Final = 0.005


class Dispatcher:
    """The outbox's worker."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        courier: Courier,
        counts: DeliveryCounts,
        answered: Callable[[str, str], Awaitable[None]],
        disabled: Callable[[Lane, DisableReason], None],
        ended: Callable[[Lane, Delivery, Sent], None],
        policy: RetryPolicy,
        random: Callable[[], float],
        clock: Clock,
        claim_ms: int,
        in_flight_max: int,
        backoff: Backoff,
    ) -> None:
        """See the arguments.

        Args:
            outbox: what is worked off.
            courier: makes attempts.
            counts: counts them.
            answered: takes the answer to a challenge: endpoint and text.
            disabled: hears that an endpoint was given up.
            ended: hears that an attempt has ended, of what, and how.
            policy: when to try again.
            random: a number from 0 up to 1.
            clock: times.
            claim_ms: longest time between two looks at the outbox.
            in_flight_max: most deliveries held.
            backoff: waits while the store cannot be used.
        """
        self._outbox = outbox
        self._courier = courier
        self._counts = counts
        self._answered = answered
        self._disabled = disabled
        self._ended = ended
        self._policy = policy
        self._random = random
        self._clock = clock
        self._claim_s = claim_ms / 1_000
        self._in_flight_max = in_flight_max
        self._backoff = backoff
        self._lanes: Mapping[str, Lane] = {}
        self._leases: Collection[Lease] = ()
        self._held: dict[str, Lane] = {}
        self._dues: list[int] = []
        self._again: set[str] = set()
        self._unsure = False
        """Something may be claimed that is not held here."""
        self._strangers: set[str] = set()
        self._results: dict[Lease, list[tuple[Lane, Delivery, Result]]] = {}
        self._wake = asyncio.Event()
        self._to_record = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._paused = False
        self.attempts = 0
        """Attempts made."""
        self.outcomes: Counter[tuple[DeliveryClass, Outcome]] = Counter()
        """The same, by class and what became of them."""

    @property
    def in_flight(self) -> int:
        """Deliveries that are held: claimed, under way, or waiting to be recorded."""
        return len(self._held)

    def adopt(self, leases: Collection[Lease], lanes: Mapping[str, Lane]) -> None:
        """Work for these endpoints from now on."""
        gone = [lane for lane in self._lanes.values() if lane.gone]
        self._leases, self._lanes = leases, lanes
        self._strangers.clear()
        for lane in gone:
            self._pump(lane)
        self.wake()

    def wake(self) -> None:
        """There may be something to claim."""
        self._wake.set()

    def pause(self, *, paused: bool) -> None:
        """Send nothing from now on, or go on."""
        self._paused = paused
        if not paused:
            for lane in self._lanes.values():
                self.settled(lane)
            self.wake()

    def settled(self, lane: Lane) -> None:
        """An attempt that was not ours has ended: what waited for it can go on."""
        if lane.queue:
            self._pump(lane)

    async def run(self) -> None:
        """Claim, send and record until cancelled; what is under way then is given up."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._claim_on())
                group.create_task(self._record_on())
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def drain(self, seconds: float) -> None:
        """Claim nothing more, and wait until what is under way is recorded, no longer than `seconds`."""
        self._stopping = True
        waiting = asyncio.create_task(self._clock.sleep(seconds))
        for lane in self._lanes.values():
            await self._give_back(lane)
        while self._held and not waiting.done():
            await self._clock.sleep(_GAP_S)
        waiting.cancel()

    async def _claim_on(self) -> None:
        backoff = self._backoff
        while True:
            self._wake.clear()
            try:
                full = await self._claim()
                backoff.succeeded()
            except TrinityError as error:
                if backoff.failures == 0:
                    log.warning("the outbox cannot be read now: %s", error.message)
                await self._clock.sleep(backoff.failed_s())
                continue
            if not full:
                await wait_for(self._wake, self._rest_s(), self._clock)
            # What ends together is followed up together.
            await self._clock.sleep(_GAP_S)

    def _rest_s(self) -> float:
        """Until the next retry that is known here, and never longer than until the next look."""
        now_ns = self._clock.unix_ns()
        while self._dues and self._dues[0] <= now_ns:
            heapq.heappop(self._dues)
        return min(self._claim_s, (self._dues[0] - now_ns) / 1e9) if self._dues else self._claim_s

    async def _claim(self) -> bool:
        """Claim what there is room for; whether there may be more."""
        room = self._in_flight_max - len(self._held)
        if room <= 0 or not self._leases or self._stopping or self._paused:
            return False
        if self._unsure:
            self._unsure = False
            await self._sure(self._outbox.release(self._leases, but=list(self._held)))
        found = await self._sure(
            self._outbox.claim(
                self._leases,
                now_ns=self._clock.unix_ns(),
                limit=room,
                per_endpoint=_PER_ENDPOINT,
                busy=self._busy(),
            )
        )
        back = []
        for delivery in found:
            lane = self._lanes.get(delivery.endpoint)
            if lane is None:
                # Its owner is suspended, or it was made a moment ago: we hear of it when it is ours to call.
                self._strangers.add(delivery.endpoint)
                back.append(delivery.delivery)
            elif delivery.delivery not in self._held:
                self._held[delivery.delivery] = lane
                lane.held += 1
                lane.queue.append(delivery)
            else:
                self._again.add(delivery.delivery)  # under way since a lease before; given back when that ends
        for lane in {self._held[each.delivery] for each in found if each.delivery in self._held}:
            self._pump(lane)
        if back:
            await self._sure(self._outbox.unclaim(back))
        return len(found) >= room

    async def _sure(self, call: Coroutine[Any, Any, T]) -> T:
        """What a call returns; where it fails nobody knows what it did."""
        try:
            return await call
        except BaseException:
            self._unsure = True
            raise

    def _busy(self) -> list[str]:
        soon_ns = self._clock.monotonic_ns() + _WAIT_NS
        return [
            *self._strangers,
            *(
                name
                for name, lane in self._lanes.items()
                if lane.closed or lane.held >= lane.endpoint.in_flight_max or lane.ready_ns() > soon_ns
            ),
        ]

    def _pump(self, lane: Lane) -> None:
        """Send what an endpoint may be sent now, and plan the rest."""
        now_ns = self._clock.monotonic_ns()
        if self._paused and not lane.gone:
            return
        while lane.queue and lane.in_flight < lane.endpoint.in_flight_max and not (lane.gone or lane.closed):
            due_ns = lane.ready_ns()
            if due_ns > now_ns + _WAIT_NS:
                break
            if due_ns > now_ns:
                if not lane.timed:
                    lane.timed = True
                    self._spawn(self._later(lane, (due_ns - now_ns) / 1e9))
                return
            delivery = lane.queue[0]
            try:
                self._counts.check_room(lane.standing, delivery.kind, delivery.asset)
            except TrinityError as error:
                log.warning("deliveries wait: %s", error.message)
                break
            if not lane.take(now_ns):
                return  # a probe is under way; its end brings us back
            lane.queue.popleft()
            lane.in_flight += 1
            self._spawn(self._attempt(lane, delivery))
        if lane.queue and (lane.gone or lane.closed or lane.in_flight < lane.endpoint.in_flight_max):
            self._spawn(self._give_back(lane))

    async def _later(self, lane: Lane, seconds: float) -> None:
        try:
            await self._clock.sleep(seconds)
        finally:
            lane.timed = False
        self._pump(lane)

    async def _give_back(self, lane: Lane) -> None:
        names = [delivery.delivery for delivery in lane.queue]
        lane.queue.clear()
        if not names:
            return
        try:
            await self._outbox.unclaim(names)
        except TrinityError:
            self._unsure = True
        for name in names:
            self._release(name)
        self.wake()

    def _release(self, delivery: str) -> None:
        lane = self._held.pop(delivery, None)
        if lane is not None:
            lane.held -= 1
        if delivery in self._again:
            self._again.discard(delivery)
            self._unsure = True

    async def _attempt(self, lane: Lane, delivery: Delivery) -> None:
        at_ns, began_ns = self._clock.unix_ns() // 1_000 * 1_000, self._clock.monotonic_ns()
        try:
            sent = await self._courier.deliver(lane, delivery)
        except asyncio.CancelledError:
            lane.give_back(began_ns)
            raise
        except Exception as error:
            log.exception("%s was not sent", delivery.delivery)
            sent = Sent(outcome=Outcome.NOT_CONNECTED, error=f"unforeseen: {type(error).__name__}")
        finally:
            lane.in_flight -= 1
        self.attempts += 1
        self.outcomes[delivery.kind, sent.outcome] += 1
        lane.told(sent, self._clock.monotonic_ns(), began_ns=began_ns)
        delivered = sent.outcome is Outcome.DELIVERED
        try:
            self._counts.count(lane.standing, delivery.kind, delivery.asset, delivered=delivered)
        except TrinityError as error:
            log.warning("an attempt that failed was not counted: %s", error.message)
        result = judge(
            delivery,
            sent,
            policy=self._policy,
            at_ns=at_ns,
            now_ns=self._clock.unix_ns(),
            failing_since_ns=lane.failing_since_ns,
            random=self._random,
        )
        lane.failing_since_ns = (lane.failing_since_ns or at_ns) if result.failing else None
        lane.closed |= result.disable is not None
        self._results.setdefault(lane.lease, []).append((lane, delivery, result))
        self._to_record.set()
        self._pump(lane)
        self._ended(lane, delivery, sent)
        if delivery.kind is DeliveryClass.CHALLENGE and (text := challenge_answer(sent)):
            await self._answered(delivery.endpoint, text)

    async def _record_on(self) -> None:
        backoff, said = Backoff(first_ms=20, cap_ms=1_000), ""
        while True:
            await self._to_record.wait()
            self._to_record.clear()
            results, self._results = self._results, {}
            for lease, told in results.items():
                while True:
                    try:
                        await self._outbox.record(lease, [result for *_, result in told])
                    except TrinityError as error:
                        if error.reason is Reason.STORE_CONFLICT and all(lease != each for each in self._leases):
                            log.warning("what became of %d deliveries is not stored: %s", len(told), error.message)
                            break
                        if backoff.failures == 0 or error.message != said:
                            log.warning("what became of deliveries waits to be stored: %s", error.message)
                        said = error.message
                        await self._clock.sleep(backoff.failed_s())
                    else:
                        backoff.succeeded()
                        break
                for lane, delivery, result in told:
                    self._release(delivery.delivery)
                    if result.due_time_ns is not None and len(self._dues) < _DUES_MAX:
                        heapq.heappush(self._dues, result.due_time_ns)
                    if result.disable is not None:
                        self._disabled(lane, result.disable)
            self.wake()

    def _spawn(self, job: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("unforeseen error of a delivery", exc_info=task.exception())
