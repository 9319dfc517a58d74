"""Ports of the stores that hold webhooks: what the service changes, the log, and what engines work off.

Three ports, because three parts use them: the service (`WebhookRepo`), the log for both
(`DeliveryLog`), and the workers that evaluate and deliver (`Outbox`). One store holds all three.

Every failure of a store MUST be raised as TrinityError STORE_UNAVAILABLE or STORE_CONFLICT.
`associate` None means all associates. Lists MUST have at most `limit` entries, newest first, those
of one time by descending id, and none that is not after the given place (time and id of the last).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from trinity_core.webhook_activity import Activity, Notice, Seen
from trinity_core.webhook_alerts import RuleState
from trinity_core.webhooks import (
    SHARDS,
    Attempt,
    Challenge,
    Delivery,
    DeliveryClass,
    DeliveryState,
    DisableReason,
    Endpoint,
    Secret,
    Subscription,
)

Place = tuple[int, str]
"""Creation time and id of the last entry of the page before."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What is known of an associate at the moment when something is made for it."""

    endpoints: int
    """How many endpoints it has."""
    subscriptions: tuple[Subscription, ...] = ()
    """Those of the endpoint in question."""
    assets: tuple[str, ...] = ()
    """Assets of its plan; empty: all."""


@dataclass(frozen=True, slots=True)
class Standing:
    """An endpoint with what belongs to it."""

    endpoint: Endpoint
    secrets: tuple[Secret, ...]
    """Newest first."""
    challenge: Challenge | None = None
    assets: tuple[str, ...] = ()
    """Assets of its owner's plan; empty: all. Told by `Outbox.watched`."""
    activity: Activity | None = None
    """How calls of it went; None where there was none, or nobody asked. Told by `WebhookRepo`."""
    key_id: str = ""
    """Key that deliveries are counted under: its owner's oldest that is not revoked. Told by `Outbox.watched`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """What a change makes of an endpoint. What is None stays as it is."""

    endpoint: Endpoint | None = None
    secrets: tuple[Secret, ...] | None = None
    """All that it has from now on."""
    challenge: Challenge | None = None
    end_challenge: bool = False
    """No challenge can be answered any more."""
    deliveries: tuple[Delivery, ...] = ()
    """What is to be sent because of it, committed with it."""
    end_challenges_ns: int | None = None
    """From this time on, challenges that were not delivered yet have failed; those in `deliveries` come after it."""


class WebhookRepo(Protocol):
    """Endpoints, secrets and subscriptions.

    Changes MUST be atomic, and happen one after the other for one associate: `make` and `change`
    MUST see what every earlier change has left. They are pure; what they raise ends the change
    without a trace. A change of an endpoint or subscription MUST give it a new `version`, greater
    than every other; one that changes nothing MUST NOT. Times that a store cannot hold are cut to
    whole microseconds.
    """

    async def create_endpoint(self, associate: str, make: Callable[[Scope], tuple[Standing, Delivery]]) -> Standing:
        """Add an endpoint with its secrets, its challenge and the delivery that brings it. Raises UNKNOWN_ASSOCIATE."""
        ...

    async def get_endpoint(self, endpoint: str) -> Standing | None:
        """One endpoint."""
        ...

    async def list_endpoints(self, *, associate: str | None, after: Place | None, limit: int) -> Sequence[Standing]:
        """Endpoints, without their challenges."""
        ...

    async def change_endpoint(self, endpoint: str, change: Callable[[Standing], Changed]) -> Standing:
        """Change an endpoint. Raises UNKNOWN_ENDPOINT."""
        ...

    async def delete_endpoint(self, endpoint: str, check: Callable[[Endpoint], None]) -> None:
        """Remove an endpoint with all that belongs to it. Raises UNKNOWN_ENDPOINT, and what `check` does."""
        ...

    async def create_subscription(self, endpoint: str, make: Callable[[Endpoint, Scope], Subscription]) -> Subscription:
        """Add a subscription. Raises UNKNOWN_ENDPOINT."""
        ...

    async def get_subscription(self, subscription: str) -> Subscription | None:
        """One subscription."""
        ...

    async def list_subscriptions(
        self, *, associate: str | None, endpoint: str | None, after: Place | None, limit: int
    ) -> Sequence[Subscription]:
        """Subscriptions."""
        ...

    async def change_subscription(
        self, subscription: str, change: Callable[[Subscription, Scope], Subscription]
    ) -> Subscription:
        """Change a subscription; where its rule or assets are others, its rule states MUST be gone with it.

        Raises UNKNOWN_SUBSCRIPTION.
        """
        ...

    async def delete_subscription(self, subscription: str, check: Callable[[Subscription], None]) -> None:
        """Remove a subscription; deliveries stay. Raises UNKNOWN_SUBSCRIPTION, and what `check` does."""
        ...

    async def list_notices(self, *, associate: str | None, after: Place | None, limit: int) -> Sequence[Notice]:
        """What owners are told of endpoints that were given up, also of those that are not there any more.

        Their ids in places are those of `notice_place`.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFilter:
    """Which deliveries; what is empty or None does not filter."""

    associate: str | None = None
    endpoint: str = ""
    subscription: str = ""
    kinds: tuple[DeliveryClass, ...] = ()
    states: tuple[DeliveryState, ...] = ()
    start_ns: int | None = None
    end_ns: int | None = None


