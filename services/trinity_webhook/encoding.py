"""Endpoints, subscriptions and deliveries as their messages. No secret is in any of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from trinity.webhook.v1 import webhook_pb2
from trinity_core.prices import plain
from trinity_core.webhook_activity import Activity, Notice
from trinity_core.webhook_rules import (
    MS,
    Crossing,
    Divergence,
    EveryChange,
    Interval,
    Moved,
    PercentMove,
    Recovery,
    Rule,
    Staleness,
)
from trinity_core.webhook_secrets import public_text
from trinity_core.webhook_store import Logged, Standing
from trinity_core.webhooks import Attempt, Delivery, Secret, Subscription
from trinity_mesh.wire import stamp


def endpoint_to_message(standing: Standing, *, now_ns: int) -> webhook_pb2.Endpoint:
    """An endpoint with its live secrets."""
    endpoint = standing.endpoint
    return webhook_pb2.Endpoint(
        endpoint=endpoint.endpoint,
        associate=endpoint.associate,
        name=endpoint.name,
        url=endpoint.url,
        schemes=[scheme.value for scheme in endpoint.schemes],  # type: ignore[misc]
        state=endpoint.state.value,  # type: ignore[arg-type]
        paused=endpoint.paused,
        rate_per_s=endpoint.rate_per_s,
        in_flight_max=endpoint.in_flight_max,
        batch_max=endpoint.batch_max,
        batch_wait=lasting(endpoint.batch_ms),
        ttl=lasting(endpoint.ttl_ms),
        disable_reason=endpoint.disable_reason,  # type: ignore[arg-type]
        create_time=stamp(endpoint.create_time_ns),
        update_time=stamp(endpoint.update_time_ns),
        verify_time=_maybe(endpoint.verify_time_ns),
        disable_time=_maybe(endpoint.disable_time_ns),
        failing_since=_maybe(endpoint.failing_since_ns),
        secrets=[secret_to_message(secret) for secret in standing.secrets if secret.is_live(now_ns)],
        activity=None if standing.activity is None else _activity(standing.activity),
    )


def secret_to_message(secret: Secret) -> webhook_pb2.Secret:
    """What is not secret of a secret."""
    return webhook_pb2.Secret(
        secret_id=secret.secret,
        scheme=secret.scheme.value,  # type: ignore[arg-type]
        public_key=public_text(secret.public) if secret.public else "",
        create_time=stamp(secret.create_time_ns),
        expire_time=_maybe(secret.expire_time_ns),
    )


def keys_to_messages(secrets: Iterable[Secret], *, now_ns: int) -> list[webhook_pb2.PublicKey]:
    """The public keys of live secrets."""
    return [
        webhook_pb2.PublicKey(
            secret_id=secret.secret, public_key=public_text(secret.public), expire_time=_maybe(secret.expire_time_ns)
        )
        for secret in secrets
        if secret.public and secret.is_live(now_ns)
    ]


def subscription_to_message(subscription: Subscription) -> webhook_pb2.Subscription:
    """A subscription as its message."""
    return webhook_pb2.Subscription(
        subscription=subscription.subscription,
        endpoint=subscription.endpoint,
        associate=subscription.associate,
        name=subscription.name,
        paused=subscription.paused,
        assets=subscription.assets,
        create_time=stamp(subscription.create_time_ns),
        update_time=stamp(subscription.update_time_ns),
        **_rule(subscription.rule),
    )


def delivery_to_message(
    delivery: Delivery, *, attempts: Sequence[Attempt] = (), payload_bytes: int | None = None
) -> webhook_pb2.Delivery:
    """A delivery as its message: what is in it is not shown, for a challenge must be read at its address alone."""
    return webhook_pb2.Delivery(
        delivery=delivery.delivery,
        endpoint=delivery.endpoint,
        associate=delivery.associate,
        subscription=delivery.subscription,
        asset=delivery.asset,
        delivery_class=delivery.kind.value,  # type: ignore[arg-type]
        type=delivery.type,
        state=delivery.state.value,  # type: ignore[arg-type]
        create_time=stamp(delivery.create_time_ns),
        due_time=_maybe(delivery.due_time_ns),
        done_time=_maybe(delivery.done_time_ns),
        attempt_count=delivery.tries,
        attempts=map(_attempt, attempts),
        payload_bytes=len(delivery.payload) if payload_bytes is None else payload_bytes,
    )


def notice_to_message(notice: Notice) -> webhook_pb2.Notice:
    """A notice as its message."""
    return webhook_pb2.Notice(
        notice=str(notice.notice),
        endpoint=notice.endpoint,
        associate=notice.associate,
        url=notice.url,
        reason=notice.reason.value,  # type: ignore[arg-type]
        time=stamp(notice.time_ns),
    )


def logged_to_message(logged: Logged) -> webhook_pb2.Delivery:
    """A delivery with its attempts."""
    return delivery_to_message(logged.delivery, attempts=logged.attempts, payload_bytes=logged.payload_bytes)


def lasting(milliseconds: int) -> Duration:
    """A time in milliseconds as a Duration."""
    seconds, rest = divmod(milliseconds, 1_000)
    return Duration(seconds=seconds, nanos=rest * MS)


def _activity(activity: Activity) -> webhook_pb2.Activity:
    return webhook_pb2.Activity(
        ticks_delivered=activity.ticks_delivered,
        ticks_failed=activity.ticks_failed,
        alerts_delivered=activity.alerts_delivered,
        alerts_failed=activity.alerts_failed,
        prices=activity.prices,
        skipped=activity.skipped,
        in_flight=activity.in_flight,
        circuit=activity.circuit.value,  # type: ignore[arg-type]
        ready_time=_maybe(activity.ready_time_ns),
        success_time=_maybe(activity.success_time_ns),
        failure_time=_maybe(activity.failure_time_ns),
        failure_outcome=activity.failure_outcome or 0,  # type: ignore[arg-type]
        failure_status=activity.failure_status,
        failure_error=activity.failure_error,
        time=stamp(activity.time_ns),
    )


def _attempt(attempt: Attempt) -> webhook_pb2.Attempt:
    seconds, rest = divmod(attempt.latency_us, 10**6)
    return webhook_pb2.Attempt(
        number=attempt.number,
        time=stamp(attempt.at_ns),
        latency=Duration(seconds=seconds, nanos=rest * 1_000),
        outcome=attempt.outcome.value,  # type: ignore[arg-type]
        status=attempt.status,
        answer=attempt.answer,
        error=attempt.error,
    )


def _rule(rule: Rule) -> dict[str, Any]:
    match rule:
        case EveryChange():
            return {"every_change": webhook_pb2.EveryChange()}
        case Interval():
            return {"interval": webhook_pb2.Interval(interval=lasting(rule.interval_ms))}
        case Moved():
            return {"moved": webhook_pb2.Moved(bps=plain(rule.bps))}
        case Crossing():
            crossing = webhook_pb2.Crossing(
                direction=rule.direction.value,  # type: ignore[arg-type]
                threshold=plain(rule.threshold),
                hysteresis=plain(rule.hysteresis),
                cooldown=lasting(rule.cooldown_ms),
            )
            return {"crossing": crossing}
        case PercentMove():
            move = webhook_pb2.PercentMove(
                direction=rule.direction.value,  # type: ignore[arg-type]
                percent=plain(rule.percent),
                window=lasting(rule.window_ms),
                cooldown=lasting(rule.cooldown_ms),
            )
            return {"percent_move": move}
        case Divergence():
            divergence = webhook_pb2.Divergence(
                bps=plain(rule.bps), hysteresis_bps=plain(rule.hysteresis_bps), cooldown=lasting(rule.cooldown_ms)
            )
            return {"divergence": divergence}
        case Staleness():
            return {
                "staleness": webhook_pb2.Staleness(after=lasting(rule.after_ms), cooldown=lasting(rule.cooldown_ms))
            }
        case Recovery():
            return {"recovery": webhook_pb2.Recovery(after=lasting(rule.after_ms), cooldown=lasting(rule.cooldown_ms))}


def _maybe(unix_ns: int | None) -> Timestamp | None:
    return None if unix_ns is None else stamp(unix_ns)
