"""The twin of the log and the outbox of webhooks, in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from trinity_core.errors import Reason, TrinityError
from trinity_core.webhook_activity import Notice, Seen, added
from trinity_core.webhook_errors import lost_lease, unknown_delivery
from trinity_core.webhook_memory import MemoryTables, newest_first
from trinity_core.webhook_store import (
    DeliveryFilter,
    Lease,
    Logged,
    Place,
    Result,
    StoredState,
    Watched,
    share_of,
)
from trinity_core.webhooks import SHARDS, Attempt, Delivery, DeliveryClass, DeliveryState, EndpointState


class MemoryDeliveryLog:
    """DeliveryLog."""

    def __init__(self, tables: MemoryTables) -> None:
        self._tables = tables

    async def enqueue(self, delivery: Delivery) -> Delivery:
        """See DeliveryLog."""
        self._tables.standing(delivery.endpoint)
        if delivery.delivery in self._tables.deliveries:
            raise TrinityError(Reason.ALREADY_EXISTS, "it exists already")
        return self._tables.add_delivery(delivery)

    async def find_delivery(self, delivery: str) -> Delivery | None:
        """See DeliveryLog."""
        return self._tables.deliveries.get(delivery)

    async def list_deliveries(
        self, wanted: DeliveryFilter, *, after: Place | None, limit: int, attempts_max: int
    ) -> Sequence[Logged]:
        """See DeliveryLog."""
        found = newest_first([(each.create_time_ns, each.delivery, each) for each in self._wanted(wanted)], after)
        return [
            Logged(
                replace(each, payload=b""),
                tuple(self._tables.attempts.get(name, [])[: -attempts_max - 1 : -1]),
                len(each.payload),
            )
            for _, name, each in found[:limit]
        ]

    async def redeliver(self, delivery: str, *, due_ns: int) -> Delivery:
        """See DeliveryLog."""
        old = self._tables.deliveries.get(delivery)
        if old is None:
            raise unknown_delivery(delivery)
        if old.state is not DeliveryState.PENDING:
            self._tables.claims.pop(delivery, None)
        new = replace(
            old, state=DeliveryState.PENDING, due_time_ns=due_ns, done_time_ns=None, ordered=False, attempts=0
        )
        self._tables.deliveries[delivery] = new
        return new

    async def replay(
        self, wanted: DeliveryFilter, *, after: Place | None, due_ns: int, limit: int
    ) -> tuple[int, Place | None]:
        """See DeliveryLog."""
        found = sorted(
            (each.create_time_ns, each.delivery)
            for each in self._wanted(wanted)
            if each.state is not DeliveryState.PENDING
        )
        places = [place for place in found if after is None or place > after]
        for _, name in places[:limit]:
            await self.redeliver(name, due_ns=due_ns)
        return len(places[:limit]), places[limit - 1] if len(places) > limit else None

    async def count_recent(self, endpoint: str, kind: DeliveryClass, *, since_ns: int) -> int:
        """See DeliveryLog."""
        return sum(
            each.endpoint == endpoint and each.kind is kind and each.create_time_ns > since_ns
            for each in self._tables.deliveries.values()
        )

    def _wanted(self, wanted: DeliveryFilter) -> list[Delivery]:
        return [
            each
            for each in self._tables.deliveries.values()
            if wanted.associate in (None, each.associate)
            and wanted.endpoint in ("", each.endpoint)
            and wanted.subscription in ("", each.subscription)
            and (not wanted.kinds or each.kind in wanted.kinds)
            and (not wanted.states or each.state in wanted.states)
            and (wanted.start_ns is None or each.create_time_ns >= wanted.start_ns)
            and (wanted.end_ns is None or each.create_time_ns < wanted.end_ns)
        ]


@dataclass(slots=True)
class _Held:
    holder: str = ""
    token: int = 0
    until_ns: int = 0


class MemoryOutbox:
    """Outbox."""

    def __init__(self, tables: MemoryTables) -> None:
        self._tables = tables
        self._held = {shard: _Held() for shard in range(SHARDS)}
        self._workers: dict[str, int] = {}
        self._token = 0

    async def lease(self, holder: str, *, now_ns: int, until_ns: int, take: bool = True) -> Sequence[Lease]:
        """See Outbox."""
        self._workers = {name: end for name, end in self._workers.items() if end > now_ns} | {holder: until_ns}
        share = share_of(holder, list(self._workers))
        mine = [held for held in self._held.values() if held.holder == holder]
        for held in mine[:share]:
            held.until_ns = until_ns
        for held in mine[share:]:
            held.holder, held.until_ns = "", 0
        free = [held for held in self._held.values() if held.until_ns <= now_ns]
        for held in free[: max(0, share - len(mine)) if take else 0]:
            self._token += 1
            held.holder, held.token, held.until_ns = holder, self._token, until_ns
        return [
            Lease(shard, held.token)
            for shard, held in self._held.items()
            if held.holder == holder and held.until_ns > now_ns
        ]

    async def end_lease(self, holder: str) -> None:
        """See Outbox."""
        self._workers.pop(holder, None)
        for held in self._held.values():
            if held.holder == holder:
                held.holder, held.until_ns = "", 0

    async def watched(self, shards: Collection[int]) -> Watched:
        """See Outbox."""
        tables = self._tables
        standings = [
            replace(
                each,
                assets=tables.associates[each.endpoint.associate],
                key_id=tables.keys.get(each.endpoint.associate, ""),
            )
            for _, each in sorted(tables.standings.items())
            if each.endpoint.shard in shards and each.endpoint.associate not in tables.suspended
        ]
        names = {each.endpoint.endpoint for each in standings}
        return Watched(
            standings,
            [each for _, each in sorted(tables.subscriptions.items()) if each.endpoint in names and not each.paused],
        )

    async def version(self) -> int:
        """See Outbox."""
        return self._tables.version

    async def states(self, subscriptions: Collection[str]) -> Sequence[StoredState]:
        """See Outbox."""
        return [state for place, state in sorted(self._tables.states.items()) if place[0] in subscriptions]

    async def commit(self, lease: Lease, states: Sequence[StoredState], alerts: Sequence[Delivery]) -> int:
        """See Outbox."""
        self._check(lease)
        tables = self._tables
        taken = set()
        for each in states:
            place = (each.subscription, each.asset)
            owner = tables.subscriptions.get(each.subscription)
            old = tables.states.get(place)
            if owner is None or owner.rule_version != each.rule_version:
                continue
            if old is not None and old.state.number > each.state.number:
                continue
            tables.states[place] = each
            taken.add(place)
        new = [
            alert
            for alert in alerts
            if (alert.subscription, alert.asset) in taken and alert.delivery not in tables.deliveries
        ]
        for alert in new:
            tables.add_delivery(alert)
        return len(new)

    async def claim(
        self, leases: Collection[Lease], *, now_ns: int, limit: int, per_endpoint: int, busy: Collection[str]
    ) -> Sequence[Delivery]:
        """See Outbox."""
        tables = self._tables
        tokens = {lease.shard: lease.token for lease in leases}
        heads: set[str] = set()
        given: dict[str, int] = {}
        found: list[Delivery] = []
        pending = [each for each in tables.deliveries.values() if each.state is DeliveryState.PENDING]
        firsts: set[str] = set()
        for each in sorted(pending, key=lambda each: each.sequence):
            if each.ordered and each.subscription not in firsts:
                firsts.add(each.subscription)
                heads.add(each.delivery)
        for each in sorted(pending, key=lambda each: (each.due_time_ns or 0, each.sequence)):
            endpoint = tables.standings[each.endpoint].endpoint
            token = tokens.get(endpoint.shard)
            ready = endpoint.state is EndpointState.ACTIVE and not endpoint.paused
            if (
                token is None
                or each.endpoint in busy
                or endpoint.associate in tables.suspended
                or each.due_time_ns is None
                or each.due_time_ns > now_ns
                or tables.claims.get(each.delivery, 0) == token
                or (each.ordered and each.delivery not in heads)
                or not (ready or each.kind is DeliveryClass.CHALLENGE)
                or given.get(each.endpoint, 0) >= per_endpoint
                or len(found) >= limit
            ):
                continue
            given[each.endpoint] = given.get(each.endpoint, 0) + 1
            tables.claims[each.delivery] = token
            found.append(each)
        return sorted(found, key=lambda each: each.sequence)

    async def unclaim(self, deliveries: Collection[str]) -> None:
        """See Outbox."""
        for name in deliveries:
            self._tables.claims.pop(name, None)

    async def release(self, leases: Collection[Lease], *, but: Collection[str]) -> None:
        """See Outbox."""
        tokens = {lease.token for lease in leases}
        for name in [name for name, token in self._tables.claims.items() if token in tokens and name not in but]:
            del self._tables.claims[name]

    async def record(self, lease: Lease, results: Sequence[Result]) -> None:
        """See Outbox."""
        self._check(lease)
        for result in results:
            old = self._tables.deliveries.get(result.attempt.delivery)
            if old is not None and old.tries < result.attempt.number:
                self._record(old, result)

    def _record(self, old: Delivery, result: Result) -> None:
        tables, attempt = self._tables, result.attempt
        over = result.state is not DeliveryState.PENDING
        self._add_attempt(attempt)
        tables.claims.pop(old.delivery, None)
        tables.deliveries[old.delivery] = replace(
            old,
            state=result.state,
            due_time_ns=None if over else result.due_time_ns or attempt.at_ns,
            done_time_ns=attempt.at_ns if over else None,
            attempts=old.attempts + 1,
            tries=max(old.tries, attempt.number),
            last_status=attempt.status,
            last_outcome=attempt.outcome,
        )
        self._judge(old.endpoint, result)

    def _judge(self, name: str, result: Result) -> None:
        tables, attempt = self._tables, result.attempt
        standing = tables.standings[name]
        endpoint = standing.endpoint
        since = (endpoint.failing_since_ns or attempt.at_ns) if result.failing else None
        endpoint = replace(endpoint, failing_since_ns=since)
        if result.disable is not None:
            endpoint = replace(
                endpoint,
                state=EndpointState.DISABLED,
                disable_reason=result.disable,
                disable_time_ns=attempt.at_ns,
                version=tables.count_up(),
            )
            tables.notices.append(
                Notice(
                    notice=tables.version,
                    endpoint=name,
                    associate=endpoint.associate,
                    url=endpoint.url,
                    reason=result.disable,
                    time_ns=attempt.at_ns,
                )
            )
            for each in list(tables.deliveries.values()):
                if each.endpoint == name and each.state is DeliveryState.PENDING:
                    tables.claims.pop(each.delivery, None)
                    tables.deliveries[each.delivery] = replace(
                        each, state=DeliveryState.FAILED, due_time_ns=None, done_time_ns=attempt.at_ns
                    )
        tables.standings[name] = replace(standing, endpoint=endpoint)

    async def log(self, entries: Sequence[tuple[Delivery, Attempt]]) -> None:
        """See Outbox."""
        for delivery, attempt in entries:
            if delivery.endpoint not in self._tables.standings:
                continue
            old = self._tables.deliveries.get(delivery.delivery)
            if old is None:
                self._tables.add_delivery(delivery)
            elif old.tries <= delivery.tries:
                self._tables.deliveries[delivery.delivery] = replace(
                    old,
                    state=delivery.state,
                    attempts=delivery.attempts,
                    tries=delivery.tries,
                    due_time_ns=None,
                    done_time_ns=delivery.done_time_ns,
                    last_status=delivery.last_status,
                    last_outcome=delivery.last_outcome,
                )
            self._add_attempt(attempt)

    async def judge(self, lease: Lease, endpoint: str, result: Result) -> None:
        """See Outbox."""
        self._check(lease)
        if endpoint in self._tables.standings:
            self._judge(endpoint, result)

    async def renewed(self, times: Mapping[str, int]) -> None:
        """See Outbox."""
        for name, at_ns in times.items():
            old = self._tables.standings.get(name)
            if old is not None:
                at_ns = at_ns // 1_000 * 1_000
                self._tables.standings[name] = replace(old, endpoint=replace(old.endpoint, renew_time_ns=at_ns))

    async def see(self, seen: Sequence[Seen]) -> None:
        """See Outbox."""
        for each in seen:
            if each.endpoint in self._tables.standings:
                old = self._tables.activities.get(each.endpoint)
                new = each.activity if old is None else added(old[1], old[0], each.activity, each.token)
                self._tables.activities[each.endpoint] = max(each.token, 0 if old is None else old[0]), new

    async def forget(self, *, before_ns: int, limit: int) -> int:
        """See Outbox."""
        self._tables.notices = [each for each in self._tables.notices if each.time_ns >= before_ns]
        old = sorted(
            (each.create_time_ns, each.delivery)
            for each in self._tables.deliveries.values()
            if each.create_time_ns < before_ns and each.state is not DeliveryState.PENDING
        )
        for _, name in old[:limit]:
            self._tables.remove_delivery(name)
        return len(old[:limit])

    def _add_attempt(self, attempt: Attempt) -> None:
        attempts = self._tables.attempts.setdefault(attempt.delivery, [])
        if all(each.number != attempt.number for each in attempts):
            attempts.append(attempt)
            attempts.sort(key=lambda each: each.number)

    def _check(self, lease: Lease) -> None:
        if self._held[lease.shard].token != lease.token:
            raise lost_lease()
