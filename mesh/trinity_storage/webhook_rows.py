"""Rows of webhooks to and from values: the columns, once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from trinity_core.webhook_activity import Activity
from trinity_core.webhook_alerts import state_from_json
from trinity_core.webhook_retry import Outcome
from trinity_core.webhook_rules import rule_from_json, rule_to_json
from trinity_core.webhook_secrets import Scheme
from trinity_core.webhook_store import Standing, StoredState
from trinity_core.webhook_urls import Kind
from trinity_core.webhooks import (
    Attempt,
    Challenge,
    Delivery,
    DeliveryClass,
    DeliveryState,
    DisableReason,
    Endpoint,
    EndpointState,
    Secret,
    Subscription,
)
from trinity_storage.moments import from_moment, to_moment
from trinity_storage.postgres import Row

ENDPOINT: Final = (
    "endpoint, shard, associate, name, url, kind, schemes, state, paused, rate_per_s, in_flight_max, batch_max, "
    "batch_ms, ttl_ms, disable_reason, create_time, update_time, verify_time, disable_time, failing_since, renew_time, "
    "challenge_digest, challenge_expire, challenge_tries, version"
)
SECRET: Final = "secret, endpoint, scheme, sealed, public, create_time, expire_time"
SUBSCRIPTION: Final = (
    "subscription, endpoint, associate, name, paused, assets, rule, create_time, update_time, version, rule_version"
)
DELIVERY: Final = (
    "delivery, endpoint, associate, subscription, asset, kind, type, payload, ordered, state, attempts, tries, "
    "create_time, due_time, done_time, last_status, last_outcome"
)
ATTEMPT: Final = "delivery, number, at, latency_us, outcome, status, answer, error"

DELIVERY_TYPES: Final = (
    "text, text, text, text, text, smallint, text, bytea, boolean, smallint, integer, integer, "
    "timestamptz, timestamptz, timestamptz, smallint, smallint"
)
"""Types of `DELIVERY`, in its order."""
ATTEMPT_TYPES: Final = "text, integer, timestamptz, bigint, smallint, smallint, bytea, text"
"""Types of `ATTEMPT`, in its order."""


def parameters(columns: str) -> str:
    """`$1, $2, …`, one a column."""
    return ", ".join(f"${number}" for number in range(1, columns.count(",") + 2))


def arrays(types: str) -> str:
    """`$1::text[], …`, one a column: rows as the parameters of one statement."""
    return ", ".join(f"${number}::{each}[]" for number, each in enumerate(types.split(", "), 1))


def columns_of(rows: Iterable[tuple[object, ...]]) -> list[list[object]]:
    """Rows as columns, for `arrays`; at least one row."""
    return [list(column) for column in zip(*rows, strict=True)]


def standing_of(
    row: Row,
    secrets: Iterable[Row],
    *,
    assets: Iterable[str] = (),
    activity: Activity | None = None,
    key_id: str = "",
) -> Standing:
    """An endpoint with what belongs to it."""
    challenge = None
    if row["challenge_digest"] is not None:
        challenge = Challenge(
            digest=row["challenge_digest"],
            expire_time_ns=from_moment(row["challenge_expire"]),
            tries_left=row["challenge_tries"],
        )
    return Standing(endpoint_of(row), tuple(map(secret_of, secrets)), challenge, tuple(assets), activity, key_id)


def endpoint_of(row: Row) -> Endpoint:
    """An endpoint from its columns."""
    reason = row["disable_reason"]
    return Endpoint(
        endpoint=row["endpoint"],
        associate=row["associate"],
        name=row["name"],
        url=row["url"],
        kind=Kind(row["kind"]),
        schemes=tuple(map(Scheme, row["schemes"])),
        state=EndpointState(row["state"]),
        paused=row["paused"],
        rate_per_s=row["rate_per_s"],
        in_flight_max=row["in_flight_max"],
        batch_max=row["batch_max"],
        batch_ms=row["batch_ms"],
        ttl_ms=row["ttl_ms"],
        disable_reason=None if reason is None else DisableReason(reason),
        create_time_ns=from_moment(row["create_time"]),
        update_time_ns=from_moment(row["update_time"]),
        verify_time_ns=from_moment(row["verify_time"]),
        disable_time_ns=from_moment(row["disable_time"]),
        failing_since_ns=from_moment(row["failing_since"]),
        renew_time_ns=from_moment(row["renew_time"]),
        version=row["version"],
    )


def endpoint_values(endpoint: Endpoint, challenge: Challenge | None) -> tuple[object, ...]:
    """An endpoint and its challenge as parameters, in the order of `ENDPOINT`."""
    return (
        endpoint.endpoint,
        endpoint.shard,
        endpoint.associate,
        endpoint.name,
        endpoint.url,
        endpoint.kind.value,
        [scheme.value for scheme in endpoint.schemes],
        endpoint.state.value,
        endpoint.paused,
        endpoint.rate_per_s,
        endpoint.in_flight_max,
        endpoint.batch_max,
        endpoint.batch_ms,
        endpoint.ttl_ms,
        None if endpoint.disable_reason is None else endpoint.disable_reason.value,
        to_moment(endpoint.create_time_ns),
        to_moment(endpoint.update_time_ns),
        to_moment(endpoint.verify_time_ns),
        to_moment(endpoint.disable_time_ns),
        to_moment(endpoint.failing_since_ns),
        to_moment(endpoint.renew_time_ns),
        None if challenge is None else challenge.digest,
        None if challenge is None else to_moment(challenge.expire_time_ns),
        None if challenge is None else challenge.tries_left,
        endpoint.version,
    )


def secret_of(row: Row) -> Secret:
    """A secret from its columns."""
    return Secret(
        secret=row["secret"],
        endpoint=row["endpoint"],
        scheme=Scheme(row["scheme"]),
        sealed=row["sealed"],
        public=row["public"],
        create_time_ns=from_moment(row["create_time"]),
        expire_time_ns=from_moment(row["expire_time"]),
    )


def secret_values(secret: Secret) -> tuple[object, ...]:
    """A secret as parameters, in the order of `SECRET`."""
    return (
        secret.secret,
        secret.endpoint,
        secret.scheme.value,
        secret.sealed,
        secret.public,
        to_moment(secret.create_time_ns),
        to_moment(secret.expire_time_ns),
    )


def subscription_of(row: Row) -> Subscription:
    """A subscription from its columns."""
    return Subscription(
        subscription=row["subscription"],
        endpoint=row["endpoint"],
        associate=row["associate"],
        name=row["name"],
        paused=row["paused"],
        assets=tuple(row["assets"]),
        rule=rule_from_json(row["rule"]),
        create_time_ns=from_moment(row["create_time"]),
        update_time_ns=from_moment(row["update_time"]),
        version=row["version"],
        rule_version=row["rule_version"],
    )


def subscription_values(subscription: Subscription) -> tuple[object, ...]:
    """A subscription as parameters, in the order of `SUBSCRIPTION`."""
    return (
        subscription.subscription,
        subscription.endpoint,
        subscription.associate,
        subscription.name,
        subscription.paused,
        list(subscription.assets),
        rule_to_json(subscription.rule),
        to_moment(subscription.create_time_ns),
        to_moment(subscription.update_time_ns),
        subscription.version,
        subscription.rule_version,
    )


def state_of(row: Row) -> StoredState:
    """A rule's state from its columns."""
    return StoredState(
        subscription=row["subscription"],
        rule_version=row["rule_version"],
        asset=row["asset"],
        state=state_from_json(row["state"]),
    )


