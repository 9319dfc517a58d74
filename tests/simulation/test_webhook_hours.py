"""Thousands of virtual hours of a webhook engine among faults: nothing is lost, nothing told twice, nobody is flooded."""

from __future__ import annotations

from jumping_time import run_jumping
from simulation.faulty_endpoints import Faults, World
from simulation.push_oracle import Oracle


def simulate(seed: int, hours: float, faults: Faults) -> Oracle:
    async def play() -> Oracle:
        world = World(seed, faults)
        await world.pass_hours(hours)
        oracle = Oracle(world)
        oracle.judge()
        return oracle

    return run_jumping(play())
