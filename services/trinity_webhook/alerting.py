"""Evaluates alert rules as prices change, and stores what comes of it: rule states together with their alerts.

A rule goes on in memory, ahead of the database; what it made waits, a share of the endpoints at a
time, until one transaction has stored both. A worker that is killed before leaves nothing behind:
whoever takes over reads the state that was stored last, looks at the prices there are, and makes
the same alerts under the same ids.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from trinity_core.backoff import Backoff
from trinity_core.errors import Reason, TrinityError
from trinity_core.webhook_alerts import Alert, Evaluated, RuleState, advance, due_ns, evaluate
from trinity_core.webhook_payload import alert_body
from trinity_core.webhook_rules import AlertRule, Change, EveryChange, Interval, Moved
from trinity_core.webhook_store import Lease, Outbox, StoredState
from trinity_core.webhooks import Delivery, DeliveryClass, Subscription, alert_id
from trinity_mesh.clock import Clock
from trinity_webhook.lanes import Lane
from trinity_webhook.routes import Routes
from trinity_webhook.waiting import wait_for

log = logging.getLogger(__name__)

_KEYS_MAX: Final = 500
_SUBSCRIPTIONS_MAX: Final = 500
_LOOK_S: Final = 15.0
_IDLE_S: Final = 3_600.0
_NEW: Final = RuleState()
Key = tuple[str, str]
"""Subscription and asset."""


class AlertSettings(NamedTuple):
    """Limits; see WebhookWorkerConfig."""

    states_ms: int
    waiting_max: int


@dataclass(slots=True)
class _Rule:
    subscription: Subscription
    rule: AlertRule
    lane: Lane
    lease: Lease
    """Under which its states were read; `lane` may have another by now."""
    loaded: bool = False
    """Its states were read: it can be evaluated."""

    @property
    def identity(self) -> tuple[int, int, int]:
        """What makes it another one, whose states are read anew."""
        return self.subscription.rule_version, self.lease.token, id(self.lane)


class AlertDesk:
    """The alert rules of all endpoints of a worker."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        stored: Callable[[], None],
        prices: Callable[[], Iterable[Change]],
        clock: Clock,
        settings: AlertSettings,
        backoff: Backoff,
    ) -> None:
        """`stored` hears that alerts were stored; `prices` tells those there are now."""
        self._outbox = outbox
        self._stored = stored
        self._prices = prices
        self._clock = clock
        self._settings = settings
        self._backoff = backoff
        self._rules: dict[str, _Rule] = {}
        self._routes: Routes[_Rule] = Routes()
        self._states: dict[Key, RuleState] = {}
        self._urgent: dict[Key, None] = {}
        self._lazy: dict[Key, None] = {}
        self._alerts: dict[Key, list[Delivery]] = {}
        self._waiting = 0
        self._held: dict[str, Change] = {}
        self._timers: list[tuple[int, Key]] = []
        self._timed: dict[Key, int] = {}
        self._wake = asyncio.Event()
        self._flushed_ns = clock.monotonic_ns()
        self.made = 0
        """Alerts made."""
        self.stored = 0
        """Alerts stored that were not there before."""

    @property
    def waiting(self) -> int:
        """Alerts that are not stored yet."""
        return self._waiting

    @property
    def is_loaded(self) -> bool:
        """Whether the states of all rules were read."""
        return all(rule.loaded for rule in self._rules.values())

    def adopt(self, lanes: Iterable[tuple[Lane, tuple[Subscription, ...]]]) -> None:
        """See to these endpoints and alert subscriptions from now on. New ones begin once their states are read."""
        before, self._rules, self._routes = self._rules, {}, Routes()
        for lane, subscriptions in lanes:
            for each in subscriptions:
                assert not isinstance(each.rule, EveryChange | Interval | Moved)
                rule = _Rule(each, each.rule, lane, lane.lease)
                old = before.get(each.subscription)
                if old is not None and old.identity == rule.identity:
                    rule.loaded = old.loaded
                self._rules[each.subscription] = rule
                self._routes.add(rule, assets=each.assets, allowed=lane.standing.assets)
        for key in [key for key in self._states if not self._goes_on(key)]:
            del self._states[key]
        for kept in (self._urgent, self._lazy, self._timed):
            for key in [key for key in kept if key not in self._states]:
                del kept[key]
        for key in [key for key in self._alerts if key not in self._states]:
            self._waiting -= len(self._alerts.pop(key))
        self._wake.set()

    def offer(self, change: Change, now_ns: int) -> None:
        """A price changed; `now_ns` is unix time."""
        for rule in self._routes.of(change.asset):
            if rule.loaded:
                if self._waiting >= self._settings.waiting_max:
                    # Newest wins: rules wait rather than alerts that cannot be kept.
                    self._held[change.asset] = change
                    return
                self._take(rule, change, now_ns)

    async def run(self) -> None:
        """Store what rules make, until cancelled."""
        while True:
            self._wake.clear()
            try:
                await self._load()
                self._advance()
                await self._store()
                self._backoff.succeeded()
            except TrinityError as error:
                if error.reason is not Reason.STORE_CONFLICT and self._backoff.failures == 0:
                    log.warning("alerts wait until they can be stored: %s", error.message)
                await self._clock.sleep(self._backoff.failed_s())
                continue
            if not (self._urgent or self._held):
                await wait_for(self._wake, self._rest_s(), self._clock)

    async def flush(self) -> None:
        """Store everything now. Raises TrinityError where that cannot be done."""
        self._lazy, self._urgent = {}, self._urgent | self._lazy
        await self._store()

    def _goes_on(self, key: Key) -> bool:
        rule = self._rules.get(key[0])
        return rule is not None and rule.loaded

    def _take(self, rule: _Rule, change: Change, now_ns: int) -> None:
        key = (rule.subscription.subscription, change.asset)
        old = self._states.get(key, _NEW)
        self._became(rule, key, old, evaluate(rule.rule, old, change, now_ns))

    def _became(self, rule: _Rule, key: Key, old: RuleState, found: Evaluated) -> None:
        new, alert = found
        if new is old:
            return
        self._states[key] = new
        if alert is not None:
            self._alerts.setdefault(key, []).append(self._delivery(rule, alert))
            self._waiting += 1
            self.made += 1
        if alert is not None or _depends(old) != _depends(new):
            self._urgent[key] = None
            self._wake.set()
        else:
            if not self._lazy:
                self._wake.set()
            self._lazy[key] = None
        due = due_ns(rule.rule, new)
        if due is not None and self._timed.get(key) != due:
            self._timed[key] = due
            heapq.heappush(self._timers, (due, key))
            self._wake.set()

    def _delivery(self, rule: _Rule, alert: Alert) -> Delivery:
        subscription = rule.subscription
        message = alert_id(
            subscription=subscription.subscription,
            rule_version=subscription.rule_version,
            asset=alert.change.asset,
            number=alert.number,
        )
        body = alert_body(alert, message=message, subscription=subscription.subscription, name=subscription.name)
        at_ns = alert.at_ns // 1_000 * 1_000
        return Delivery(
            delivery=message,
            endpoint=subscription.endpoint,
            associate=subscription.associate,
            subscription=subscription.subscription,
            asset=alert.change.asset,
            kind=DeliveryClass.ALERT,
            type=alert.kind,
            payload=body,
            ordered=True,
            create_time_ns=at_ns,
            due_time_ns=at_ns,
        )

    async def _load(self) -> None:
        """Read the states of rules that are new here, and look at the prices there are with them."""
        new = [rule for rule in self._rules.values() if not rule.loaded]
        for at in range(0, len(new), _SUBSCRIPTIONS_MAX):
            page = {rule.subscription.subscription: rule for rule in new[at : at + _SUBSCRIPTIONS_MAX]}
            for stored in await self._outbox.states(list(page)):
                rule = page[stored.subscription]
                if stored.rule_version == rule.subscription.rule_version:
                    key = (stored.subscription, stored.asset)
                    self._states[key] = stored.state
                    due = due_ns(rule.rule, stored.state)
                    if due is not None:
                        self._timed[key] = due
                        heapq.heappush(self._timers, (due, key))
            for rule in page.values():
                rule.loaded = True
            self._look_again(page)

    def _look_again(self, rules: Mapping[str, _Rule]) -> None:
        now_ns = self._clock.unix_ns()
        for change in self._prices():
            for rule in self._routes.of(change.asset):
                if rules.get(rule.subscription.subscription) is rule:
                    self._take(rule, change, now_ns)

    def _advance(self) -> None:
        """Tell what is owed and due."""
        now_ns = self._clock.unix_ns()
        while self._timers and self._timers[0][0] <= now_ns and self._waiting < self._settings.waiting_max:
            due, key = heapq.heappop(self._timers)
            if self._timed.get(key) != due:
                continue
            del self._timed[key]
            rule, state = self._rules.get(key[0]), self._states.get(key)
            if rule is not None and rule.loaded and state is not None:
                self._became(rule, key, state, advance(rule.rule, state, now_ns))

    async def _store(self) -> None:
        now_ns = self._clock.monotonic_ns()
        if now_ns - self._flushed_ns >= self._settings.states_ms * 1_000_000:
            self._flushed_ns = now_ns
            self._urgent |= self._lazy
            self._lazy = {}
        by_lease: dict[Lease, list[Key]] = {}
        for key in self._urgent:
            by_lease.setdefault(self._rules[key[0]].lease, []).append(key)
        lost: TrinityError | None = None
        for lease, keys in by_lease.items():
            try:
                for at in range(0, len(keys), _KEYS_MAX):
                    await self._commit(lease, keys[at : at + _KEYS_MAX])
            except TrinityError as error:
                if error.reason is not Reason.STORE_CONFLICT:
                    raise
                lost = error  # another worker's by now; the others' alerts go on
        if lost is not None:
            raise lost
        held, self._held = self._held, {}
        for change in held.values():
            self.offer(change, self._clock.unix_ns())

    async def _commit(self, lease: Lease, keys: Sequence[Key]) -> None:
        states, alerts = [], dict[Key, int]()
        told: list[Delivery] = []
        for key in keys:
            rule, state = self._rules.get(key[0]), self._states.get(key)
            if rule is None or state is None or rule.lease != lease:
                self._urgent.pop(key, None)
                continue
            version = rule.subscription.rule_version
            states.append(StoredState(subscription=key[0], rule_version=version, asset=key[1], state=state))
            made = self._alerts.get(key, [])
            alerts[key] = len(made)
            told += made
        if not states:
            return
        told.sort(key=lambda delivery: delivery.create_time_ns)
        new = await self._outbox.commit(lease, states, told)
        for each in states:
            key = (each.subscription, each.asset)
            if self._states.get(key) is each.state:
                self._urgent.pop(key, None)
                self._lazy.pop(key, None)
            if key in self._alerts:
                self._waiting -= len(self._alerts[key][: alerts[key]])
                del self._alerts[key][: alerts[key]]
                if not self._alerts[key]:
                    del self._alerts[key]
        self.stored += new
        if told:
            self._stored()

    def _rest_s(self) -> float:
        if self._timers:
            # Looked at now and then, because a wall clock may be set.
            return min(_LOOK_S, max(0.0, (self._timers[0][0] - self._clock.unix_ns()) / 1e9))
        return self._settings.states_ms / 1_000 if self._lazy else _IDLE_S


def _depends(state: RuleState) -> tuple[object, ...]:
    """What the next alert depends on, apart from the prices of a window."""
    return state.number, state.side, state.owed, state.since_ns, state.suppressed
