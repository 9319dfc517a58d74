"""Pushes ticks: newest price of each asset, one batch in flight an endpoint, nothing kept for long.

A change costs each endpoint that hears of it a look into its board; everything else happens for
endpoints that can be sent something. Boards are bounded by the assets, so a slow endpoint costs no
more than a fast one.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections import deque
from collections.abc import Callable, Iterable
from itertools import count
from typing import Final, NamedTuple

from trinity_core.errors import TrinityError
from trinity_core.webhook_payload import Message, TickBodies
from trinity_core.webhook_retry import Outcome
from trinity_core.webhook_rules import Change, EveryChange, Interval, Moved, TickRule
from trinity_core.webhook_ticks import Item, TickBoard, TickSettings
from trinity_core.webhooks import DeliveryClass, Subscription
from trinity_mesh.clock import Clock
from trinity_mesh.telemetry import tracing
from trinity_webhook.counting import DeliveryCounts
from trinity_webhook.lanes import Lane
from trinity_webhook.routes import Routes
from trinity_webhook.senders import Courier
from trinity_webhook.sending import Sent
from trinity_webhook.waiting import wait_for

log = logging.getLogger(__name__)

_BODIES_MAX: Final = 1_024
_LOOKS_MAX: Final = 64
_PAUSE_NS: Final = 1_000_000_000
_IDLE_S: Final = 3_600.0


class Pushed(NamedTuple):
    """A batch that was sent."""

    lane: Lane
    message: Message
    items: tuple[Item, ...]
    sent: Sent
    at_ns: int
    """Unix time."""
    subscription: str
    """Empty where it holds ticks of several."""


class _Seat:
    """One endpoint's ticks."""

    __slots__ = ("board", "lane", "marked", "subscriptions", "timer_ns")

    def __init__(self, lane: Lane) -> None:
        endpoint = lane.endpoint
        self.lane = lane
        self.board = TickBoard(TickSettings(endpoint.batch_max, endpoint.batch_ms, endpoint.ttl_ms))
        self.subscriptions: dict[str, Subscription] = {}
        self.marked = False
        self.timer_ns = 0


