"""The twin of the store of webhooks, in memory: for tests and for trying things out, in one process.

It keeps every rule that the ports state; the contract suite runs on it and on PostgreSQL alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from trinity_core.account_errors import unknown_associate
from trinity_core.webhook_activity import Activity, Notice
from trinity_core.webhook_errors import unknown_endpoint, unknown_subscription
from trinity_core.webhook_store import Changed, Place, Scope, Standing, StoredState
from trinity_core.webhooks import Attempt, Delivery, DeliveryClass, DeliveryState, Endpoint, Subscription

T = TypeVar("T")


class MemoryTables:
    """What one store holds."""

    def __init__(self) -> None:
        self.associates: dict[str, tuple[str, ...]] = {}
        """Associates with the assets of their plan."""
        self.suspended: set[str] = set()
        self.keys: dict[str, str] = {}
        """Key that deliveries to an associate are counted under."""
        self.standings: dict[str, Standing] = {}
        self.subscriptions: dict[str, Subscription] = {}
        self.deliveries: dict[str, Delivery] = {}
        self.claims: dict[str, int] = {}
        self.attempts: dict[str, list[Attempt]] = {}
        self.states: dict[tuple[str, str], StoredState] = {}
        self.activities: dict[str, tuple[int, Activity]] = {}
        """What was seen of endpoints, with the token of who saw it last."""
        self.notices: list[Notice] = []
        self.version = 1
        self.sequence = 0

    def add_associate(self, associate: str, *, assets: Sequence[str] = (), suspended: bool = False) -> None:
        """Make or change an associate."""
        self.associates[associate] = tuple(assets)
        (self.suspended.add if suspended else self.suspended.discard)(associate)
        self.version += 1

    def scope(self, associate: str, endpoint: str = "") -> Scope:
        """See Scope. Raises UNKNOWN_ASSOCIATE."""
        if associate not in self.associates:
            raise unknown_associate(associate)
        return Scope(
            sum(each.endpoint.associate == associate for each in self.standings.values()),
            tuple(each for each in self.subscriptions.values() if each.endpoint == endpoint),
            self.associates[associate],
        )

    def standing(self, endpoint: str) -> Standing:
        """One endpoint. Raises UNKNOWN_ENDPOINT."""
        found = self.standings.get(endpoint)
        if found is None:
            raise unknown_endpoint(endpoint)
        return found

    def with_activity(self, standing: Standing) -> Standing:
        """An endpoint with what was seen of it."""
        seen = self.activities.get(standing.endpoint.endpoint)
        return standing if seen is None else replace(standing, activity=seen[1])

    def add_delivery(self, delivery: Delivery) -> Delivery:
        """Add a delivery whose id is not there."""
        self.sequence += 1
        made = self.deliveries[delivery.delivery] = replace(delivery, sequence=self.sequence)
        return made

    def remove_delivery(self, delivery: str) -> None:
        """Remove a delivery with its attempts."""
        del self.deliveries[delivery]
        self.claims.pop(delivery, None)
        self.attempts.pop(delivery, None)

    def drop_states(self, subscription: str) -> None:
        """Forget the states of a rule."""
        self.states = {place: state for place, state in self.states.items() if place[0] != subscription}

    def count_up(self) -> int:
        """The next version."""
        self.version += 1
        return self.version


class MemoryWebhooks:
    """WebhookRepo."""

    def __init__(self, tables: MemoryTables) -> None:
        self._tables = tables

    async def create_endpoint(self, associate: str, make: Callable[[Scope], tuple[Standing, Delivery]]) -> Standing:
        """See WebhookRepo."""
        standing, challenge = make(self._tables.scope(associate))
        made = replace(standing, endpoint=replace(standing.endpoint, version=self._tables.count_up()))
        self._tables.standings[made.endpoint.endpoint] = made
        self._tables.add_delivery(challenge)
        return made

    async def get_endpoint(self, endpoint: str) -> Standing | None:
        """See WebhookRepo."""
        found = self._tables.standings.get(endpoint)
        return None if found is None else self._tables.with_activity(found)

    async def list_endpoints(self, *, associate: str | None, after: Place | None, limit: int) -> Sequence[Standing]:
        """See WebhookRepo."""
        found = [
            (each.endpoint.create_time_ns, each.endpoint.endpoint, each)
            for each in self._tables.standings.values()
            if associate in (None, each.endpoint.associate)
        ]
        return [self._tables.with_activity(each) for *_, each in newest_first(found, after)[:limit]]

    async def change_endpoint(self, endpoint: str, change: Callable[[Standing], Changed]) -> Standing:
        """See WebhookRepo."""
        tables = self._tables
        old = tables.standing(endpoint)
        changed = change(old)
        new = Standing(
            changed.endpoint or old.endpoint,
            old.secrets if changed.secrets is None else changed.secrets,
            None if changed.end_challenge else changed.challenge or old.challenge,
        )
        if new.endpoint != old.endpoint or new.secrets != old.secrets:
            new = replace(new, endpoint=replace(new.endpoint, version=tables.count_up()))
        tables.standings[endpoint] = new
        if changed.end_challenges_ns is not None:
            for each in list(tables.deliveries.values()):
                waits = each.kind is DeliveryClass.CHALLENGE and each.state is DeliveryState.PENDING
                if waits and each.endpoint == endpoint:
                    tables.deliveries[each.delivery] = replace(
                        each, state=DeliveryState.FAILED, due_time_ns=None, done_time_ns=changed.end_challenges_ns
                    )
        for delivery in changed.deliveries:
            tables.add_delivery(delivery)
        return tables.with_activity(new)

    async def delete_endpoint(self, endpoint: str, check: Callable[[Endpoint], None]) -> None:
        """See WebhookRepo."""
        tables = self._tables
        check(tables.standing(endpoint).endpoint)
        tables.count_up()
        del tables.standings[endpoint]
        tables.activities.pop(endpoint, None)
        for each in [each for each in tables.subscriptions.values() if each.endpoint == endpoint]:
            del tables.subscriptions[each.subscription]
            tables.drop_states(each.subscription)
        for name in [name for name, each in tables.deliveries.items() if each.endpoint == endpoint]:
            tables.remove_delivery(name)

    async def create_subscription(self, endpoint: str, make: Callable[[Endpoint, Scope], Subscription]) -> Subscription:
        """See WebhookRepo."""
        owner = self._tables.standing(endpoint).endpoint
        made = make(owner, self._tables.scope(owner.associate, endpoint))
        version = self._tables.count_up()
        made = self._tables.subscriptions[made.subscription] = replace(made, version=version, rule_version=version)
        return made

    async def get_subscription(self, subscription: str) -> Subscription | None:
        """See WebhookRepo."""
        return self._tables.subscriptions.get(subscription)

    async def list_subscriptions(
        self, *, associate: str | None, endpoint: str | None, after: Place | None, limit: int
    ) -> Sequence[Subscription]:
        """See WebhookRepo."""
        found = [
            (each.create_time_ns, each.subscription, each)
            for each in self._tables.subscriptions.values()
            if associate in (None, each.associate) and endpoint in (None, each.endpoint)
        ]
        return [each for *_, each in newest_first(found, after)[:limit]]

    async def change_subscription(
        self, subscription: str, change: Callable[[Subscription, Scope], Subscription]
    ) -> Subscription:
        """See WebhookRepo."""
        tables = self._tables
        old = self._the_subscription(subscription)
        new = change(old, tables.scope(old.associate, old.endpoint))
        if new == old:
            return old
        version = tables.count_up()
        anew = (new.rule, new.assets) != (old.rule, old.assets)
        new = replace(new, version=version, rule_version=version if anew else old.rule_version)
        tables.subscriptions[subscription] = new
        if anew:
            tables.drop_states(subscription)
        return new

    async def delete_subscription(self, subscription: str, check: Callable[[Subscription], None]) -> None:
        """See WebhookRepo."""
        check(self._the_subscription(subscription))
        self._tables.count_up()
        del self._tables.subscriptions[subscription]
        self._tables.drop_states(subscription)

    async def list_notices(self, *, associate: str | None, after: Place | None, limit: int) -> Sequence[Notice]:
        """See WebhookRepo."""
        place = None if after is None else (after[0], int(after[1]))
        found = [each for each in self._tables.notices if associate in (None, each.associate)]
        found.sort(key=lambda each: (each.time_ns, each.notice), reverse=True)
        return [each for each in found if place is None or (each.time_ns, each.notice) < place][:limit]

    def _the_subscription(self, subscription: str) -> Subscription:
        found = self._tables.subscriptions.get(subscription)
        if found is None:
            raise unknown_subscription(subscription)
        return found


def newest_first(entries: Sequence[tuple[int, str, T]], after: Place | None) -> list[tuple[int, str, T]]:
    """Entries of time and id in the order of lists, after a place."""
    ordered = sorted(entries, key=lambda entry: entry[:2], reverse=True)
    return ordered if after is None else [entry for entry in ordered if entry[:2] < after]
