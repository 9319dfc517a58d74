"""What all tests of telemetry have in common."""

from __future__ import annotations

import pytest

from trinity_mesh.telemetry import calls, channel_figures


@pytest.fixture(autouse=True)
def _many_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of all tests calls more targets than one process tells apart."""
    for module in (calls, channel_figures):
        monkeypatch.setattr(module, "_TARGETS_MAX", 1 << 30)
