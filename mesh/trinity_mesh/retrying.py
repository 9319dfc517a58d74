"""When a failed call is made again: what its error says, what the budget allows, how long to wait. Pure.

The budget is that of gRPC's retry throttling (gRFC A6): a failure costs a token, a success gives back a part of
one, and below half of the tokens nothing is repeated. A service that fails for everybody is so asked once a call
and not three times, by all of its callers together.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

import grpc
import grpc.aio

from trinity_core.errors import Reason
from trinity_mesh.status import DETAILS_KEY, from_rpc_error

ATTEMPTS_KEY: Final = "grpc-previous-rpc-attempts"
"""Metadata of a repeated call: how often it was tried before."""
PUSHBACK_KEY: Final = "grpc-retry-pushback-ms"
"""Trailing metadata by which a server says when to come again; below zero: not at all."""

_AGAIN: Final = frozenset({Reason.BACKEND_UNAVAILABLE, Reason.STOPPING, Reason.OVERLOADED})
"""Reasons that may be gone a moment later. A stale price is an answer, a limit of the caller's own key is
one, and so is the word of a service that has waited for its store already."""


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """How often and how fast failed calls are made again. Raises ValueError for a setting out of its bounds."""

    attempts_max: int = 3
    """Attempts of one call, the first included; 1: none is repeated."""
    first_ms: int = 20
    """Bound of the first wait; it doubles with each, and a wait is drawn evenly between zero and its bound."""
    cap_ms: int = 500
    """Bound of every wait."""
    tokens_max: int = 100
    """Size of a channel's budget. Nothing is repeated while half of it or less is there."""
    token_ratio: float = 0.1
    """What a call that succeeds gives back; so in the long run one call in ten is repeated at most."""

    def __post_init__(self) -> None:
        if not 1 <= self.attempts_max <= 5:
            raise ValueError(f"attempts_max {self.attempts_max} must be from 1 to 5")
        if not 0 < self.first_ms <= self.cap_ms:
            raise ValueError(f"first_ms {self.first_ms} must be positive and at most cap_ms {self.cap_ms}")
        if self.tokens_max < 2 or not 0 < self.token_ratio <= 1:
            raise ValueError("tokens_max must be 2 or more, token_ratio above 0 and at most 1")


class RetryBudget:
    """The tokens of one channel."""

    __slots__ = ("_max", "_ratio", "tokens")

    def __init__(self, settings: RetrySettings) -> None:
        self._max = float(settings.tokens_max)
        self._ratio = settings.token_ratio
        self.tokens = self._max
        """What is there now."""

    def succeeded(self) -> None:
        """A call was answered."""
        if self.tokens < self._max:
            self.tokens = min(self._max, self.tokens + self._ratio)

    def failed(self) -> None:
        """A call failed in a way that a repetition may mend, or a second one was sent beside it."""
        self.tokens = max(0.0, self.tokens - 1.0)

    def allows(self) -> bool:
        """Whether one more call may be made for one that was asked for."""
        return self.tokens > self._max / 2


@dataclass(frozen=True, slots=True)
class Failure:
    """What a failed attempt says."""

    again: bool
    """Another attempt may be answered."""
    backend: bool
    """The backend, or the way to it, is at fault: it gave no answer of its own."""
    after_ms: int | None = None
    """When the server wants to be asked again; None where it does not say."""


_FINAL: Final = Failure(again=False, backend=False)


def judged(error: grpc.aio.AioRpcError) -> Failure:
    """Read an error: its code, the details of ours, and the server's pushback."""
    code = error.code()
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return Failure(again=False, backend=True)
    if code not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED):
        return _FINAL
    trailing = {key: value for key, value in error.trailing_metadata() or () if key in (PUSHBACK_KEY, DETAILS_KEY)}
    pushback = trailing.get(PUSHBACK_KEY)
    if pushback is not None:
        text = str(pushback)
        after_ms = int(text) if text.isdecimal() and len(text) <= 9 else None
        return Failure(again=after_ms is not None, backend=False, after_ms=after_ms)
    if DETAILS_KEY not in trailing:
        # No word of ours: a lost connection, a dead peer, a proxy. A bare RESOURCE_EXHAUSTED asks for no repetition.
        lost = code is grpc.StatusCode.UNAVAILABLE
        return Failure(again=lost, backend=lost)
    told = from_rpc_error(error)
    return Failure(again=told.reason in _AGAIN, backend=False, after_ms=told.retry_after_ms)


def wait_s(
    settings: RetrySettings, failure: Failure, *, attempts: int, left_s: float, rng: random.Random
) -> float | None:
    """Seconds until the next attempt after `attempts` made ones; None when there is none that could be answered.

    What the server asks for is a lower bound. A wait that leaves no time for an answer is no wait.
    """
    if not failure.again or attempts >= settings.attempts_max:
        return None
    bound_ms = min(settings.cap_ms, settings.first_ms << (attempts - 1))
    wait = rng.random() * bound_ms / 1_000 + (failure.after_ms or 0) / 1_000
    return wait if wait < left_s else None
