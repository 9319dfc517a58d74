"""What one process keeps for one key beside its record: bucket, lease, counters, verdicts that hold for a while."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol

from trinity_admission import ratelimit_fields, refusals
from trinity_admission.buckets import Bucket, Cells
from trinity_admission.held_key import HeldKey
from trinity_admission.quota import Lease
from trinity_core.errors import Reason, TrinityError
from trinity_core.usage import Outcome, Transport

if TYPE_CHECKING:
    from trinity_admission.ledger import Slot

Cell = tuple[Cells, int]
"""Where the number of one bucket stands."""

_VERDICTS_MAX: Final = 256
_UNKNOWN: Final = TrinityError(Reason.INTERNAL, "no verdict yet")


class Counts(Protocol):
    """Where answers are counted; trinity_admission.ledger.Ledger."""

    strict: bool
    """Answers must wait for `committed`."""

    def slot(self, key_id: str, transport: int, method: str, asset: str, outcome: int) -> Slot:
        """Where answers of one kind to one key are counted. MUST raise LEDGER_FULL where there is no room."""
        ...

    def count(self, slot: Slot, n: int = 1) -> None:
        """Count `n` answers that are about to leave. MUST raise TrinityError where that cannot be done."""
        ...

    def count_each(self, slots: Sequence[Slot], unix_ns: int, n: int = 1) -> bool:
        """Count `n` answers in each, or none: False where one cannot be counted. `unix_ns` was just read."""
        ...

    def give_back(self, slot: Slot, n: int = 1) -> None:
        """`n` answers that were counted did not leave."""
        ...

    async def committed(self) -> None:
        """Return once everything counted is as safe as it is meant to be."""
        ...


class Seat:
    """One key's seat. It outlives the key's records, so that a changed plan gives nobody a fresh bucket."""

    __slots__ = ("_slots", "_verdicts", "bucket", "held", "key_id", "lease", "policy")

    def __init__(
        self, key_id: str, held: HeldKey | None = None, *, share: float = 1.0, cell: Cell | None = None
    ) -> None:
        """`held` is the key's record, None for a name that stands for callers without keys; see `Seat.adopt`."""
        self.key_id = key_id
        self.held = held
        cells, at = cell or (None, 0)
        self.bucket = Bucket(rate_per_s=1, burst=1, cells=cells, at=at)
        self.lease: Lease | None = None
        """None where the quota has no bound."""
        self.policy = ""
        self._slots: dict[tuple[int, str, str, int], Slot] = {}
        self._verdicts: dict[tuple[int, tuple[str, ...]], TrinityError | None] = {}
        if held is not None:
            self.adopt(held, share=share)

    def adopt(self, held: HeldKey, *, share: float) -> None:
        """Judge by this record from now on; `share` of the key's rate is this process's."""
        before, self.held = self.held, held
        self._verdicts.clear()
        self.bucket.change(rate_per_s=held.rate_per_s * share, burst=max(1, int(held.burst * share)))
        self.policy = ratelimit_fields.policy(self.bucket, monthly_quota=held.monthly_quota)
        if not held.monthly_quota:
            self.lease = None
        elif self.lease is None:
            self.lease = Lease()
        elif before is not None and before.monthly_quota != held.monthly_quota:
            self.lease.reopen()

    def fields(self, now_ns: int) -> dict[str, str]:
        """Header fields that tell the key's limits, by name in lower case."""
        return {
            ratelimit_fields.POLICY: self.policy,
            ratelimit_fields.LIMIT: ratelimit_fields.limit(self.bucket, now_ns),
        }

    def verdict(self, transport: Transport, scopes: tuple[str, ...], method: str) -> TrinityError | None:
        """Why the key may not call such a method this way; None where it may."""
        kind = (transport, scopes)
        known = self._verdicts.get(kind, _UNKNOWN)
        if known is not _UNKNOWN:
            return known
        assert self.held is not None
        held = self.held
        error = None
        missing = [scope for scope in scopes if not held.principal.holds(scope)]
        if held.transports is not None and transport not in held.transports:
            error = refusals.transport_not_allowed(transport)
        elif missing:
            return refusals.missing_scope(missing, method)
        if len(self._verdicts) < _VERDICTS_MAX:
            self._verdicts[kind] = error
        return error

    def asset_verdict(self, assets: tuple[str, ...]) -> TrinityError | None:
        """Why the key may not ask for these assets, all there are if empty; None where it may."""
        assert self.held is not None
        allowed = self.held.assets
        if allowed is None:
            return None
        if not assets:
            return refusals.asset_not_allowed("")
        return next((refusals.asset_not_allowed(asset) for asset in assets if asset not in allowed), None)

    def slot(self, counts: Counts, transport: int, method: str, asset: str, outcome: Outcome) -> Slot:
        """Where answers of one kind are counted. Raises TrinityError LEDGER_FULL."""
        kind = (transport, method, asset, outcome)
        slot = self._slots.get(kind)
        if slot is None:
            slot = self._slots[kind] = counts.slot(self.key_id, transport, method, asset, outcome)
        return slot

    def forget_slots(self) -> None:
        """Keep no counters: those that are idle are the ledger's to take back."""
        self._slots.clear()
