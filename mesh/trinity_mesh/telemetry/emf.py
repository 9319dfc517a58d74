"""CloudWatch's embedded metric format: one JSON object a line, from which CloudWatch makes metrics. Pure.

The rules are those of AWS's specification of the format: a root object with `_aws`, of which each directive
has a namespace, sets of at most 30 dimensions whose values are texts at the root, and at most 100 metrics
whose values are numbers at the root.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import msgspec

METRICS_MAX: Final = 100
DIMENSIONS_MAX: Final = 30
TEXT_LENGTH_MAX: Final = 1_024
UNITS: Final = frozenset({"Count", "Percent", "Milliseconds", "Seconds", "Bytes", "None"})
"""Those of CloudWatch's units that we use."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What one line tells."""

    namespace: str
    dimensions: Mapping[str, str]
    """Values of the dimensions, by name."""
    sets: Sequence[Sequence[str]]
    """Names of dimensions that a metric is made for, a set each."""
    values: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    """Unit and value of each metric."""


EmfSource: TypeAlias = Callable[[], Iterable[Entry]]
"""What happened since it was called last."""


def line_of(entry: Entry, *, unix_ms: int) -> bytes:
    """One line, without its end. Raises ValueError for an entry that the format does not allow."""
    _check(entry)
    directive = {
        "Namespace": entry.namespace,
        "Dimensions": [list(names) for names in entry.sets],
        "Metrics": [{"Name": name, "Unit": unit} for name, (unit, _) in entry.values.items()],
    }
    root: dict[str, Any] = {"_aws": {"Timestamp": unix_ms, "CloudWatchMetrics": [directive]}, **entry.dimensions}
    root |= {name: value for name, (_, value) in entry.values.items()}
    return msgspec.json.encode(root)


def _check(entry: Entry) -> None:
    if not 1 <= len(entry.namespace) <= TEXT_LENGTH_MAX:
        raise ValueError("a namespace has 1 to 1,024 characters")
    if not 1 <= len(entry.values) <= METRICS_MAX:
        raise ValueError(f"an entry has 1 to {METRICS_MAX} metrics, not {len(entry.values)}")
    if any(len(names) > DIMENSIONS_MAX or not set(names) <= set(entry.dimensions) for names in entry.sets):
        raise ValueError(f"a set has at most {DIMENSIONS_MAX} dimensions, each with a value")
    for text in (*entry.dimensions, *entry.dimensions.values(), *entry.values):
        if not 1 <= len(text) <= TEXT_LENGTH_MAX:
            raise ValueError("names and values of dimensions and metrics have 1 to 1,024 characters")
    if entry.dimensions.keys() & entry.values.keys() or "_aws" in entry.values or "_aws" in entry.dimensions:
        raise ValueError("a metric cannot have the name of a dimension, or _aws")
    if unknown := {unit for unit, _ in entry.values.values()} - UNITS:
        raise ValueError(f"no unit of CloudWatch's that we use: {', '.join(sorted(unknown))}")
