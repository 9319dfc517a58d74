"""The recording of one ledger file: what of it the usage service has confirmed, and what it has not."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import grpc.aio

from trinity.usage.v1 import usage_pb2, usage_service_pb2_grpc
from trinity_admission.ledger_file import LedgerReader
from trinity_core.errors import Reason, TrinityError
from trinity_mesh.channels import call

log = logging.getLogger(__name__)

Record = Callable[[usage_pb2.RecordUsageRequest], Awaitable[usage_pb2.RecordUsageResponse]]
"""`UsageService.RecordUsage`; returns after the commit. Raises TrinityError."""


def record_by(channel: grpc.aio.Channel, *, timeout_ms: int) -> Record:
    """`Record` by a channel on which the usage service sees a peer of the mesh: one to a Unix socket."""
    stub = usage_service_pb2_grpc.UsageServiceStub(channel)

    async def record(request: usage_pb2.RecordUsageRequest) -> usage_pb2.RecordUsageResponse:
        return await call(stub.RecordUsage(request, timeout=timeout_ms / 1_000))

    return record


class Recording:
    """One file's."""

    def __init__(self, path: Path, *, record: Record, batch_max: int) -> None:
        """Open the file. Raises OSError, or ValueError for one that is no ledger file, saying why."""
        self._reader = LedgerReader(path)
        self._record = record
        self._batch_max = batch_max
        self._counters: dict[int, usage_pb2.Counter] = {}
        self._refused: set[int] = set()
        self._unreadable: set[int] = set()
        self.ours = False
        """The file's process has ended, and this one has its lock."""

    @property
    def complete(self) -> bool:
        """Whether everything that was sent was taken, and everything counted could be sent."""
        return not self._refused and not self._unreadable

    @property
    def empty(self) -> bool:
        """Whether nothing was found counted in the file."""
        return not self._counters and not self._unreadable

    def taken_over(self) -> bool:
        """Whether the file's process has ended, so that the file is ours; then all of it is sent once more."""
        if not self.ours and self._reader.orphaned():
            self.ours = True
            self.start_again()
        return self.ours

    def in_place(self) -> bool:
        """Whether the file still stands where it was found."""
        return self._reader.in_place()

    def start_again(self) -> None:
        """Send everything again, changed or not."""
        self._reader.forget()

    async def send(self) -> None:
        """Send what changed. Raises TrinityError when the usage service cannot take it now; send again later."""
        batch: list[usage_pb2.Counter] = []
        for slot, value in self._reader.changed():
            counter = self._counter(slot, value) if slot not in self._refused else None
            if counter is not None:
                batch.append(counter)
            if len(batch) == self._batch_max:
                await self._send(batch)
                batch = []
        if batch:
            await self._send(batch)
        if self.ours and self._unreadable:
            lost = sum(value for slot, value in self._reader.changed() if slot in self._unreadable)
            log.error("%s has %d answers of which nobody knows what they were", self._reader.path, lost)

    async def _send(self, counters: Sequence[usage_pb2.Counter]) -> None:
        request = usage_pb2.RecordUsageRequest(incarnation=self._reader.layout.incarnation, counters=counters)
        try:
            response = await self._record(request)
        except TrinityError as error:
            if error.reason is not Reason.INVALID_FIELD:
                raise
            await self._send_halves(counters, error)
            return
        if response.recorded < len(counters):
            late = len(counters) - response.recorded
            log.error("%s has %d counters of hours that are final; they were not taken", self._reader.path, late)
        for counter in request.counters:
            self._reader.confirm(counter.slot, counter.count)

    async def _send_halves(self, counters: Sequence[usage_pb2.Counter], error: TrinityError) -> None:
        """Find what is refused for itself, so that it does not hold up the rest."""
        if len(counters) > 1:
            middle = len(counters) // 2
            await self._send(counters[:middle])
            await self._send(counters[middle:])
            return
        for counter in counters:
            self._refused.add(counter.slot)
            log.error("%s: slot %d is refused: %s", self._reader.path, counter.slot, error)

    def _counter(self, slot: int, value: int) -> usage_pb2.Counter | None:
        """A slot as it is sent; None where what it counts cannot be read."""
        counter = self._counters.get(slot)
        if counter is None:
            counted = self._reader.counted(slot)
            if counted is None:
                self._unreadable.add(slot)
                return None
            self._unreadable.discard(slot)
            counter = self._counters[slot] = usage_pb2.Counter(
                slot=slot,
                key_id=counted.key_id,
                hour_unix=counted.hour,
                transport=counted.transport,  # type: ignore[arg-type]
                method=counted.method,
                asset=counted.asset,
                outcome=counted.outcome,  # type: ignore[arg-type]
            )
        counter.count = value
        return counter

    def close(self) -> None:
        """Close the file."""
        self._reader.close()
