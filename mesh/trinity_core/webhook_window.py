"""The lowest and highest price of a window of time, in bounded memory.

A window is cut into 60 steps on the grid of unix time, and each step keeps its lowest, highest
and last price. Step s of time t is t // (window / 60). At time t the window holds steps
s - 60 to s, and the price that was in force when it began: the last one before it. So it
covers at least its length and at most one step more; within that it is exact.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

import msgspec

STEPS: Final = 60


class Step(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one step keeps."""

    number: int
    low: Decimal
    high: Decimal
    last: Decimal


class Window(msgspec.Struct, frozen=True, array_like=True):
    """Prices of a window; a value, so that it can be stored as it was at an alert."""

    steps: tuple[Step, ...] = ()
    """Oldest first, at most `STEPS` + 1."""
    before: Decimal | None = None
    """The price in force when the window began."""

    def add(self, price: Decimal, at_ns: int, *, window_ms: int) -> Window:
        """The window at a time with one more price. Times must not go back; one that does counts as the newest step."""
        number = step_of(at_ns, window_ms)
        steps = self.steps
        if steps and number <= steps[-1].number:
            old = steps[-1]
            newest = Step(old.number, min(old.low, price), max(old.high, price), price)
            return Window((*steps[:-1], newest), self.before)
        gone = 0
        while gone < len(steps) and steps[gone].number < number - STEPS:
            gone += 1
        before = steps[gone - 1].last if gone else self.before
        return Window((*steps[gone:], Step(number, price, price, price)), before)

    def low(self) -> Decimal:
        """The lowest price; the window holds at least one."""
        return min(self._with_before(step.low for step in self.steps))

    def high(self) -> Decimal:
        """The highest price; the window holds at least one."""
        return max(self._with_before(step.high for step in self.steps))

    def _with_before(self, prices: Iterable[Decimal]) -> list[Decimal]:
        return [*prices] if self.before is None else [self.before, *prices]


def step_of(at_ns: int, window_ms: int) -> int:
    """The number of the step that holds a time."""
    return at_ns * STEPS // (window_ms * 1_000_000)
