"""Load shedding: a server that is asked more than it can do refuses the rest for next to nothing, before any work.

Two things are refused. A call that has less time left than twice what calls of its method take: its answer would
come too late. And calls beyond a limit of those under way, which adapts: each time that a call took more than four
fifths of the time that its caller gave, the limit falls by a quarter; each answer in time lets it grow a little. So
under overload it settles where what is begun is also finished, and without overload it is never felt.

Health checks, reflection and streams are not shed: a stream costs when it has something to say, not while it is open.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, Final

import grpc

from trinity_core.errors import Reason, TrinityError
from trinity_mesh.clock import Clock, SystemClock
from trinity_mesh.interceptors import Context, Handler, wrapped
from trinity_mesh.status import DETAILS_KEY, to_status

RETRY_AFTER_MS: Final = 200
"""When a caller that was refused may come again."""

_FALL: Final = 0.75
_LEARN: Final = 0.1
_FORGET: Final = 0.98
_GROW: Final = 2.0
_SLACK_S: Final = 0.001
"""What a call's way costs beside its work."""
_IN_TIME: Final = 0.8
"""The share of its time that a call may take and be in time: its answer has a way to go, and the next take longer."""


@dataclass(frozen=True, slots=True)
class SheddingSettings:
    """When calls are refused for want of capacity. Raises ValueError for a setting out of its bounds."""

    calls_min: int = 32
    """Calls with one answer that may be under way at once however late their answers are."""
    calls_max: int = 2_000
    """Calls with one answer that may be under way at once at most."""

    def __post_init__(self) -> None:
        if not 1 <= self.calls_min <= self.calls_max:
            raise ValueError(f"calls_min {self.calls_min} must be 1 or more and at most calls_max {self.calls_max}")


class Limit:
    """How many calls may be under way. Time is an argument."""

    __slots__ = ("_fell_ns", "_max", "_min", "limit", "refused", "under_way")

    def __init__(self, settings: SheddingSettings) -> None:
        self._min, self._max = float(settings.calls_min), float(settings.calls_max)
        self.limit = self._max
        """The limit now."""
        self.under_way = 0
        """Calls begun and not ended."""
        self.refused = 0
        """Calls refused so far because there was no room."""
        self._fell_ns = -1

    def begin(self) -> bool:
        """Whether one more may begin; if so it has, and `ended` or `given_up` must follow."""
        if self.under_way >= self.limit:
            self.refused += 1
            return False
        self.under_way += 1
        return True

    def ended(self) -> None:
        """One ended in time, or its caller went away before it had to."""
        self.under_way -= 1
        if self.limit < self._max and self.under_way * 2 >= self.limit:
            self.limit = min(self._max, self.limit + _GROW / self.limit)

    def late(self, began_ns: int, now_ns: int) -> None:
        """One ended, or was given up, after its deadline. Only calls begun since the last fall count."""
        if began_ns > self._fell_ns:
            self.limit = max(self._min, min(self.limit, float(self.under_way)) * _FALL)
            self._fell_ns = now_ns
        self.under_way -= 1


class Takes:
    """How long the calls of one method take."""

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds = 0.0
        """A running mean."""

    def took(self, seconds: float) -> None:
        """One was answered after this long."""
        self.seconds += _LEARN * (seconds - self.seconds)

    def hopeless(self, left_s: float) -> bool:
        """Whether that is too little time. A method that became faster is found out: each refusal forgets a little."""
        if left_s >= 2 * self.seconds + _SLACK_S:
            return False
        self.seconds *= _FORGET
        return True


class Shedding:
    """Stands around a server's calls with one answer; only counting them is done before."""

    name = "shedding"

    def __init__(self, settings: SheddingSettings | None = None, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self.limit = Limit(settings or SheddingSettings())
        """One for all methods: they share a processor and an event loop."""
        self.hopeless = 0
        """Calls refused so far because they came with too little time."""

    def around(self, method: str, handler: Any) -> Any:
        """Refuse what cannot be done."""
        return handler if handler.response_streaming or handler.request_streaming else wrapped(handler, self._bounded)

    def _bounded(self, inner: Handler) -> Handler:
        assert inspect.iscoroutinefunction(inner)
        limit, now, takes = self.limit, self._clock.monotonic_ns, Takes()

        async def bounded(request: Any, context: Context) -> Any:
            left: float | None = context.time_remaining()
            if left is not None and takes.hopeless(left):
                self.hopeless += 1
                await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, _NO_TIME.message, _NO_TIME_DETAILS)
            if not limit.begin():
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, _FULL.message, _FULL_DETAILS)
            began_ns = now()
            try:
                response = await inner(request, context)
            finally:
                ended_ns = now()
                took = (ended_ns - began_ns) / 1e9
                if left is not None and took > left * _IN_TIME:
                    limit.late(began_ns, ended_ns)
                else:
                    limit.ended()
            takes.took(took)
            return response

        return bounded


_FULL: Final = TrinityError(
    Reason.OVERLOADED, "more is asked than can be answered in time; ask again later", retry_after_ms=RETRY_AFTER_MS
)
_FULL_DETAILS: Final = ((DETAILS_KEY, to_status(_FULL).SerializeToString()),)
_NO_TIME: Final = TrinityError(
    Reason.DEADLINE_EXCEEDED, "the call came with less time left than its answer takes; allow more"
)
_NO_TIME_DETAILS: Final = ((DETAILS_KEY, to_status(_NO_TIME).SerializeToString()),)
