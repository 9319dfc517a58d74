"""What channels do beyond one attempt a call, and how their backends are, as metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from trinity_mesh.balancing import BackendState
from trinity_mesh.clock import Clock, SystemClock
from trinity_mesh.deadline_budget import DeadlineBudget
from trinity_mesh.mesh_channel import MeshChannel
from trinity_mesh.telemetry import catalogue, switch
from trinity_mesh.telemetry.calls import OTHER
from trinity_mesh.telemetry.metrics import Sample, Source
from trinity_mesh.telemetry.passing import process_passing

_TARGETS_MAX: Final = 256
"""Targets that are told apart; further ones are OTHER."""
_targets: Final[set[str]] = set()


def follow_channel(channel: MeshChannel, target: str, deadlines: DeadlineBudget) -> Callable[[], object] | None:
    """Tell of a channel to `target` until what is returned is called, or the channel is gone; None: nothing is told."""
    if not switch.counting:
        return None
    if target not in _targets and len(_targets) >= _TARGETS_MAX:
        target = OTHER
    _targets.add(target)
    return process_passing().follow(channel, channel_source(channel, target, deadlines))


def channel_source(channel: MeshChannel, target: str, deadlines: DeadlineBudget, clock: Clock | None = None) -> Source:
    """What reads a channel's counters; it does not refer to the channel."""
    tally, balancer, clock = channel.tally, channel.balancer, clock or SystemClock()

    def samples() -> Iterator[Sample]:
        of = (target,)
        yield Sample(catalogue.CALL_RETRIES, of, tally.retries)
        yield Sample(catalogue.CALL_HEDGES, of, tally.hedges)
        yield Sample(catalogue.CALL_OVERTAKEN, of, tally.overtaken)
        yield Sample(catalogue.CALL_UNREPEATED, of, tally.refused)
        yield Sample(catalogue.DEADLINE_REFUSALS, ("client",), deadlines.refused)
        yield Sample(catalogue.BACKEND_EJECTIONS, of, balancer.ejections)
        now_ns = clock.monotonic_ns()
        states = Counter(backend.state(now_ns) for backend in balancer.backends)
        for state in BackendState:
            yield Sample(catalogue.BACKENDS, (target, state), states[state])

    return samples
