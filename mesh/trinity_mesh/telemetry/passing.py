"""Sources of metrics that come and go: what one of them counted goes on being told when it is gone.

A channel is closed and another opened to the same service; their counters together may only grow.
"""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache

from trinity_mesh.telemetry.metrics import Histogram, Kind, Metric, Sample, Source


class Passing:
    """The passing sources of one process."""

    def __init__(self) -> None:
        self._here: dict[int, Source] = {}
        self._leaving: list[int] = []
        self._gone: defaultdict[tuple[Metric, tuple[str, ...]], float] = defaultdict(float)
        self._next = 0

    def follow(self, part: object, source: Source) -> Callable[[], object]:
        """Read `source` until what is returned is called, or `part` is gone.

        The source MUST NOT refer to the part, and have no histograms: of one that is gone its counters are kept.
        """
        self._settle()
        number = self._next
        self._next += 1
        self._here[number] = source
        # An object's end comes at any moment, in the middle of a reading too: it only leaves word.
        leaving = weakref.finalize(part, self._leaving.append, number)
        leaving.atexit = False
        return leaving

    def samples(self) -> Iterator[Sample]:
        """Of those here everything, of those gone what they counted."""
        self._settle()
        for source in tuple(self._here.values()):
            yield from source()
        for (metric, labels), value in tuple(self._gone.items()):
            yield Sample(metric, labels, value)

    def _settle(self) -> None:
        while self._leaving:
            for metric, labels, value in self._here.pop(self._leaving.pop())():
                if metric.kind is Kind.COUNTER:
                    assert not isinstance(value, Histogram)
                    self._gone[metric, labels] += value


@cache
def process_passing() -> Passing:
    """Those of this process; read by `process_readings`."""
    from trinity_mesh.telemetry.readings import process_readings

    passing = Passing()
    process_readings().add(passing.samples)
    return passing
