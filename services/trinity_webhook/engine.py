"""The engine of one webhook worker: prices in, deliveries out.

    price ──► TickDesk ──► Sender                       newest wins, nothing is kept
          └─► AlertDesk ──► Outbox ──► Dispatcher ──► Sender    stored first, sent until it is taken

What it works for is told by `Holding`; whatever it does is done under the lease of its share.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from trinity_core.backoff import Backoff
from trinity_core.errors import TrinityError
from trinity_core.webhook_addresses import AddressPolicy
from trinity_core.webhook_retry import Outcome, RetryPolicy
from trinity_core.webhook_rules import Change
from trinity_core.webhook_store import Lease, Outbox, Watched
from trinity_core.webhook_urls import Kind, read_url
from trinity_core.webhooks import RETENTION_DAYS, Delivery, DeliveryClass, DisableReason, EndpointState, Subscription
from trinity_mesh.clock import Clock
from trinity_webhook.activity import ActivityLog
from trinity_webhook.alerting import AlertDesk, AlertSettings
from trinity_webhook.counting import DeliveryCounts
from trinity_webhook.dispatching import Dispatcher
from trinity_webhook.holding import Holding
from trinity_webhook.lanes import Lane
from trinity_webhook.senders import Courier
from trinity_webhook.sending import Sent
from trinity_webhook.signing import Signing
from trinity_webhook.tick_log import TickLog
from trinity_webhook.ticking import Pushed, TickDesk, asset_of
from trinity_webhook.worker_config import WebhookWorkerConfig

log = logging.getLogger(__name__)

_PRUNE_S: Final = 600.0
_RENEWED_S: Final = 5.0
_PRUNE_ROWS: Final = 5_000
_DAY_NS: Final = 86_400 * 10**9
_WORDS: Final = {
    DisableReason.GONE: "it answered 410",
    DisableReason.FAILING: "it failed for five days without one success",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineParts:
    """What an engine is made of."""

    outbox: Outbox
    courier: Courier
    signing: Signing
    """What the courier signs with."""
    counts: DeliveryCounts
    policy: AddressPolicy
    answered: Callable[[str, str], Awaitable[None]]
    """Takes the answer to a challenge: endpoint and text."""
    prices: Callable[[], Iterable[Change]]
    """The prices there are now."""
    clock: Clock
    rng: random.Random
    """Jitter, which keeps no secret."""
    retry: RetryPolicy = field(default_factory=RetryPolicy)


class Engine:
    """One worker's engine."""

    def __init__(self, config: WebhookWorkerConfig, parts: EngineParts, *, holder: str) -> None:
        """`holder` names this worker among all that share the endpoints, and must be new for each life of it."""
        self.holder = holder
        self._config = config
        self._parts = parts
        clock, self._clock = parts.clock, parts.clock
        self._lanes: dict[str, Lane] = {}
        self._pushes: Counter[tuple[DeliveryClass, Outcome]] = Counter()
        self._has_udp = asyncio.Event()
        self.ticks = TickDesk(
            courier=parts.courier,
            counts=parts.counts,
            pushed=self._pushed,
            clock=clock,
            in_flight_max=config.ticks_in_flight_max,
            has_room=lambda under_way: self.tick_log.has_room(under_way),
        )
        self.dispatcher = Dispatcher(
            outbox=parts.outbox,
            courier=parts.courier,
            counts=parts.counts,
            answered=parts.answered,
            disabled=self._disabled,
            ended=self._ended,
            policy=parts.retry,
            random=parts.rng.random,
            clock=clock,
            claim_ms=config.claim_ms,
            in_flight_max=config.in_flight_max,
            backoff=self._backoff(),
        )
        self.alerts = AlertDesk(
            outbox=parts.outbox,
            stored=self.dispatcher.wake,
            prices=parts.prices,
            clock=clock,
            settings=AlertSettings(config.states_ms, config.alerts_waiting_max),
            backoff=self._backoff(),
        )
        self.tick_log = TickLog(
            outbox=parts.outbox,
            disabled=self._disabled,
            freed=self.ticks.go_on,
            policy=parts.retry,
            clock=clock,
            waiting_max=config.log_waiting_max,
            backoff=self._backoff(),
        )
        self.activity = ActivityLog(
            outbox=parts.outbox, ticks_in_flight=self._ticks_in_flight, clock=clock, backoff=self._backoff()
        )
        self.holding = Holding(
            parts.outbox,
            holder=holder,
            changed=self._changed,
            paused=self._paused,
            clock=clock,
            lease_ms=config.lease_ms,
            poll_ms=config.poll_ms,
            backoff=self._backoff(),
        )

    @property
    def lanes(self) -> Mapping[str, Lane]:
        """Endpoints that are seen to."""
        return self._lanes

    @property
    def outcomes(self) -> Mapping[tuple[DeliveryClass, Outcome], int]:
        """Attempts by class and what became of them; one of a batch of ticks is one."""
        return self._pushes + self.dispatcher.outcomes

    @property
    def signed(self) -> int:
        """Signatures made."""
        return self._parts.signing.signed

    def price(self, change: Change) -> None:
        """A price changed."""
        self.ticks.offer(change, self._clock.monotonic_ns())
        self.alerts.offer(change, self._clock.unix_ns())

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until `stopping` is set; then finish what is under way, within `drain_ms`, and give the leases up."""
        jobs = [self.holding.run(), self.ticks.run(), self.alerts.run(), self.tick_log.run(), self.activity.run()]
        jobs += [self._prune(), self._tell_renewed()]
        async with asyncio.TaskGroup() as group:
            dispatching = group.create_task(self.dispatcher.run())
            tasks = [group.create_task(job) for job in jobs]
            await stopping.wait()
            for task in tasks[1:]:
                task.cancel()
            await asyncio.gather(*tasks[1:], return_exceptions=True)
            await self.dispatcher.drain(self._config.drain_ms / 1_000)
            for finish in (self.alerts.flush, self.tick_log.flush, self.activity.flush):
                try:
                    await finish()
                except TrinityError as error:
                    log.warning("not all is stored at the end: %s", error.message)
            for task in (tasks[0], dispatching):
                task.cancel()
        await self.holding.end()

    def _changed(self, leases: Sequence[Lease], watched: Watched) -> None:
        """Work for these from now on."""
        by_shard = {lease.shard: lease for lease in leases}
        before, self._lanes = self._lanes, {}
        for standing in watched.standings:
            endpoint = standing.endpoint
            lease, lane = by_shard[endpoint.shard], before.get(endpoint.endpoint)
            try:
                target = read_url(endpoint.url, policy=self._parts.policy, loopback=self._config.loopback)
            except TrinityError as error:
                log.warning("%s is not called: %s", endpoint.endpoint, error.message)
                continue
            if lane is None or lane.lease != lease:
                lane = Lane(standing, lease, target)
            else:
                lane.adopt(standing, lease, target)
            self._lanes[endpoint.endpoint] = lane
        for name, lane in before.items():
            if self._lanes.get(name) is not lane:
                lane.gone = True
            if name not in self._lanes:
                self.tick_log.forget(name)
        if any(lane.target.kind is Kind.UDP for lane in self._lanes.values()):
            self._has_udp.set()
        else:
            self._has_udp.clear()
        self._parts.courier.follow(self._lanes)
        self._parts.signing.keep({secret.secret for each in watched.standings for secret in each.secrets})
        ticks, alerts = self._by_class(watched.subscriptions)
        lanes = self._lanes.items()
        self.ticks.adopt((lane, tuple(ticks[name])) for name, lane in lanes)
        self.alerts.adopt((lane, tuple(alerts[name])) for name, lane in lanes)
        self.dispatcher.adopt(leases, self._lanes)

    def _paused(self, paused: bool) -> None:
        self.ticks.pause(paused=paused)
        self.dispatcher.pause(paused=paused)

    def _by_class(
        self, subscriptions: Sequence[Subscription]
    ) -> tuple[defaultdict[str, list[Subscription]], defaultdict[str, list[Subscription]]]:
        ticks, alerts = defaultdict[str, list[Subscription]](list), defaultdict[str, list[Subscription]](list)
        for each in subscriptions:
            lane = self._lanes.get(each.endpoint)
            # Alerts are made for one that is paused, and wait; for one that is pending or given up they are not.
            if lane is not None and lane.endpoint.state is EndpointState.ACTIVE:
                (ticks if each.is_tick else alerts)[each.endpoint].append(each)
        return ticks, alerts

    def _pushed(self, pushed: Pushed) -> None:
        self._pushes[DeliveryClass.TICK, pushed.sent.outcome] += 1
        delivered = pushed.sent.outcome is Outcome.DELIVERED
        try:
            self._parts.counts.count(
                pushed.lane.standing, DeliveryClass.TICK, asset_of(pushed.items), delivered=delivered
            )
        except TrinityError as error:
            log.warning("an attempt that failed was not counted: %s", error.message)
        self.tick_log.add(pushed)
        pushed.lane.tally.add(DeliveryClass.TICK, pushed.sent, at_ns=self._now_ns(), items=pushed.items)
        self.activity.note(pushed.lane)
        self.dispatcher.settled(pushed.lane)

    def _ended(self, lane: Lane, delivery: Delivery, sent: Sent) -> None:
        lane.tally.add(delivery.kind, sent, at_ns=self._now_ns())
        self.activity.note(lane)
        self.ticks.wake(lane.endpoint.endpoint)

    def _ticks_in_flight(self, endpoint: str) -> int:
        board = self.ticks.board(endpoint)
        return int(board is not None and board.in_flight)

    def _now_ns(self) -> int:
        return self._clock.unix_ns() // 1_000 * 1_000

    def _disabled(self, lane: Lane, reason: DisableReason) -> None:
        """The owner is told by the row that was written with it; this is for operators."""
        endpoint = lane.endpoint
        log.warning(
            "the endpoint %s of %s was given up, and its owner is to be told: %s",
            endpoint.endpoint,
            endpoint.associate,
            _WORDS[reason],
        )
        self.holding.wake()

    async def _prune(self) -> None:
        """Remove what is older than the log keeps."""
        while True:
            removed = 0
            try:
                before_ns = self._clock.unix_ns() - RETENTION_DAYS * _DAY_NS
                removed = await self._parts.outbox.forget(before_ns=before_ns, limit=_PRUNE_ROWS)
            except TrinityError as error:
                log.warning("old deliveries are removed later: %s", error.message)
            if removed < _PRUNE_ROWS:
                await self._clock.sleep(_PRUNE_S)

    async def _tell_renewed(self) -> None:
        """Store which UDP endpoints ask to be sent on; one that does so is tried at once."""
        while True:
            await self._has_udp.wait()
            await self._clock.sleep(_RENEWED_S)
            renewed = self._parts.courier.take_renewed()
            for name in renewed:
                lane = self._lanes.get(name)
                if lane is not None:
                    lane.renewed()
                    self.ticks.wake(name)
                    self.dispatcher.settled(lane)
            if renewed:
                try:
                    await self._parts.outbox.renewed(renewed)
                except TrinityError as error:
                    log.warning("renewals of UDP endpoints are not stored: %s", error.message)

    def _backoff(self) -> Backoff:
        return Backoff(first_ms=50, cap_ms=1_000, rng=random.Random(self._parts.rng.random()))  # noqa: S311 - jitter
