"""The port for reports: USAGE, the totals of the key that opened the session. Pure.

Totals that were read a moment ago are answered again; each answer says when they were read, and what
it calls a day and a month are those of that moment. So is a failure, so that services which
are away are not asked once a datagram.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from trinity_admission.asked import outcome_of_code
from trinity_admission.principal import Principal
from trinity_core.errors import Reason, TrinityError
from trinity_core.usage import Outcome
from trinity_udp import answers, helping
from trinity_udp.binary import TotalsForm
from trinity_udp.codec import Command, Query, Refusal
from trinity_udp.doors import Caller
from trinity_udp.purpose import Answer, Deferred, Tray

_DAY_S = 86_400
_OPEN = "open=/v1/udp/sessions"


class Totals(msgspec.Struct, frozen=True):
    """What was answered to one key, as far as it is committed."""

    day: int
    """Billed answers of the day (UTC) of `unix_s`."""
    month: int
    """Billed answers of its month (UTC)."""
    left: int | None
    """What is left of the month's quota of the key's associate; None where nothing bounds it."""
    unix_s: int
    """When they were read, unix seconds."""


class KeptTotals:
    """Outcomes of look-ups by holder, for a short time and in a bounded number."""

    def __init__(self, *, kept_ms: int, kept_max: int) -> None:
        self._kept_ns = kept_ms * 1_000_000
        self._kept_max = kept_max
        self._kept: OrderedDict[Principal, tuple[Totals | TrinityError, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, holder: Principal, outcome: Totals | TrinityError, *, mono_ns: int) -> None:
        """Remember an outcome that came just now; what is oldest is forgotten for it."""
        self._kept.pop(holder, None)
        while self._kept and len(self._kept) >= self._kept_max:
            self._kept.popitem(last=False)
        self._kept[holder] = (outcome, mono_ns)

    def get(self, holder: Principal, *, mono_ns: int, unix_s: int) -> Totals | TrinityError | None:
        """What is known of a holder; None where it is too old, or of a day that is over."""
        found = self._kept.get(holder)
        if found is None:
            return None
        outcome, kept_at_ns = found
        over = isinstance(outcome, Totals) and outcome.unix_s // _DAY_S != unix_s // _DAY_S
        if over or mono_ns - kept_at_ns >= self._kept_ns:
            del self._kept[holder]
            return None
        return outcome


class UsageTotals:
    """Implements Purpose. The subject of a look-up is the holder of a key."""

    command = Command.USAGE
    help = helping.REPORT_HELP
    truncated = answers.TRUNCATED_REPORTS
    form = TotalsForm()

    def __init__(self, kept: KeptTotals) -> None:
        """`kept` is filled by whoever looks up."""
        self._kept = kept

    def answer(self, query: Query, caller: Caller, tray: Tray[Principal], /) -> None:
        """Answer a USAGE to the holder of a session; tell others that they need one."""
        entry = tray.enter(query, caller)
        if entry is None:
            return
        holder = caller.principal
        if holder is None:
            line = answers.render_error(query, Refusal.SESSION, bound=query.bound, fact=_OPEN)
            tray.put(line, entry, Outcome.REFUSED)
            return
        known = self._kept.get(holder, mono_ns=tray.mono_ns, unix_s=tray.unix_s)
        if known is None:
            tray.defer(query, holder, entry, bound=query.bound, caller=caller)
        else:
            answer = _answer(query, known, bound=query.bound)
            tray.put(answer.line, entry, answer.outcome)

    def settled(self, deferred: Deferred[Principal], outcome: Totals | TrinityError, *, unix_ns: int) -> Answer:
        """The answer to what was looked up."""
        return _answer(deferred.query, outcome, bound=deferred.bound)

    def unasked(self, deferred: Deferred[Principal], *, unix_ns: int) -> Answer:
        """The answer where nobody can be asked."""
        away = TrinityError(Reason.BACKEND_UNAVAILABLE, "nobody knows the totals")
        return _answer(deferred.query, away, bound=deferred.bound)

    def crowded(self, deferred: Deferred[Principal], /) -> Answer:
        """The answer where too many wait already: a good session is never met with silence."""
        crowded = TrinityError(Reason.BACKEND_UNAVAILABLE, "too many wait for totals", retry_after_ms=1_000)
        return _answer(deferred.query, crowded, bound=deferred.bound)


def _answer(query: Query, outcome: Totals | TrinityError, *, bound: int) -> Answer:
    if isinstance(outcome, TrinityError):
        fact = "" if outcome.retry_after_ms is None else f"retry={-(-outcome.retry_after_ms // 1_000)}"
        line = answers.render_error(query, outcome.reason, bound=bound, fact=fact)
        return Answer(line, outcome_of_code(outcome.row.code))
    line = answers.render_usage(
        query, day=outcome.day, month=outcome.month, left=outcome.left, unix_s=outcome.unix_s, bound=bound
    )
    return Answer(line, Outcome.SERVED)
