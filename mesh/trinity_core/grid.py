"""Deadlines rounded up to a grid of moments, so that what time does happens at moments anybody can name.

Each key has at most one deadline, and only an earlier one replaces it: a deadline that moves
back is not chased, its moment comes and finds nothing to do. That keeps the usual case, a
tick that puts a deadline off, free of any work here.
"""

from __future__ import annotations

import heapq


class Grid:
    """Deadlines of a fixed number of keys, on monotonic time in nanoseconds."""

    def __init__(self, *, step_ns: int, keys: int) -> None:
        self._step_ns = step_ns
        self._due: list[int | None] = [None] * keys
        self._heap: list[tuple[int, int]] = []
        self._heap_max = 4 * keys + 16

    def set(self, key: int, when: int) -> None:
        """Let the key come up at the first grid point from `when` on, unless it comes up earlier anyway."""
        point = -(-when // self._step_ns) * self._step_ns
        due = self._due[key]
        if due is not None and due <= point:
            return
        self._due[key] = point
        if len(self._heap) >= self._heap_max:
            # Deadlines that were replaced by earlier ones are still in the heap: drop them.
            self._heap = [(due, other) for other, due in enumerate(self._due) if due is not None and other != key]
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, (point, key))

    def next(self) -> int | None:
        """The earliest grid point at which a key may come up; None when none will."""
        return self._heap[0][0] if self._heap else None

    def pop(self, now: int) -> tuple[int, list[int]] | None:
        """The earliest grid point up to now at which keys come up, and those keys in ascending order."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            point = heap[0][0]
            keys = []
            while heap and heap[0][0] == point:
                key = heapq.heappop(heap)[1]
                if self._due[key] == point:
                    self._due[key] = None
                    keys.append(key)
            if keys:
                return point, keys
        return None
