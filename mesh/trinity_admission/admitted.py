"""One request that was let in, until it is answered: what it is charged for, and how."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from trinity_admission import refusals
from trinity_admission.held_key import HeldKey
from trinity_admission.quota import Lease
from trinity_admission.refusals import RefusedError
from trinity_admission.seat import Seat
from trinity_core.errors import TrinityError
from trinity_core.usage import Outcome, Transport

if TYPE_CHECKING:
    from trinity_admission.admission import Admission
    from trinity_admission.ledger import Slot

End = Callable[[TrinityError], object]
"""Ends a stream that is open, and tells its caller why."""


class Admitted:
    """Made by `Admission.admit`; use it once, in one task, and always `close` it."""

    __slots__ = ("_admission", "_end", "_seat", "_slot", "address", "assets", "lease", "method", "scopes", "transport")

    def __init__(
        self,
        admission: Admission,
        seat: Seat,
        *,
        transport: Transport,
        method: str,
        scopes: tuple[str, ...],
        address: str,
        assets: tuple[str, ...] | None,
    ) -> None:
        self._admission = admission
        self._seat = seat
        self._slot: Slot | None = None
        self._end: End | None = None
        self.lease: Lease | None = None
        """Holds a reservation for this request."""
        self.transport = transport
        self.method = method
        self.scopes = scopes
        self.address = address
        self.assets = assets
        """Assets that are asked for; empty for all, None where the request is not about assets, or not known yet."""

    @property
    def held(self) -> HeldKey:
        """The record by which the key is judged now."""
        assert self._seat.held is not None
        return self._seat.held

    def ask(self, assets: tuple[str, ...] | None) -> None:
        """The request is known now, and what it asks for. Raises RefusedError ASSET_NOT_ALLOWED, not counted yet."""
        self.assets = assets
        if assets is not None:
            error = self._seat.asset_verdict(assets)
            if error is not None:
                raise RefusedError.of(error, self.fields())

    def answered(self, outcome: Outcome) -> None:
        """Count the answer; call it before the answer is handed to the kernel, once.

        Raises TrinityError LEDGER_FULL when an answer that would be billed cannot be counted:
        it must not leave.
        """
        assets = self.assets
        asset = assets[0] if assets and len(assets) == 1 and assets[0] in self._admission.assets else ""
        counts = self._admission.counts
        try:
            slot = self._seat.slot(counts, self.transport, self.method, asset, outcome)
            counts.count(slot)
        except TrinityError:
            if outcome <= Outcome.SERVED:
                raise
            return
        self._slot = slot
        lease = self.lease
        if lease is not None and outcome <= Outcome.SERVED:
            self.lease = None
            lease.billed()

    def unsent(self) -> None:
        """The kernel did not take the answer that was counted."""
        slot, self._slot = self._slot, None
        if slot is not None:
            self._admission.counts.give_back(slot)

    def fields(self) -> dict[str, str]:
        """Header fields that tell the key's limits, by name in lower case."""
        return self._seat.fields(self._admission.now_ns())

    def opened(self, end: End) -> None:
        """A stream is open: `end` is called, once, if its key stops being good for it."""
        self._end = end
        self._admission.streams.add(self)

    def rejudge(self) -> None:
        """Judge an open stream by what its key is now. Raises TrinityError where it may not go on."""
        held, error = self.held, None
        if held.networks is not None and not held.networks.hold(self.address):
            error = refusals.network_not_allowed(self.address)
        error = error or self._seat.verdict(self.transport, self.scopes, self.method)
        if error is None and self.assets is not None:
            error = self._seat.asset_verdict(self.assets)
        if error is not None:
            raise error

    def end(self, error: TrinityError) -> None:
        """End the stream."""
        end, self._end = self._end, None
        self._admission.streams.discard(self)
        if end is not None:
            end(error)

    def close(self) -> None:
        """The exchange is over. What was reserved and not billed goes back."""
        lease, self.lease = self.lease, None
        if lease is not None:
            lease.given_back()
        if self._end is not None:
            self._end = None
            self._admission.streams.discard(self)
