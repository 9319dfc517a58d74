"""What this process may still answer for one key this month: a lease, and the arithmetic on it. Pure.

The usage service shares an associate's monthly quota out in leases. All figures are absolute within
a month, so that asking again, or hearing twice, changes nothing. One answer goes from `left` to
`reserved` when its request is let in, and from there to `used` when it was billed, or back.

When the usage service cannot be asked, known keys go on (on trust): every answer is counted in the
ledger all the same, so the bill stays exact; what may be overrun is the quota, by as much as the rate
lets through until the service is back. What the service has called used up stays so.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

_S: Final = 1_000_000_000
_FAR_NS: Final = 1 << 63
_SMALL: Final = 8
"""Answers left with which a lease counts as small."""
_PARTS: Final = 1_000
"""A lease asks for no more than this part of a month, one in so many."""


class Take(Enum):
    """What became of asking a lease for one answer."""

    GRANTED = "within the lease"
    TRUSTED = "beyond the lease: the usage service is being asked, or could not be asked"
    SPENT = "not this month: the usage service says that nothing is left"
    UNKNOWN = "not now: the usage service could not be asked for too long"


@dataclass(frozen=True, slots=True)
class Grant:
    """The usage service's word."""

    allowed: int
    """Answers of this month in all, earlier leases included; less than before where a lease had expired."""
    unlimited: bool
    expires_in_ns: int
    """How long it holds, from the moment it was asked for."""
    reset_unix_ns: int
    """When the quota begins anew."""


class Lease:
    """One key's lease in one month, in one process."""

    __slots__ = (
        "_asked_ns",
        "_began_ns",
        "_failing_since_ns",
        "_low",
        "_spent_until_ns",
        "_told",
        "_unlimited",
        "_until_ns",
        "allowed",
        "reserved",
        "reset_unix_ns",
        "trusted",
        "used",
        "waiting",
    )

    def __init__(self) -> None:
        self.allowed = 0
        self.used = 0
        """Answers billed."""
        self.reserved = 0
        """Answers under way."""
        self.trusted = 0
        """Answers let in beyond the lease since the service's last word."""
        self.waiting = 0
        """Requests that wait for the service's word."""
        self.reset_unix_ns = _FAR_NS
        """When the month ends; far away until the service said."""
        self._unlimited = False
        self._until_ns = 0
        self._began_ns = 0
        self._low = 0
        self._spent_until_ns = 0
        self._told = 0
        self._asked_ns: int | None = None
        self._failing_since_ns: int | None = None

    @property
    def left(self) -> int:
        """Answers that the lease still allows."""
        return max(0, self.allowed - self.used - self.reserved)

    def over(self, unix_ns: int) -> bool:
        """Whether the month has ended: another lease begins."""
        return unix_ns >= self.reset_unix_ns

    def allows(self, now_ns: int, count: int = 1) -> bool:
        """Whether one more answer, or `count`, is within the lease."""
        return now_ns < self._until_ns and (self._unlimited or self.used + self.reserved + count <= self.allowed)

    def take(self, now_ns: int, *, trust_ns: int) -> Take:
        """Ask for one answer; granted or trusted, it is reserved. `trust_ns` bounds how long nobody need be asked."""
        if self.allows(now_ns):
            self.reserved += 1
            return Take.GRANTED
        if self._spent_until_ns:
            return Take.SPENT
        if self._failing_since_ns is not None and now_ns - self._failing_since_ns > trust_ns:
            return Take.UNKNOWN
        self.reserved += 1
        self.trusted += 1
        return Take.TRUSTED

    def awaits_word(self, now_ns: int) -> bool:
        """Whether an answer now would be beyond the lease although the service may be there to ask."""
        if self.allows(now_ns):
            return False
        if self._spent_until_ns:
            return now_ns >= self._spent_until_ns
        return self._failing_since_ns is None

    def billed(self) -> None:
        """A reserved answer was billed."""
        self.reserved -= 1
        self.used += 1

    def given_back(self) -> None:
        """A reserved answer was not billed."""
        self.reserved -= 1

    def wants(self, now_ns: int) -> bool:
        """Whether to ask the service, ahead of need: half is used, half the time is over, or a refusal is old.

        A small lease is renewed when it is used up and not before: what one process holds for
        nobody, another has to refuse.
        """
        if self._asked_ns is not None:
            return False
        if self._spent_until_ns:
            return now_ns >= self._spent_until_ns
        if not self._unlimited and self.left <= self._low:
            return True
        return self._low >= 0 and now_ns >= self._until_ns - (self._until_ns - self._began_ns) // 2

    def asked(self, now_ns: int) -> int:
        """A call to the service is under way; what to tell it as used.

        Answers under way are among it: what the service gives must go beyond them. Where they are
        not billed after all, the lease still has them.
        """
        self._asked_ns = now_ns
        self._told = self.used + self.reserved
        return self._told

    def granted(self, grant: Grant, now_ns: int, *, again_ns: int) -> None:
        """The service's word came. Where it leaves nothing, it is asked again after `again_ns` at the earliest."""
        asked_ns = now_ns if self._asked_ns is None else self._asked_ns
        self._asked_ns = self._failing_since_ns = None
        self.trusted = 0
        self.allowed = grant.allowed
        self._unlimited = grant.unlimited
        self._began_ns = asked_ns
        self._until_ns = asked_ns + max(0, grant.expires_in_ns)
        self.reset_unix_ns = grant.reset_unix_ns
        small = not grant.unlimited and self.left <= _SMALL
        self._low = -1 if small else self.left // 2
        self._spent_until_ns = 0 if grant.unlimited or grant.allowed > self._told else now_ns + again_ns

    def failed(self, now_ns: int) -> None:
        """The service could not be asked."""
        self._asked_ns = None
        if self._failing_since_ns is None:
            self._failing_since_ns = now_ns

    def refused(self, now_ns: int, *, again_ns: int) -> None:
        """The service does not know the key: nothing is left to it."""
        self._asked_ns = self._failing_since_ns = None
        self._until_ns = 0
        self._spent_until_ns = now_ns + again_ns

    def reopen(self) -> None:
        """The plan has changed: what was said of it does not hold."""
        self._until_ns = 0
        self._spent_until_ns = 0


def wanted(*, monthly_quota: int, rate_per_s: float, burst: int, ahead_s: float, waiting: int) -> int:
    """How many answers to ask for.

    A burst and what the rate can let through in `ahead_s`, but a small part of the month at
    most: what a process holds and does not use, the others lack. Those who wait are always among them.
    """
    return max(1, min(burst + int(rate_per_s * ahead_s), monthly_quota // _PARTS) + waiting)


def until_reset_ms(lease: Lease, unix_ns: int) -> int | None:
    """Milliseconds until the quota begins anew; None where that is not known."""
    if lease.reset_unix_ns == _FAR_NS:
        return None
    return max(1, (lease.reset_unix_ns - unix_ns) // 1_000_000)
