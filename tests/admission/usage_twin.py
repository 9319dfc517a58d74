"""A usage service in memory, with the faults of a real one: refuses, forgets to answer, is away."""

from __future__ import annotations

import asyncio
from collections import Counter

from trinity.usage.v1 import usage_pb2
from trinity_core.errors import Reason, TrinityError, invalid_field

Kind = tuple[str, int, str, str, int]


class UsageTwin:
    """Keeps the greatest figure of each slot."""

    def __init__(self) -> None:
        self.slots: dict[tuple[str, int], tuple[Kind, int, int]] = {}
        self.requests: list[usage_pb2.RecordUsageRequest] = []
        self.away = False
        """Nothing is taken."""
        self.mute = False
        """Everything is taken, and no answer comes back."""
        self.poison = ""
        """Asset whose counters are refused."""
        self.broken = ""
        """Asset whose counters make the service fail."""
        self.bug = False
        """Something raises that nobody foresaw."""
        self.final = 0
        """How many counters of each message are not taken, for their hours are final."""
        self.gate = asyncio.Event()
        self.gate.set()

    async def record(self, request: usage_pb2.RecordUsageRequest) -> usage_pb2.RecordUsageResponse:
        self.requests.append(request)
        await self.gate.wait()
        if self.bug:
            raise ZeroDivisionError
        if self.away:
            raise TrinityError(Reason.BACKEND_UNAVAILABLE, "nobody there")
        if any(counter.asset == self.poison for counter in request.counters if self.poison):
            raise invalid_field("counters", "poison")
        if any(counter.asset == self.broken for counter in request.counters if self.broken):
            raise TrinityError(Reason.INTERNAL, "broken")
        for counter in request.counters:
            kind = (counter.key_id, counter.transport, counter.method, counter.asset, counter.outcome)
            place = (request.incarnation, counter.slot)
            known = self.slots.get(place, (kind, counter.hour_unix, 0))
            assert known[:2] == (kind, counter.hour_unix)
            self.slots[place] = (kind, counter.hour_unix, max(known[2], counter.count))
        if self.mute:
            raise TrinityError(Reason.DEADLINE_EXCEEDED, "no answer")
        return usage_pb2.RecordUsageResponse(recorded=len(request.counters) - self.final)

    @property
    def sums(self) -> Counter[tuple[Kind, int]]:
        """What is recorded, by kind and hour."""
        sums: Counter[tuple[Kind, int]] = Counter()
        for kind, hour, n in self.slots.values():
            sums[kind, hour] += n
        return sums
