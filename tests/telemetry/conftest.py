"""What all tests of telemetry have in common."""

from __future__ import annotations

import pytest

from trinity_mesh.telemetry import calls, channel_figures


@pytest.fixture(autouse=True)
def _many_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of all tests calls more targets than one process tells apart."""
    for module in (calls, channel_figures):
        monkeypatch.setattr(module, "_TARGETS_MAX", 1 << 30)


@pytest.fixture(autouse=True, scope="module")
def _few_series() -> None:
    """What other tests counted is not read again and again."""
    counts = calls.process_calls()
    counts._attempts.clear()
    counts._called.clear()
