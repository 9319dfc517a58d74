"""What the metrics of this process say more than they did."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

from price.virtual_clock import until
from trinity_mesh.telemetry.readings import process_readings


class Told:
    """How much each series has grown since this was made."""

    def __init__(self) -> None:
        self._before = _read()

    def grown(self, name: str, **labels: str) -> float:
        key = (name, frozenset(labels.items()))
        return _read().get(key, 0.0) - self._before.get(key, 0.0)

    def now(self, name: str, **labels: str) -> float | None:
        """As it is; None where it is not told."""
        return _read().get((name, frozenset(labels.items())))

    def methods(self) -> set[str]:
        return {dict(labels)["grpc_method"] for name, labels in _read() if name.startswith("grpc_server_call_started")}


def _read() -> Mapping[tuple[str, frozenset[tuple[str, str]]], float]:
    text = process_readings().exposition().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def until_grown(told: Told, name: str, **labels: str) -> None:
    """The server counts a call's end on its own time."""
    await until(lambda: told.grown(name, **labels) >= 1)
