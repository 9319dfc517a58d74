"""What a metric is: its name, kind, unit and labels, and the histogram that is cheap enough for every call. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, TypeAlias


class Kind(StrEnum):
    """How a metric's values are to be read."""

    COUNTER = "counter"
    """Only grows, from the start of its process."""
    GAUGE = "gauge"
    """As it is now."""
    HISTOGRAM = "histogram"
    """How many values were no greater than each bound, and their sum."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric, as docs/telemetry.md lists it."""

    name: str
    """Words with dots: "grpc.server.call.duration"."""
    kind: Kind
    unit: str
    """"s", "By", "{call}" and so on, in the spelling of UCUM; empty for a bare number."""
    labels: tuple[str, ...]
    text: str
    """What it says, a sentence."""

    @property
    def family(self) -> str:
        """Its name in Prometheus, without the endings that the text format adds."""
        return self.name.replace(".", "_") + _ENDINGS.get(self.unit, "")

    @property
    def series(self) -> str:
        """Its name in Prometheus as a query spells it; a histogram's has _bucket, _sum and _count after it."""
        return f"{self.family}_total" if self.kind is Kind.COUNTER else self.family

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of its labels in Prometheus."""
        return tuple(label.replace(".", "_") for label in self.labels)


class Histogram:
    """Counts values by bounds. Adding one is a search among few numbers and two sums."""

    __slots__ = ("bounds", "buckets", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds` grow; what is beyond the last is counted all the same."""
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.total = 0.0
        """Sum of the values."""

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.buckets)

    def add(self, value: float) -> None:
        """Count one value."""
        self.buckets[bisect_left(self.bounds, value)] += 1
        self.total += value


class Sample(NamedTuple):
    """One value of one metric."""

    metric: Metric
    labels: tuple[str, ...]
    """Values of the metric's labels, in its order."""
    value: float | Histogram


Source: TypeAlias = Callable[[], Iterable[Sample]]
"""Reads what a part counts anyway; called on the part's event loop when somebody looks, so it MUST be short."""

LATENCY_BOUNDS: tuple[float, ...] = (
    0.0, 0.00001, 0.00005, 0.0001, 0.0003, 0.0006, 0.0008, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008, 0.01,
    0.013, 0.016, 0.02, 0.025, 0.03, 0.04, 0.05, 0.065, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3, 0.4, 0.5, 0.65, 0.8,
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0,
)  # fmt: skip
"""Seconds, as gRFC A66 has them."""
SIZE_BOUNDS: tuple[float, ...] = (
    0, 1 << 10, 2 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20, 64 << 20, 256 << 20,
    1 << 30, 4 << 30,
)  # fmt: skip
"""Bytes, as gRFC A66 has them."""
_ENDINGS = {"s": "_seconds", "By": "_bytes", "ms": "_milliseconds", "%": "_percent"}
