"""When a delivery that failed is tried again, and when an endpoint is given up. Pure.

Times are unix nanoseconds and arguments; chance is an argument too.
"""

from __future__ import annotations

import email.utils
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from enum import IntEnum
from typing import Final, NamedTuple

S: Final = 10**9
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
DELAYS_S: Final = (
    0,
    5,
    5 * _MINUTE,
    30 * _MINUTE,
    2 * _HOUR,
    5 * _HOUR,
    10 * _HOUR,
    14 * _HOUR,
    20 * _HOUR,
    24 * _HOUR,
)
"""Pause before each attempt, seconds: the first is made at once."""
JITTER: Final = 0.1
"""A pause is longer or shorter by up to this part of it."""
RETRY_AFTER_S_MAX: Final = _DAY
"""A `Retry-After` beyond this counts as this."""
GIVE_UP_S: Final = 5 * _DAY
"""An endpoint that has failed for so long, without one success, is disabled."""

_STATUS_GONE: Final = 410
_OK: Final = range(200, 300)
_REDIRECTS: Final = range(300, 400)


class Outcome(IntEnum):
    """What became of an attempt; numbers as in trinity.webhook.v1.Outcome."""

    DELIVERED = 1
    REFUSED = 2
    """An answer that is not 2xx."""
    REDIRECTED = 3
    """A redirect, which is never followed."""
    GONE = 4
    """410: the endpoint wants no more."""
    TIMED_OUT = 5
    NOT_CONNECTED = 6
    """No connection, or it broke."""
    TLS_FAILED = 7
    ADDRESS_REFUSED = 8
    """The name leads to an address that is never called."""
    ANSWER_TOO_LONG = 9
    NO_RECEIPT = 10
    """A datagram that nobody confirmed."""


class Next(IntEnum):
    """What follows from an attempt for its delivery and its endpoint."""

    DONE = 1
    RETRY = 2
    EXHAUSTED = 3
    """Every attempt was made; the delivery has failed."""
    DISABLE_GONE = 4
    """The endpoint answered 410."""
    DISABLE_FAILING = 5
    """The endpoint has failed for too long; its owner is told by another channel."""


class Verdict(NamedTuple):
    """What follows, and when."""

    next: Next
    due_ns: int | None = None
    """When to try again."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The schedule. The defaults are what the documentation promises."""

    delays_s: tuple[int, ...] = DELAYS_S
    jitter: float = JITTER
    retry_after_s_max: int = RETRY_AFTER_S_MAX
    give_up_s: int = GIVE_UP_S

    def judge(
        self,
        outcome: Outcome,
        *,
        attempts: int,
        now_ns: int,
        failing_since_ns: int | None,
        retry_after_s: int | None = None,
        random: Callable[[], float],
    ) -> Verdict:
        """What follows from the newest attempt.

        `attempts` counts it; `failing_since_ns` is when the endpoint began to fail, None if it did
        not before; `random` returns a number from 0 up to 1.
        """
        if outcome is Outcome.DELIVERED:
            return Verdict(Next.DONE)
        if outcome is Outcome.GONE:
            return Verdict(Next.DISABLE_GONE)
        if failing_since_ns is not None and now_ns - failing_since_ns >= self.give_up_s * S:
            return Verdict(Next.DISABLE_FAILING)
        if attempts >= len(self.delays_s):
            return Verdict(Next.EXHAUSTED)
        pause_ns = round(self.delays_s[attempts] * S * (1 + self.jitter * (2 * random() - 1)))
        if retry_after_s is not None:
            pause_ns = max(pause_ns, min(retry_after_s, self.retry_after_s_max) * S)
        return Verdict(Next.RETRY, now_ns + pause_ns)


def outcome_of(status: int) -> Outcome:
    """What an HTTP status says of an attempt."""
    if status in _OK:
        return Outcome.DELIVERED
    if status == _STATUS_GONE:
        return Outcome.GONE
    return Outcome.REDIRECTED if status in _REDIRECTS else Outcome.REFUSED


def retry_after_s(value: str | None, *, now_ns: int) -> int | None:
    """Seconds that a `Retry-After` field asks to wait (RFC 9110, 10.2.3); None where it cannot be read."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdecimal():
        return min(int(text[:12]), 10**9)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0, -(-(int(moment.timestamp() * S) - now_ns) // S))