def delivery_of(row: Row) -> Delivery:
    """A delivery from its columns."""
    outcome = row["last_outcome"]
    return Delivery(
        delivery=row["delivery"],
        endpoint=row["endpoint"],
        associate=row["associate"],
        subscription=row["subscription"],
        asset=row["asset"],
        kind=DeliveryClass(row["kind"]),
        type=row["type"],
        payload=row["payload"],
        ordered=row["ordered"],
        state=DeliveryState(row["state"]),
        attempts=row["attempts"],
        tries=row["tries"],
        create_time_ns=from_moment(row["create_time"]),
        due_time_ns=from_moment(row["due_time"]),
        done_time_ns=from_moment(row["done_time"]),
        last_status=row["last_status"],
        last_outcome=None if outcome is None else Outcome(outcome),
        sequence=row["sequence"],
    )


def delivery_values(delivery: Delivery) -> tuple[object, ...]:
    """A delivery as parameters, in the order of `DELIVERY`."""
    return (
        delivery.delivery,
        delivery.endpoint,
        delivery.associate,
        delivery.subscription,
        delivery.asset,
        delivery.kind.value,
        delivery.type,
        delivery.payload,
        delivery.ordered,
        delivery.state.value,
        delivery.attempts,
        delivery.tries,
        to_moment(delivery.create_time_ns),
        to_moment(delivery.due_time_ns),
        to_moment(delivery.done_time_ns),
        delivery.last_status,
        None if delivery.last_outcome is None else delivery.last_outcome.value,
    )


def attempt_of(row: Row) -> Attempt:
    """An attempt from its columns."""
    return Attempt(
        delivery=row["delivery"],
        number=row["number"],
        at_ns=from_moment(row["at"]),
        latency_us=row["latency_us"],
        outcome=Outcome(row["outcome"]),
        status=row["status"],
        answer=row["answer"],
        error=row["error"],
    )


def attempt_values(attempt: Attempt) -> tuple[object, ...]:
    """An attempt as parameters, in the order of `ATTEMPT`."""
    return (
        attempt.delivery,
        attempt.number,
        to_moment(attempt.at_ns),
        attempt.latency_us,
        attempt.outcome.value,
        attempt.status,
        attempt.answer,
        attempt.error,
    )
