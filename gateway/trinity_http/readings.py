"""What one port of HTTP tells: connections, streams, times of the bridge, and the fast lane."""

from __future__ import annotations

from collections.abc import Iterator

from trinity_http.core import Core
from trinity_http.guard import ConnectionGuard
from trinity_http.lane import Lane
from trinity_http.metering import HttpMeter
from trinity_mesh.telemetry import catalogue
from trinity_mesh.telemetry.metrics import Sample


def port_samples(port: str, *, guard: ConnectionGuard, core: Core) -> Iterator[Sample]:
    """Of one port by its name: "http" or "reports"."""
    labels = (port,)
    yield Sample(catalogue.HTTP_CONNECTIONS, labels, guard.connections)
    yield Sample(catalogue.HTTP_OVERDUE, labels, guard.overdue)
    yield Sample(catalogue.HTTP_MALFORMED, labels, guard.malformed)
    yield Sample(catalogue.HTTP_STREAMS, labels, len(core.streams))
    yield Sample(catalogue.LIMIT_HITS, (f"{port}.connections",), guard.refused)
    yield Sample(catalogue.LIMIT_HITS, (f"{port}.streams",), core.streams_refused)


def meter_samples(port: str, meter: HttpMeter) -> Iterator[Sample]:
    """Of the bridge behind a port."""
    for (verb, route, status), durations in meter.durations.items():
        yield Sample(catalogue.HTTP_DURATION, (port, verb, route, str(status)), durations)


def lane_samples(lane: Lane) -> Iterator[Sample]:
    """Of the fast lane."""
    yield Sample(catalogue.LANE_ANSWERS, (), lane.answered)
    yield Sample(catalogue.LANE_DURATION, (), lane.durations)