class TickDesk:
    """The ticks of all endpoints of a worker."""

    def __init__(
        self,
        *,
        courier: Courier,
        counts: DeliveryCounts,
        pushed: Callable[[Pushed], None],
        clock: Clock,
        in_flight_max: int,
        has_room: Callable[[int], bool] = lambda _: True,
    ) -> None:
        """`pushed` hears of every batch that was sent; it must be quick and must not raise.

        `has_room` says whether one more can be logged besides those under way; `go_on` ends the wait for it.
        """
        self._courier = courier
        self._counts = counts
        self._pushed = pushed
        self._clock = clock
        self._in_flight_max = in_flight_max
        self._has_room = has_room
        self._bodies = TickBodies(bodies_max=_BODIES_MAX)
        self._seats: dict[str, _Seat] = {}
        self._routes: Routes[tuple[_Seat, TickRule]] = Routes()
        self._ready: deque[_Seat] = deque()
        self._timers: list[tuple[int, int, _Seat]] = []
        self._ties = count()
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._traces: dict[str, tuple[int, str]] = {}
        self.delivered = 0
        """Batches delivered."""
        self.paused = False
        """Nothing is sent: the leases may be another's."""

    @property
    def rendered(self) -> int:
        """Changes rendered."""
        return self._bodies.rendered

    @property
    def in_flight(self) -> int:
        """Batches under way."""
        return len(self._tasks)

    def board(self, endpoint: str) -> TickBoard | None:
        """What an endpoint is to be told; None for one without ticks."""
        seat = self._seats.get(endpoint)
        return None if seat is None else seat.board

    def adopt(self, lanes: Iterable[tuple[Lane, tuple[Subscription, ...]]]) -> None:
        """See to these endpoints and tick subscriptions from now on. What waits for those that stay, waits on."""
        before, self._seats, routes = self._seats, {}, Routes[tuple[_Seat, TickRule]]()
        for lane, subscriptions in lanes:
            if not subscriptions or not lane.is_open:
                continue
            name = lane.endpoint.endpoint
            seat = before.get(name)
            if seat is None or seat.lane is not lane:
                seat = _Seat(lane)
            endpoint = lane.endpoint
            seat.board.settings = TickSettings(endpoint.batch_max, endpoint.batch_ms, endpoint.ttl_ms)
            seat.subscriptions = {each.subscription: each for each in subscriptions}
            self._seats[name] = seat
            for each in subscriptions:
                assert isinstance(each.rule, EveryChange | Interval | Moved)
                routes.add((seat, each.rule), assets=each.assets, allowed=lane.standing.assets)
        for seat in self._seats.values():
            for asset in seat.board.assets():
                if not any(other is seat for other, _ in routes.of(asset)):
                    seat.board.forget(asset)
        self._routes = routes
        for seat in self._seats.values():
            self._mark(seat)

    def offer(self, change: Change, now_ns: int) -> None:
        """A price changed; `now_ns` is monotonic."""
        if tracing.on and (trace := tracing.current()):
            self._traces[change.asset] = change.sequence, trace
        for seat, rule in self._routes.of(change.asset):
            seat.board.offer(change, rule, now_ns)
            if not seat.marked and not seat.board.in_flight:
                self._mark(seat)

    def wake(self, endpoint: str) -> None:
        """Something of an endpoint has changed: it may be possible to send now."""
        seat = self._seats.get(endpoint)
        if seat is not None and not seat.marked:
            self._mark(seat)

    def go_on(self) -> None:
        """There may be room in the log again."""
        self._wake.set()

    def pause(self, *, paused: bool) -> None:
        """Send nothing from now on, or go on."""
        self.paused = paused
        self._wake.set()

    async def run(self) -> None:
        """Send what is due, until cancelled; what is under way then is given up."""
        try:
            while True:
                self._wake.clear()
                self._turn()
                await self._rest()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _mark(self, seat: _Seat) -> None:
        seat.marked = True
        self._ready.append(seat)
        self._wake.set()

    def _turn(self) -> None:
        now_ns = self._clock.monotonic_ns()
        while self._timers and self._timers[0][0] <= now_ns:
            _, _, seat = heapq.heappop(self._timers)
            if seat.timer_ns <= now_ns:
                seat.timer_ns = 0
                if not seat.marked:
                    self._mark(seat)
        # Those that are ready have a place each, in the order in which they became so; and not
        # too many begin at once, so that nobody else of this loop has to wait for long.
        looks = 0
        while self._may_begin():
            looks += 1
            if looks > _LOOKS_MAX:
                self._wake.set()
                return
            seat = self._ready.popleft()
            seat.marked = False
            self._look(seat, now_ns)

    def _may_begin(self) -> bool:
        under_way = len(self._tasks)
        return bool(self._ready) and under_way < self._in_flight_max and not self.paused and self._has_room(under_way)

    def _look(self, seat: _Seat, now_ns: int) -> None:
        due_ns = seat.board.due_ns()
        if due_ns is None or not seat.lane.is_open or self._seats.get(seat.lane.endpoint.endpoint) is not seat:
            return
        due_ns = max(due_ns, seat.lane.ready_ns())
        if due_ns > now_ns:
            self._plan(seat, due_ns)
            return
        if not seat.lane.take(now_ns):
            return  # a probe is under way; its end wakes us
        items = tuple(seat.board.take(now_ns))
        try:
            if items:
                self._counts.check_room(seat.lane.standing, DeliveryClass.TICK, asset_of(items))
        except TrinityError as error:
            log.warning("ticks wait: %s", error.message)
            seat.board.settle(now_ns, delivered=False)
            items = ()
            self._plan(seat, now_ns + _PAUSE_NS)
        if not items:
            seat.lane.give_back(now_ns)
            return
        task = asyncio.create_task(self._push(seat, items))
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _plan(self, seat: _Seat, due_ns: int) -> None:
        if seat.timer_ns and seat.timer_ns <= due_ns:
            return
        seat.timer_ns = due_ns
        heapq.heappush(self._timers, (due_ns, next(self._ties), seat))
        self._wake.set()

    async def _push(self, seat: _Seat, items: tuple[Item, ...]) -> None:
        lane = seat.lane
        message = self._bodies.message(items)
        at_ns, began_ns = self._clock.unix_ns(), self._clock.monotonic_ns()
        sent = Sent(outcome=Outcome.NOT_CONNECTED, error="it was given up")
        try:
            with tracing.following("webhook.push", self._trace_of(items)):
                sent = await self._courier.ticks(lane, items, message)
        except Exception as error:
            log.exception("ticks for %s were not sent", lane.endpoint.endpoint)
            sent = Sent(outcome=Outcome.NOT_CONNECTED, error=f"unforeseen: {type(error).__name__}")
        finally:
            now_ns = self._clock.monotonic_ns()
            lane.told(sent, now_ns, began_ns=began_ns)
            seat.board.settle(now_ns, delivered=sent.outcome is Outcome.DELIVERED)
        self.delivered += sent.outcome is Outcome.DELIVERED
        subscription = ""
        if len(seat.subscriptions) == 1:
            subscription = next(iter(seat.subscriptions))
        self._pushed(Pushed(lane, message, items, sent, at_ns, subscription))
        if not seat.marked:
            self._mark(seat)

    def _trace_of(self, items: Iterable[Item]) -> str:
        """Traceparent of a change among these that is traced; there is at most one kept an asset."""
        for item in items if tracing.on else ():
            sequence, trace = self._traces.get(item.change.asset, (0, ""))
            if sequence == item.change.sequence:
                return trace
        return ""

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._wake.set()
        if not task.cancelled() and task.exception() is not None:
            log.error("unforeseen error while ticks were sent", exc_info=task.exception())

    async def _rest(self) -> None:
        """Until something is to be done, or the next timer."""
        if self._wake.is_set():
            # One turn of the loop: what comes together is looked at together.
            await self._clock.sleep(0)
            return
        wait_s = _IDLE_S
        if self._timers:
            wait_s = max(0.0, (self._timers[0][0] - self._clock.monotonic_ns()) / 1e9)
        await wait_for(self._wake, wait_s, self._clock)


def asset_of(items: Iterable[Item]) -> str:
    """The asset that a batch is of; empty for several."""
    assets = {item.change.asset for item in items}
    return assets.pop() if len(assets) == 1 else ""
