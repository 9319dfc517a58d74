"""The order of checks, cheap ones first, from a datagram to its answer. No socket, no clock, no await.

size · version · answer? · source port · bucket of the prefix · grammar · allowance of the lines ·
with a session: time · seal · MAC · key · window · the key's own limits · answer of the port's purpose.
What is not at hand is handed back as `Deferred` and settled later by the same words. Every answer
is counted, as the last thing before it is handed back to be sent.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Generic, TypeVar

import msgspec

from trinity_core import usage
from trinity_core.errors import Reason, TrinityError
from trinity_udp import codec
from trinity_udp.allowance import Allowance, prefix_of
from trinity_udp.codec import Command, Kind, Query, Refusal
from trinity_udp.doors import Caller, Doors, Entry
from trinity_udp.drops import Drop, Tally
from trinity_udp.purpose import Answer, Deferred, Line, Purpose, Tray

SOURCE_PORTS_REFUSED: Final = frozenset({0, 7, 19, 53, 123})
"""None, echo, chargen, DNS and NTP: ports that answer, or that nobody asks from."""

S = TypeVar("S")
F = TypeVar("F")

_SESSION_MARK: Final = b" m="
_ELSEWHERE: Final = {Command.GET: Refusal.PRICES, Command.USAGE: Refusal.REPORTS}
"""Commands that one port alone answers, and what is said at the others."""


class Reply(msgspec.Struct, Generic[S], frozen=True):
    """What to do about one datagram."""

    data: bytes = b""
    """To send back now; empty for silence."""
    deferred: tuple[Deferred[S], ...] = ()
    entries: tuple[Entry, ...] = ()
    """What was counted of the data; `unsent` where the kernel does not take it."""


class Desk(Generic[S, F]):
    """Turns datagrams into answers."""

    def __init__(
        self,
        *,
        purpose: Purpose[S, F],
        allowance: Allowance,
        session_allowance: Allowance,
        own_ports: Collection[int],
        tally: Tally,
        doors: Doors,
    ) -> None:
        """An endpoint's desk.

        Args:
            purpose: what the port is for.
            allowance: lines without a session that a prefix may send.
            session_allowance: lines with one, good or not: what their MACs may cost us.
            own_ports: ports that this endpoint listens on.
            tally: counts what comes and goes.
            doors: let lines in, and count their answers.
        """
        self._purpose = purpose
        self._allowance = allowance
        self._session_allowance = session_allowance
        self._doors = doors
        self._refused_ports = SOURCE_PORTS_REFUSED | frozenset(own_ports)
        self._tally = tally

    def handle(self, datagram: bytes, host: str, port: int, *, mono_ns: int, unix_ns: int) -> Reply[S]:
        """Answer one datagram from `host` and `port`, or drop it and count why."""
        queries = self._admit(datagram, host, port, mono_ns)
        if isinstance(queries, Drop):
            self._tally.drop(queries)
            return Reply()
        tray: Tray[S] = Tray(self._tally, host=host, mono_ns=mono_ns, unix_ns=unix_ns)
        for query in queries:
            caller = self._doors.demo()
            if query.claim is not None:
                proven = self._doors.session(query.claim, mono_ns=mono_ns, unix_ns=unix_ns)
                if isinstance(proven, Drop):
                    self._tally.drop(proven)
                    continue
                caller = proven
            self._answer(query, caller, tray)
        return self._counted(tray.lines, tuple(tray.deferred))

    def settle(self, deferred: Deferred[S], outcome: F | TrinityError, *, unix_ns: int) -> Reply[S]:
        """The answer to what was looked up."""
        return self._late(deferred, self._purpose.settled(deferred, outcome, unix_s=unix_ns // 1_000_000_000))

    def without_lookup(self, deferred: Deferred[S], *, unix_ns: int) -> Reply[S]:
        """The answer when nobody can be asked."""
        return self._late(deferred, self._purpose.unasked(deferred, unix_s=unix_ns // 1_000_000_000))

    def crowded_out(self, deferred: Deferred[S]) -> Reply[S]:
        """The answer when too many wait already."""
        answer = self._purpose.crowded(deferred)
        if isinstance(answer, Drop):
            self._tally.drop(answer)
            deferred.entry.close()
            return Reply()
        return self._late(deferred, answer)

    def _admit(self, datagram: bytes, host: str, port: int, mono_ns: int) -> tuple[Query, ...] | Drop:
        kind = codec.classify(datagram)
        if isinstance(kind, Drop):
            return kind
        if port in self._refused_ports:
            return Drop.SOURCE_PORT
        prefix = prefix_of(host)
        marked = _SESSION_MARK in datagram
        first = self._session_allowance if marked else self._allowance
        if not first.take(prefix, now_ns=mono_ns):
            return Drop.RATE_LIMITED
        if kind is Kind.BINARY_V1:
            return Drop.BINARY_UNSUPPORTED
        queries = codec.parse_text(datagram)
        if isinstance(queries, Drop):
            return queries
        claims = sum(query.claim is not None for query in queries)
        plain = len(queries) - claims
        for allowance, count in (
            (self._session_allowance, claims - marked),
            (self._allowance, plain - (not marked)),
        ):
            if count > 0 and not allowance.take(prefix, now_ns=mono_ns, count=count):
                return Drop.RATE_LIMITED
        return queries

    def _answer(self, query: Query, caller: Caller, tray: Tray[S]) -> None:
        command, bound = query.command, query.bound
        elsewhere = None if command is self._purpose.command else _ELSEWHERE.get(command)
        if elsewhere is None and not query.wrong and command in _ELSEWHERE:
            self._purpose.answer(query, caller, tray)
            return
        entry = tray.enter(query, caller)
        if entry is None:
            return
        outcome = usage.Outcome.SERVED
        if elsewhere is not None:
            line = codec.render_error(query, elsewhere, bound=bound)
            outcome = usage.Outcome.REFUSED
        elif query.wrong:
            line = codec.render_error(query, Reason.INVALID_FIELD, bound=bound, fact=f"field={query.wrong}")
            outcome = usage.Outcome.REFUSED
        elif command is Command.PING:
            line = codec.render_pong(query, bound=bound)
        elif command is Command.TIME:
            line = codec.render_time(query, unix_s=tray.unix_s, bound=bound)
        else:
            line = codec.render_help(query, self._purpose.help, bound=bound)
        tray.put(line, entry, outcome)

    def _late(self, deferred: Deferred[S], answer: Answer) -> Reply[S]:
        return self._counted([Line(answer.line, deferred.entry, answer.outcome)])

    def _counted(self, lines: list[Line], deferred: tuple[Deferred[S], ...] = ()) -> Reply[S]:
        """The reply that holds as many of the answers as fit, each of them counted."""
        for line in lines:
            if not line.data:
                self._tally.drop(Drop.AMPLIFICATION)
                line.entry.close()
        lines = [line for line in lines if line.data]
        data, whole = codec.pack([line.data for line in lines], self._purpose.truncated)
        sent: list[Line] = []
        for index, line in enumerate(lines):
            try:
                if index < whole:
                    line.entry.answered(line.outcome)
                    sent.append(line)
            except TrinityError:
                self._tally.drop(Drop.UNCOUNTED)
            finally:
                line.entry.close()
        if len(sent) < min(whole, len(lines)):
            data = b"".join(line.data for line in sent)
        return Reply(data, deferred, tuple(line.entry for line in sent))
