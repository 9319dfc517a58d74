"""Whether this process counts for its metrics at all; set once, before its parts are made."""

from __future__ import annotations

from trinity_mesh.telemetry import tracing

counting = True


def count(*, on: bool) -> None:
    """Count from now on, or not."""
    global counting
    counting = on


def looked_at() -> bool:
    """Whether calls have to be looked at: to be counted, or to be traced."""
    return counting or tracing.on
