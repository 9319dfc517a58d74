"""The count of deliveries in the ledger of usage.

A delivery is counted once its endpoint has taken it (SERVED), an attempt that failed as FAILED; tests
and challenges are not counted. It is counted under a key of the endpoint's owner.
"""

from __future__ import annotations

from typing import Final

from trinity_admission.seat import Counts
from trinity_core.usage import Outcome
from trinity_core.webhook_store import Standing
from trinity_core.webhooks import DeliveryClass

METHODS: Final = {DeliveryClass.TICK: "PushTick", DeliveryClass.ALERT: "PushAlert"}
"""Methods that deliveries are counted as."""


class DeliveryCounts:
    """Counts deliveries of one worker."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def check_room(self, standing: Standing, kind: DeliveryClass, asset: str) -> None:
        """Raise TrinityError where a delivery could not be counted; then it must not be sent."""
        if kind in METHODS and standing.key_id:
            self._counts.slot(standing.key_id, standing.endpoint.kind, METHODS[kind], asset, Outcome.SERVED)

    def count(self, standing: Standing, kind: DeliveryClass, asset: str, *, delivered: bool) -> None:
        """Count an attempt. Raises TrinityError where there is no room for one that failed."""
        if kind in METHODS and standing.key_id:
            outcome = Outcome.SERVED if delivered else Outcome.FAILED
            slot = self._counts.slot(standing.key_id, standing.endpoint.kind, METHODS[kind], asset, outcome)
            self._counts.count(slot)
