"""How a monthly quota is shared out among processes that answer without asking: leases. Pure.

A holder may answer up to `allowed` in the month. What it has not used comes back when its lease
has expired without being renewed, so a holder that crashes keeps no more than that, no longer
than that. For the sum of all answers this holds:

    answers <= quota, but for what a holder that crashed, or that could not ask for longer than its
    lease, used without telling, as far as its counts were not recorded when the lease expired

since what was used is the greater of what the holders told and what the ledgers recorded.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lease:
    """One holder's, for one key, in one month."""

    allowed: int
    used: int
    """As the holder told last."""
    live: bool
    """Not expired."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of an associate's month."""

    quota: int
    billed: int
    """Recorded by the ledgers."""
    used_by_others: int
    """Told by all other holders, those whose leases have expired included."""
    held_by_others: int
    """Allowed to other holders by leases that are live, and not used as far as they told."""


def renewed(
    standing: Standing, old: Lease | None, *, used: int, wanted: int, share: int, least: int, used_before: int | None
) -> tuple[int, int]:
    """`allowed` and `used` of a lease that is asked for or renewed.

    Args:
        standing: of the associate, this lease not included.
        old: the lease as it was, None for the first of the month.
        used: as the holder tells, absolute.
        wanted: answers that the holder would like to have at hand.
        share: a holder gets at most this part of what is left, one in `share`,
        least: but not less than so many where they are left.
        used_before: what the holder told last in the month before; None where it had no lease.
    """
    if old is not None:
        used = max(used, old.used)
    elif used_before is not None and used >= used_before:
        # Not a first word of this month but a last one of the month before: only what was recorded is believed.
        used = min(used, standing.billed)
    spent = max(standing.billed, standing.used_by_others + used)
    left = max(0, standing.quota - spent - standing.held_by_others)
    allowed = used + min(wanted, left, max(least, left // share))
    # What was allowed may be in use already; it is taken back only by letting it expire.
    return (max(allowed, old.allowed) if old is not None and old.live else allowed), used
