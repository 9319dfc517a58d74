"""What admission and the ledger of one process tell, read from what they keep anyway."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from trinity_admission.collector import Collector
from trinity_admission.ledger import Ledger
from trinity_core.usage import Outcome, Transport
from trinity_mesh.clock import Clock
from trinity_mesh.telemetry import catalogue
from trinity_mesh.telemetry.metrics import Sample

if TYPE_CHECKING:
    from trinity_admission.main import AdmissionPart


def admission_samples(part: AdmissionPart, clock: Clock) -> Iterator[Sample]:
    """Of a process that admits callers."""
    yield Sample(catalogue.KEYS, (), len(part.keyring))
    yield Sample(catalogue.STREAMS_JUDGED, (), len(part.admission.streams))
    for reason, count in part.admission.refusals.items():
        yield Sample(catalogue.REFUSALS, (reason,), count)
    yield from ledger_samples(part.ledger, part.collector, clock)


def ledger_samples(ledger: Ledger, collector: Collector, clock: Clock) -> Iterator[Sample]:
    """Of a ledger, and of what records it."""
    for (transport, method, asset, outcome), count in ledger.totals().items():
        words = (Transport(transport).name.lower(), method, asset, Outcome(outcome).name.lower())
        yield Sample(catalogue.ANSWERS, words, count)
    yield Sample(catalogue.LEDGER_SLOTS, (), ledger.slots)
    yield Sample(catalogue.LEDGER_FAILURES, (), ledger.disk_failures)
    yield Sample(catalogue.LIMIT_HITS, ("ledger.slots",), ledger.refused)
    yield Sample(catalogue.COLLECTOR_LEADING, (), collector.leading)
    yield Sample(catalogue.COLLECTOR_FAILURES, (), collector.failures)
    if collector.leading:
        yield Sample(catalogue.LEDGER_FILES, (), collector.files)
        yield Sample(catalogue.COLLECTOR_BEHIND, (), (clock.monotonic_ns() - collector.good_ns) / 1e9)
