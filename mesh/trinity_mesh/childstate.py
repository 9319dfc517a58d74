"""What a supervisor tells of its children."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class State(StrEnum):
    """Where a child is."""

    WAITING = "waiting"
    """For those it depends on."""
    STARTING = "starting"
    """It runs and does not serve yet."""
    SERVING = "serving"
    BACKOFF = "backoff"
    """It ended and will be started again."""
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"
    """It ended and stays so: it never served, and trying again would not help."""


@dataclass(frozen=True, slots=True)
class Event:
    """A child changed its state."""

    name: str
    state: State
    pid: int | None
    text: str
    """What happened, for a person; empty where the state says it all."""
    at_ns: int
    """On the monotonic clock."""


@dataclass(frozen=True, slots=True)
class Status:
    """One child, now."""

    name: str
    state: State
    pid: int | None
    """Of the command; None while there is none."""
    restarts: int
    exit_code: int | None
    """How it ended last; minus a signal's number. None if it never did."""
    state_since_ns: int
    """On the monotonic clock."""
    last_lines: tuple[str, ...]
    """The end of what this or the last run printed."""
    log: Path
