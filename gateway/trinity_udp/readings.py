"""What one datagram endpoint tells."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from trinity_mesh.telemetry import catalogue
from trinity_mesh.telemetry.metrics import Sample
from trinity_udp.drops import Drop, Tally

_LIMITS: Final = (Drop.RATE_LIMITED, Drop.SESSIONS_FULL, Drop.LOOKUPS_FULL, Drop.UNCOUNTED, Drop.SEND_BLOCKED)


def udp_samples(port: str, tally: Tally) -> Iterator[Sample]:
    """Of one endpoint by its port's name: "udp" or "udp_reports"."""
    labels = (port,)
    yield Sample(catalogue.UDP_RECEIVED, labels, tally.received)
    yield Sample(catalogue.UDP_REPLIED, labels, tally.replied)
    yield Sample(catalogue.UDP_BYTES_IN, labels, tally.bytes_in)
    yield Sample(catalogue.UDP_BYTES_OUT, labels, tally.bytes_out)
    yield Sample(catalogue.UDP_LOOKED_UP, labels, tally.looked_up)
    yield Sample(catalogue.UDP_BUSY, labels, tally.busy_ns / 1e9)
    for reason, count in tally.dropped.items():
        yield Sample(catalogue.UDP_DROPPED, (port, str(reason)), count)
    for reason in _LIMITS:
        yield Sample(catalogue.LIMIT_HITS, (f"{port}.{reason}",), tally.dropped[reason])
