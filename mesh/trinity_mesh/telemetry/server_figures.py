"""What a server refuses before anything is done for it, and its limit of calls, as metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from trinity_mesh.deadlines import Deadlines
from trinity_mesh.interceptors import Interceptor
from trinity_mesh.shedding import Shedding
from trinity_mesh.telemetry import catalogue, switch
from trinity_mesh.telemetry.metrics import Sample, Source
from trinity_mesh.telemetry.passing import process_passing


def follow_server(server: object, interceptors: Sequence[Interceptor]) -> Callable[[], object] | None:
    """Tell of a server until what is returned is called, or the server is gone; None: nothing is told."""
    if not switch.counting:
        return None
    return process_passing().follow(server, server_source(interceptors))


def server_source(interceptors: Sequence[Interceptor]) -> Source:
    """What reads the counters of a server's interceptors."""
    sheddings = [each for each in interceptors if isinstance(each, Shedding)]
    deadlines = [each for each in interceptors if isinstance(each, Deadlines)]

    def samples() -> Iterator[Sample]:
        for each in sheddings:
            limit = each.limit
            yield Sample(catalogue.SHEDDING_REFUSALS, ("full",), limit.refused)
            yield Sample(catalogue.SHEDDING_REFUSALS, ("hopeless",), each.hopeless)
            yield Sample(catalogue.SHEDDING_LIMIT, (), int(limit.limit))
            yield Sample(catalogue.SHEDDING_UNDER_WAY, (), limit.under_way)
        for bounded in deadlines:
            yield Sample(catalogue.DEADLINE_REFUSALS, ("server",), bounded.refused)

    return samples
