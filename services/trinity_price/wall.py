"""The wall clock that prices show: anchored once to the monotonic one, so that differences are true durations."""

from __future__ import annotations

from trinity_mesh.clock import Clock


class AnchoredWall:
    """Wall time as monotonic time plus an anchor.

    The machine's wall clock may be stepped; a difference of two times shown by us must still
    be a duration, because clients measure what is left of a price's freshness by it. The
    anchor moves only when the two have come apart by more than a step, and each move is counted.
    """

    def __init__(self, *, clock: Clock, step_ms: int = 500) -> None:
        """`step_ms` is how far the machine's wall clock may go its own way."""
        self._clock = clock
        self._step_ns = step_ms * 1_000_000
        self.offset_ns = clock.unix_ns() - clock.monotonic_ns()
        """Unix time minus monotonic time, nanoseconds."""
        self.moves = 0
        """How often the anchor was set anew."""

    def unix_ns(self, mono_ns: int) -> int:
        """A monotonic time as unix time, nanoseconds."""
        return mono_ns + self.offset_ns

    def check(self) -> bool:
        """Set the anchor anew when the machine's wall clock was stepped; True when it was."""
        offset_ns = self._clock.unix_ns() - self._clock.monotonic_ns()
        if abs(offset_ns - self.offset_ns) <= self._step_ns:
            return False
        self.offset_ns = offset_ns
        self.moves += 1
        return True
