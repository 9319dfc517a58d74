"""What follows from an attempt, for its delivery and for its endpoint. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from trinity_core.webhook_retry import Next, Outcome, RetryPolicy
from trinity_core.webhook_store import Result
from trinity_core.webhooks import CHALLENGE_S, Delivery, DeliveryClass, DeliveryState, DisableReason
from trinity_webhook.sending import Sent

_DISABLES: Final = {Next.DISABLE_GONE: DisableReason.GONE, Next.DISABLE_FAILING: DisableReason.FAILING}


def judge(
    delivery: Delivery,
    sent: Sent,
    *,
    policy: RetryPolicy,
    at_ns: int,
    now_ns: int,
    failing_since_ns: int | None,
    random: Callable[[], float],
) -> Result:
    """What follows from an attempt that began at `at_ns` and ended at `now_ns`, unix time.

    An alert is tried by the schedule; a challenge likewise, for as long as it can be answered; a
    test once, because it asks how the endpoint answers now. A request that met a kept connection
    which had been closed is made again at once.
    """
    attempt = sent.attempt(delivery.delivery, delivery.tries + 1, at_ns=at_ns)
    verdict = policy.judge(
        sent.outcome,
        attempts=delivery.attempts + 1,
        now_ns=now_ns,
        failing_since_ns=failing_since_ns,
        retry_after_s=sent.retry_after_s,
        random=random,
    )
    failing = sent.outcome is not Outcome.DELIVERED
    challenge = delivery.kind is DeliveryClass.CHALLENGE
    disable = None if challenge else _DISABLES.get(verdict.next)
    if verdict.next is Next.DONE:
        return Result(attempt=attempt, state=DeliveryState.DELIVERED, failing=False)
    due_ns = None
    if verdict.next is Next.RETRY:
        due_ns = now_ns if sent.stale else verdict.due_ns
    elif challenge and verdict.next is Next.DISABLE_FAILING:
        due_ns = now_ns + policy.delays_s[1] * 10**9
    if challenge and due_ns is not None and due_ns >= delivery.create_time_ns + CHALLENGE_S * 10**9:
        due_ns = None
    if delivery.kind is DeliveryClass.TEST and not sent.stale:
        due_ns = None
    if due_ns is None:
        return Result(attempt=attempt, state=DeliveryState.FAILED, failing=failing, disable=disable)
    return Result(attempt=attempt, state=DeliveryState.PENDING, due_time_ns=due_ns // 1_000 * 1_000, failing=failing)
