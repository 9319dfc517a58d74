"""What attempts to call one endpoint came to, until it is told to the store. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from trinity_core.webhook_activity import Activity
from trinity_core.webhook_retry import Outcome
from trinity_core.webhook_ticks import Item
from trinity_core.webhooks import ERROR_LENGTH_MAX, DeliveryClass
from trinity_webhook.sending import Sent


class Counts(NamedTuple):
    """Counts of `Activity`."""

    ticks_delivered: int = 0
    ticks_failed: int = 0
    alerts_delivered: int = 0
    alerts_failed: int = 0
    prices: int = 0
    skipped: int = 0


_NOTHING: Final = Activity(time_ns=0)


class Tally:
    """Counts since the last telling, and the newest success and failure."""

    __slots__ = ("_counts", "_newest", "_told")

    def __init__(self) -> None:
        self._counts = self._told = Counts()
        self._newest = _NOTHING

    def add(self, kind: DeliveryClass, sent: Sent, *, at_ns: int, items: Sequence[Item] = ()) -> None:
        """An attempt ended at `at_ns`, unix time; `items` are those of a batch of ticks."""
        counts, delivered = self._counts, sent.outcome is Outcome.DELIVERED
        if kind is DeliveryClass.TICK and delivered:
            skipped = sum(item.skipped for item in items)
            self._counts = counts._replace(
                ticks_delivered=counts.ticks_delivered + 1,
                prices=counts.prices + len(items),
                skipped=counts.skipped + skipped,
            )
        elif kind is DeliveryClass.TICK:
            self._counts = counts._replace(ticks_failed=counts.ticks_failed + 1)
        elif kind is DeliveryClass.ALERT and delivered:
            self._counts = counts._replace(alerts_delivered=counts.alerts_delivered + 1)
        elif kind is DeliveryClass.ALERT:
            self._counts = counts._replace(alerts_failed=counts.alerts_failed + 1)
        if delivered:
            self._newest = replace(self._newest, success_time_ns=at_ns)
        else:
            self._newest = replace(
                self._newest,
                failure_time_ns=at_ns,
                failure_outcome=sent.outcome,
                failure_status=sent.status,
                failure_error=sent.error[:ERROR_LENGTH_MAX],
            )

    def untold(self) -> tuple[Activity, Counts]:
        """What was not told yet, and what `told` takes once it is."""
        since = Counts(*(now - before for now, before in zip(self._counts, self._told, strict=True)))
        return replace(self._newest, **since._asdict()), self._counts

    def told(self, counts: Counts) -> None:
        """It was told up to these."""
        self._told = counts