class Logged(NamedTuple):
    """A delivery with its newest attempts, newest first. Its payload MAY be left out."""

    delivery: Delivery
    attempts: tuple[Attempt, ...]
    payload_bytes: int


class DeliveryLog(Protocol):
    """What was, and is, to be delivered."""

    async def enqueue(self, delivery: Delivery) -> Delivery:
        """Add a delivery. Raises UNKNOWN_ENDPOINT, and ALREADY_EXISTS for an id that is there."""
        ...

    async def find_delivery(self, delivery: str) -> Delivery | None:
        """One delivery."""
        ...

    async def list_deliveries(
        self, wanted: DeliveryFilter, *, after: Place | None, limit: int, attempts_max: int
    ) -> Sequence[Logged]:
        """Deliveries of a filter."""
        ...

    async def redeliver(self, delivery: str, *, due_ns: int) -> Delivery:
        """Have a delivery tried anew, out of order, whatever became of it. Raises UNKNOWN_DELIVERY."""
        ...

    async def replay(
        self, wanted: DeliveryFilter, *, after: Place | None, due_ns: int, limit: int
    ) -> tuple[int, Place | None]:
        """Likewise for all of a filter that are not pending, oldest first; how many, and the place of the rest."""
        ...

    async def count_recent(self, endpoint: str, kind: DeliveryClass, *, since_ns: int) -> int:
        """How many deliveries of a kind were made for an endpoint since a time."""
        ...


@dataclass(frozen=True, slots=True)
class Lease:
    """One part of the endpoints, held."""

    shard: int
    token: int
    """Grows with every holder: what an earlier one writes is refused."""


def share_of(holder: str, workers: Collection[str]) -> int:
    """How many parts a worker may hold: all shares together are all parts, and differ by one at most."""
    whole, rest = divmod(SHARDS, len(workers))
    return whole + (sorted(workers).index(holder) < rest)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredState:
    """The state of one rule for one asset."""

    subscription: str
    rule_version: int
    asset: str
    state: RuleState


