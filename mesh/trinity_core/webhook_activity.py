"""What workers see of an endpoint, and what its owner is told beside the webhook. Times are unix nanoseconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from trinity_core.webhook_breaker import Circuit
from trinity_core.webhook_retry import Outcome
from trinity_core.webhooks import DisableReason

COUNTS: Final = ("ticks_delivered", "ticks_failed", "alerts_delivered", "alerts_failed", "prices", "skipped")
"""Fields of `Activity` that grow; of several tellings they are summed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """How calls of an endpoint went, as its worker told a few seconds ago.

    Counts are of attempts and, for prices, of what they told. They only grow, and are of the
    endpoint's whole life.
    """

    ticks_delivered: int = 0
    ticks_failed: int = 0
    alerts_delivered: int = 0
    alerts_failed: int = 0
    prices: int = 0
    """Prices in the ticks delivered."""
    skipped: int = 0
    """Changes that were folded into them."""
    in_flight: int = 0
    """Attempts under way."""
    circuit: Circuit = Circuit.CLOSED
    ready_time_ns: int | None = None
    """When it is called next, where it is left alone until then."""
    success_time_ns: int | None = None
    """When it took something last."""
    failure_time_ns: int | None = None
    """When an attempt failed last."""
    failure_outcome: Outcome | None = None
    failure_status: int = 0
    failure_error: str = ""
    time_ns: int
    """When this was seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one worker saw since it told last: counts are of that time alone."""

    endpoint: str
    token: int
    """Of the lease that it held: what an earlier holder tells later counts, and hides nothing newer."""
    activity: Activity


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """An endpoint was given up, and its owner is told."""

    notice: int
    """Grows with each."""
    endpoint: str
    associate: str
    url: str
    """As it was then."""
    reason: DisableReason
    time_ns: int


def added(old: Activity, old_token: int, new: Activity, new_token: int) -> Activity:
    """Two tellings of one endpoint as one: counts are summed, and the newest holder's word counts for the rest."""
    latest = new if new_token >= old_token else old
    times = [each for each in (old.success_time_ns, new.success_time_ns) if each is not None]
    failed = max((old, new), key=lambda each: each.failure_time_ns or 0)
    return Activity(
        **{name: getattr(old, name) + getattr(new, name) for name in COUNTS},
        in_flight=latest.in_flight,
        circuit=latest.circuit,
        ready_time_ns=latest.ready_time_ns,
        success_time_ns=max(times) if times else None,
        failure_time_ns=failed.failure_time_ns,
        failure_outcome=failed.failure_outcome,
        failure_status=failed.failure_status,
        failure_error=failed.failure_error,
        time_ns=latest.time_ns,
    )
