"""What the metrics of this process say more than they did.

A process that ran thousands of tests tells thousands of series. A look puts into text, and reads
out of it, only those that it is about.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from prometheus_client.parser import text_string_to_metric_families

from price.virtual_clock import until
from trinity_mesh.telemetry.metrics import Histogram, Sample
from trinity_mesh.telemetry.readings import Readings, process_readings


class Told:
    """How much each series has grown since this was made."""

    def __init__(self) -> None:
        self._before = [_kept(sample) for sample in process_readings().samples()]

    def grown(self, name: str, **labels: str) -> float:
        return (self.now(name, **labels) or 0.0) - (_read(self._before, name, labels) or 0.0)

    def now(self, name: str, **labels: str) -> float | None:
        """As it is; None where it is not told."""
        return _read(process_readings().samples(), name, labels)

    def methods(self) -> set[str]:
        started = _text_of(sample for sample in process_readings().samples() if _is_of(sample, _STARTED, {}))
        return {dict(labels)["grpc_method"] for _, labels in started}


_STARTED = "grpc_server_call_started"


def _read(samples: Iterable[Sample], name: str, labels: Mapping[str, str]) -> float | None:
    told = _text_of(sample for sample in samples if _is_of(sample, name, labels))
    return told.get((name, frozenset(labels.items())))


def _is_of(sample: Sample, name: str, labels: Mapping[str, str]) -> bool:
    """Whether the text of a sample can hold a series of this name with these labels."""
    metric = sample.metric
    if not name.startswith(metric.family):
        return False
    return all(
        labels.get(label, value) == value for label, value in zip(metric.label_names, sample.labels, strict=True)
    )


def _text_of(samples: Iterable[Sample]) -> Mapping[tuple[str, frozenset[tuple[str, str]]], float]:
    """What a scraper reads of them."""
    some: Sequence[Sample] = tuple(samples)
    readings = Readings()
    readings.add(lambda: some)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(readings.exposition().decode())
        for sample in family.samples
    }


def _kept(sample: Sample) -> Sample:
    """A sample whose value goes on no more."""
    if not isinstance(sample.value, Histogram):
        return sample
    value = Histogram(sample.value.bounds)
    value.buckets, value.total = list(sample.value.buckets), sample.value.total
    return sample._replace(value=value)


async def until_grown(told: Told, name: str, **labels: str) -> None:
    """The server counts a call's end on its own time."""
    await until(lambda: told.grown(name, **labels) >= 1)
