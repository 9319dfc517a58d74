"""How the calls of one method of a channel are made: by which rules, from which budget, among which backends."""

from __future__ import annotations

import random
from dataclasses import dataclass

from trinity_mesh.balancing import Balancer, Stub
from trinity_mesh.clock import Clock
from trinity_mesh.hedging import HedgeSettings, Latencies
from trinity_mesh.method_rules import Repeats, repeats
from trinity_mesh.retrying import RetryBudget, RetrySettings


@dataclass(slots=True)
class Tally:
    """What a channel's calls took beyond one attempt each."""

    retries: int = 0
    hedges: int = 0
    overtaken: int = 0
    """First attempts that a hedge was faster than."""
    refused: int = 0
    """Retries and hedges that the budget did not allow."""


class CallPlan:
    """How the calls of one method are made, and what they have shown."""

    def __init__(
        self,
        balancer: Balancer,
        stub: Stub,
        *,
        retry: RetrySettings,
        hedge: HedgeSettings,
        budget: RetryBudget,
        tally: Tally,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self.balancer = balancer
        self.stub = stub
        self.retry = retry
        self.hedge = hedge
        self.budget = budget
        self.tally = tally
        self.clock = clock
        self.rng = rng
        self.rule: Repeats = repeats(stub.method.path)
        self.latencies = Latencies(hedge)

    def allows_more(self) -> bool:
        """Whether the budget has room for an attempt beyond the first; where it has none, that is counted."""
        if self.budget.allows():
            return True
        self.tally.refused += 1
        return False
