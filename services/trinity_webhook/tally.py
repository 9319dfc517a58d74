"""What attempts to call one endpoint came to, until it is told to the store. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from trinity_core.webhook_activity import COUNTS, Activity
from trinity_core.webhook_retry import Outcome
from trinity_core.webhook_ticks import Item
from trinity_core.webhooks import ERROR_LENGTH_MAX, DeliveryClass
from trinity_webhook.sending import Sent

_COUNTED_AS: Final = {
    (DeliveryClass.TICK, True): "ticks_delivered",
    (DeliveryClass.TICK, False): "ticks_failed",
    (DeliveryClass.ALERT, True): "alerts_delivered",
    (DeliveryClass.ALERT, False): "alerts_failed",
}
"""By class, and whether it was delivered. Others, a test among them, are not counted."""


class Tally:
    """Counts since the last telling, and the newest success and failure."""

    __slots__ = ("_counts", "_failure", "_failure_ns", "_success_ns", "_told")

    def __init__(self) -> None:
        self._counts = dict.fromkeys(COUNTS, 0)
        self._told: Mapping[str, int] = dict(self._counts)
        self._success_ns: int | None = None
        self._failure_ns: int | None = None
        self._failure: Sent | None = None

    def add(self, kind: DeliveryClass, sent: Sent, *, at_ns: int, items: Sequence[Item] = ()) -> None:
        """An attempt ended at `at_ns`, unix time; `items` are those of a batch of ticks."""
        counts, delivered = self._counts, sent.outcome is Outcome.DELIVERED
        counted_as = _COUNTED_AS.get((kind, delivered))
        if counted_as is not None:
            counts[counted_as] += 1
        if delivered:
            counts["prices"] += len(items)
            counts["skipped"] += sum([item.skipped for item in items])
            self._success_ns = at_ns
        else:
            self._failure_ns, self._failure = at_ns, sent

    def untold(self) -> tuple[Activity, Mapping[str, int]]:
        """What was not told yet, and what `told` takes once it is."""
        failure = self._failure
        since: dict[str, Any] = {name: count - self._told[name] for name, count in self._counts.items()}
        activity = Activity(
            **since,
            success_time_ns=self._success_ns,
            failure_time_ns=self._failure_ns,
            failure_outcome=None if failure is None else failure.outcome,
            failure_status=0 if failure is None else failure.status,
            failure_error="" if failure is None else failure.error[:ERROR_LENGTH_MAX],
            time_ns=0,
        )
        return activity, dict(self._counts)

    def told(self, counts: Mapping[str, int]) -> None:
        """It was told up to these."""
        self._told = counts
