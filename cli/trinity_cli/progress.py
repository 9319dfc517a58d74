"""What a mesh on this machine says of its start, and of what happens to it later."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any

from trinity_cli.banner import banner
from trinity_cli.mesh_sight import SUPERVISOR
from trinity_mesh.clock import Clock
from trinity_mesh.supervise import Event, State
from trinity_mesh.telemetry.logs import log_to_stderr

log = logging.getLogger(__name__)


class Progress:
    """Tells of the start and of what happens later, on stderr."""

    def __init__(self, *, quiet: bool, clock: Clock, as_lines: bool = False) -> None:
        """`quiet` says nothing; `as_lines` says it as JSON lines, as services log."""
        self._quiet = quiet and not as_lines
        self._as_lines = as_lines
        if as_lines:
            log_to_stderr(SUPERVISOR, form="json")
        self._clock = clock
        self._began_ns = clock.monotonic_ns()
        self.ready = False

    def say(self, text: str) -> None:
        """One line."""
        if self._as_lines:
            log.info("%s", text.strip())
        elif not self._quiet:
            print(text, file=sys.stderr, flush=True)

    def ready_now(self, facts: Mapping[str, Any]) -> None:
        """Everything serves. Log lines say where; a banner shows keys, which have no place in a log."""
        self.ready = True
        if self._as_lines:
            where = {
                name: facts[name] for name in ("http", "reports", "udp", "udp_reports", "metrics") if name in facts
            }
            self.say(f"ready in {self.elapsed_s():.1f} s: {where}")
        else:
            self.say(banner(facts, self.elapsed_s()))

    def note(self, text: str) -> None:
        """One line of detail."""
        self.say(f"  {text}")

    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return (self._clock.monotonic_ns() - self._began_ns) / 1e9

    def on_event(self, event: Event) -> None:
        """A child changed its state: during the start what serves, afterwards what is not as it should be."""
        if event.state in (State.BACKOFF, State.FAILED) or (event.state is State.SERVING and not self.ready):
            note = f"  {event.text.splitlines()[0]}" if event.text and event.state is not State.FAILED else ""
            self.say(f"  {event.name:<16}{event.state:<9}{self.elapsed_s():6.1f} s{note}")
        elif event.state is State.SERVING:
            self.say(f"  {event.name:<16}is back")
