"""What one process tells: its sources, read when somebody looks, in Prometheus' text format.

Nothing is kept here between two looks. A part hands over a function that reads what it counts
anyway, so that counting costs the part what it cost before.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.utils import floatToGoString

from trinity_mesh.telemetry.metrics import Histogram, Kind, Metric, Sample, Source

log = logging.getLogger(__name__)

_Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


class Readings:
    """The sources of one process."""

    def __init__(self, *, process_figures: bool = False) -> None:
        """`process_figures` adds CPU time, memory and open files of this process, where the system tells them."""
        self._sources: list[Source] = []
        self._registry = CollectorRegistry()
        self._registry.register(_Families(self))
        if process_figures:
            ProcessCollector(registry=self._registry)
        self.failures = 0
        """How often a source could not be read."""

    def add(self, source: Source) -> None:
        """Read `source` too from now on."""
        self._sources.append(source)

    @contextmanager
    def reading(self, *sources: Source) -> Iterator[None]:
        """Read these too for as long as the block runs."""
        self._sources.extend(sources)
        try:
            yield
        finally:
            for source in sources:
                self._sources.remove(source)

    def samples(self) -> Iterator[Sample]:
        """Everything now. A source that fails is left out, and said so in the log."""
        for source in tuple(self._sources):
            try:
                yield from tuple(source())
            except Exception:
                self.failures += 1
                log.exception("a source of metrics cannot be read")

    def exposition(self) -> bytes:
        """Everything now, in Prometheus' text format (0.0.4)."""
        return generate_latest(self._registry)


@cache
def process_readings() -> Readings:
    """Those of this process: like its log, there is one, and every part of the process may add to it."""
    return Readings(process_figures=True)


def families(samples: Iterable[Sample]) -> Iterable[_Family]:
    """Samples by metric, as prometheus_client takes them; samples with the same labels are added up."""
    grouped: dict[Metric, dict[tuple[str, ...], float | Histogram]] = {}
    for metric, labels, value in samples:
        group = grouped.setdefault(metric, {})
        known = group.get(labels)
        group[labels] = value if known is None else _added(known, value)
    return [_family(metric, group) for metric, group in grouped.items()]


class _Families(Collector):
    """Hands what the sources say over to prometheus_client."""

    def __init__(self, readings: Readings) -> None:
        self._readings = readings

    def collect(self) -> Iterable[_Family]:
        """Everything now."""
        return families(self._readings.samples())

    def describe(self) -> Iterable[_Family]:
        """Nothing: what there is is known once it is read."""
        return ()


def _added(one: float | Histogram, other: float | Histogram) -> float | Histogram:
    if isinstance(one, Histogram) and isinstance(other, Histogram):
        both = Histogram(one.bounds)
        both.buckets = [first + second for first, second in zip(one.buckets, other.buckets, strict=True)]
        both.total = one.total + other.total
        return both
    assert not isinstance(one, Histogram)
    assert not isinstance(other, Histogram)
    return one + other


def _family(metric: Metric, group: dict[tuple[str, ...], float | Histogram]) -> _Family:
    names = list(metric.label_names)
    if metric.kind is Kind.HISTOGRAM:
        histograms = HistogramMetricFamily(metric.family, metric.text, labels=names)
        for labels, value in group.items():
            assert isinstance(value, Histogram)
            bounds = [*map(floatToGoString, value.bounds), "+Inf"]
            buckets = list(zip(bounds, accumulate(value.buckets), strict=True))
            histograms.add_metric(list(labels), buckets, value.total)
        return histograms
    kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    family = kind(metric.family, metric.text, labels=names)
    for labels, value in group.items():
        assert not isinstance(value, Histogram)
        family.add_metric(list(labels), value)
    return family
