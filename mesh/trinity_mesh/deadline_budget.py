"""How much time a call that is being served leaves for the calls it makes.

The deadline of the caller, less a reserve for the way back, bounds every call that is made while its own is
served. So a deadline shrinks from hop to hop, and the one who set it hears of its end from us and not from its own
timer. What leaves too little time is refused at once, by the server that gets it and by the client that would send
it: work that nobody waits for any more is what an overloaded mesh has least use for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, Final

from trinity_core.errors import Reason, TrinityError
from trinity_mesh.calling import CallDetails, Method, RefusedCall, Send
from trinity_mesh.clock import Clock, SystemClock

FLOOR_MS: Final = 2
"""Less time than this is none: a call over a socket and back takes about as long."""
RESERVE_MS: Final = 5
"""What a served call keeps for its own answer of the time that its caller gave, or a hundredth of that time where it
is more (grpc rounds a deadline up by as much on its way); a tenth of it at most."""

_served_until_ns: ContextVar[int | None] = ContextVar("served_until_ns", default=None)
_NS: Final = 1_000_000_000
_FLOOR_S: Final = FLOOR_MS / 1_000
_RESERVE_S: Final = RESERVE_MS / 1_000


def left_s(clock: Clock) -> float | None:
    """Seconds that the call being served leaves for others; None where nothing bounds them."""
    until_ns = _served_until_ns.get()
    return None if until_ns is None else (until_ns - clock.monotonic_ns()) / _NS


def serve_within(seconds: float | None, clock: Clock) -> None:
    """From here on this task serves a call whose caller waits for `seconds` at most; None: for as long as it takes."""
    if seconds is None:
        _served_until_ns.set(None)
        return
    left = seconds - min(max(_RESERVE_S, seconds / 100), seconds / 10)
    _served_until_ns.set(clock.monotonic_ns() + int(left * _NS))


@contextlib.contextmanager
def for_everybody() -> Iterator[None]:
    """Tasks that are started in the block outlive the call being served: its deadline is not theirs."""
    token = _served_until_ns.set(None)
    try:
        yield
    finally:
        _served_until_ns.reset(token)


class DeadlineBudget:
    """Client side: no call gets more time than the one being served has left, and none goes out without any."""

    name = "deadline_budget"

    def __init__(self, *, default_ms: int, clock: Clock | None = None) -> None:
        """`default_ms` is the deadline of a call with one answer whose caller names none."""
        self._default_s = default_ms / 1_000
        self._clock = clock or SystemClock()
        self.refused = 0
        """Calls not sent so far because no time was left."""

    def around(self, method: Method, send: Send) -> Send:
        """Set the timeout; streams have the served call's deadline or none."""
        default_s = self._default_s if method.kind.endswith("_unary") else None
        clock = self._clock

        def bounded(request: Any, details: CallDetails) -> Any:
            if details.timeout is None:
                details.timeout = default_s
            until_ns = _served_until_ns.get()
            if until_ns is not None:
                left = (until_ns - clock.monotonic_ns()) / _NS
                if details.timeout is None or left < details.timeout:
                    details.timeout = left
            if details.timeout is not None and details.timeout < _FLOOR_S:
                self.refused += 1
                return RefusedCall(_NO_TIME)
            return send(request, details)

        return bounded


_NO_TIME: Final = TrinityError(
    Reason.DEADLINE_EXCEEDED, "there is no time left for a call that this one needs; allow more"
)