class Watched(NamedTuple):
    """What an engine needs of the endpoints that it holds."""

    standings: Sequence[Standing]
    subscriptions: Sequence[Subscription]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of an attempt, for its delivery and its endpoint."""

    attempt: Attempt
    state: DeliveryState
    due_time_ns: int | None = None
    """When it is tried next, where it is pending."""
    failing: bool
    """The endpoint failed by it: its `failing_since` is set where it was not, and cleared otherwise."""
    disable: DisableReason | None = None
    """The endpoint is given up; what is pending for it has failed."""


class Outbox(Protocol):
    """What engines work off: leases of parts, rule states, alerts, attempts.

    A lease is a share of the endpoints for one worker. A worker that is killed loses its leases at
    their end; `token` MUST then have grown, and every write with the old one MUST raise
    STORE_CONFLICT (`lost_lease`) and change nothing. `now_ns` is the time of the worker; workers'
    clocks MUST agree to within a fraction of a lease.
    """

    async def lease(self, holder: str, *, now_ns: int, until_ns: int, take: bool = True) -> Sequence[Lease]:
        """Renew what a worker holds, and take what is free, up to its fair share of all; what it holds now.

        What had run out and was nobody's meanwhile MUST be renewed like the rest, under its token.
        Without `take` nothing is taken: the others may only be late, as this one was.
        The share MUST be even over the workers that called and have not ended. What is beyond it
        MUST be given up at once. Calls of several workers MUST NOT wait for each other's.
        """
        ...

    async def end_lease(self, holder: str) -> None:
        """Give up everything a worker holds: others take it at once."""
        ...

    async def watched(self, shards: Collection[int]) -> Watched:
        """All endpoints of some parts but those of suspended associates, with subscriptions that are not paused."""
        ...

    async def version(self) -> int:
        """A number that MUST grow with whatever changes what `watched` tells: removals, plans and suspensions too."""
        ...

    async def states(self, subscriptions: Collection[str]) -> Sequence[StoredState]:
        """The states of rules as they were committed last."""
        ...

    async def commit(self, lease: Lease, states: Sequence[StoredState], alerts: Sequence[Delivery]) -> int:
        """Store states and the alerts that came of them: all or nothing. How many alerts were new.

        A state whose `rule_version` is not its subscription's MUST be left out, with its alerts; so
        MUST one with a lower `number` than the stored one's. An alert whose id is there MUST NOT be
        stored again. Alerts of one call have their `sequence` in the order given.
        """
        ...

    async def claim(
        self, leases: Collection[Lease], *, now_ns: int, limit: int, per_endpoint: int, busy: Collection[str]
    ) -> Sequence[Delivery]:
        """Deliveries that are due, of active endpoints that are not paused and not `busy`; challenges of any endpoint.

        Those of suspended associates wait.
        An ordered delivery MUST NOT be among them while an earlier ordered one of its subscription
        is pending. What a token has claimed MUST NOT be given to it again until `record` or
        `unclaim`; a new token MUST be given it at once. Calls MUST NOT wait for each other.
        """
        ...

    async def unclaim(self, deliveries: Collection[str]) -> None:
        """Give back claims that came to nothing."""
        ...

    async def release(self, leases: Collection[Lease], *, but: Collection[str]) -> None:
        """Give back every claim of these leases but some: after a claim of which nobody knows what it gave."""
        ...

    async def record(self, lease: Lease, results: Sequence[Result]) -> None:
        """Store attempts and what follows from them: all or nothing.

        One that is stored already MUST change nothing: the call is repeated where its answer was lost.
        """
        ...

    async def log(self, entries: Sequence[tuple[Delivery, Attempt]]) -> None:
        """Store deliveries that are over, ticks, each with its newest attempt: whoever holds the lease, it was made.

        One whose id is there MUST become what it is given as, unless it has more `tries` already, and
        keep the attempts that it has. One of an endpoint that is not there any more MUST be left out.
        """
        ...

    async def judge(self, lease: Lease, endpoint: str, result: Result) -> None:
        """Store what an attempt that is not in the outbox, a tick's, says of its endpoint: as `record` does."""
        ...

    async def renewed(self, times: Mapping[str, int]) -> None:
        """Store when UDP endpoints asked last to be sent on; this is no change of an endpoint."""
        ...

    async def see(self, seen: Sequence[Seen]) -> None:
        """Add what was seen of endpoints, each once, to what is known of them (`added`); it is no change of one.

        One that is not there any more MUST be left out.
        """
        ...

    async def forget(self, *, before_ns: int, limit: int) -> int:
        """Remove deliveries that are over and were made before a time, with their attempts; how many.

        Notices from before that time MUST be gone with them.
        """
        ...


def notice_place(notice: Notice) -> Place:
    """Where a page ends that ends with a notice."""
    return notice.time_ns, str(notice.notice)


class Notifier(Protocol):
    """Tells owners what a webhook cannot tell them, by another channel."""

    async def endpoint_disabled(self, endpoint: Endpoint, *, email: str, reason: DisableReason) -> None:
        """Say that an endpoint was given up. It MUST NOT raise for a message that could not be sent."""
        ...
