"""The order of checks, cheap ones first, from a datagram to its answer. No socket, no clock, no await.

size · version · answer? · source port · bucket of the prefix · form · allowance of the lines ·
with a session: time · seal · MAC · key · window · the key's own limits · answer of the port's purpose.
Plain questions go the short way (`quick`), by the same checks. What is not at hand is handed back as
`Deferred` and settled later by the same words. Every answer is counted, as the last thing before it
is handed back to be sent.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Generic, TypeVar

from trinity_core import usage
from trinity_core.errors import Reason, TrinityError
from trinity_core.udp_cookie import Cookies
from trinity_core.udp_frame import MAC, RESPONSE, SIGNED_QUERY
from trinity_udp import answers, codec
from trinity_udp.allowance import Allowance, host_of, prefix_of, source_of
from trinity_udp.binary import pack_frame, read_binary
from trinity_udp.codec import DATAGRAM_BYTES_MAX, EARNED_FACTOR, Command, Kind, Query, Refusal
from trinity_udp.doors import NOBODY, Caller, Doors
from trinity_udp.drops import Drop, Tally
from trinity_udp.gathering import Run
from trinity_udp.purpose import Answer, Deferred, Line, Purpose, Tray
from trinity_udp.quick import Quick
from trinity_udp.reply import NOTHING, Reply
from trinity_udp.runs import Runs, read_plain

SOURCE_PORTS_REFUSED: Final = frozenset({0, 7, 19, 53, 123})
"""None, echo, chargen, DNS and NTP: ports that answer, or that nobody asks from."""

S = TypeVar("S")
F = TypeVar("F")

_SESSION_MARK: Final = b" m="
_ELSEWHERE: Final = {Command.GET: Refusal.PRICES, Command.USAGE: Refusal.REPORTS}
"""Commands that one port alone answers, and what is said at the others."""
_NOT_GIVEN: Final = frozenset({usage.Outcome.REFUSED, usage.Outcome.FAILED})


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
        quick: Quick | None = None,
    ) -> None:
        """An endpoint's desk.

        Args:
            purpose: what the port is for.
            allowance: questions without a session that a prefix may send.
            session_allowance: those with one, good or not: what their MACs may cost us.
            own_ports: ports that this endpoint listens on.
            tally: counts what comes and goes.
            doors: let lines in, and count their answers.
            quick: the short way of plain questions; None where all go the long one.
        """
        self._purpose = purpose
        self._form = purpose.form
        self._allowance = allowance
        self._session_allowance = session_allowance
        self._doors = doors
        self._cookies: Cookies = doors.cookies
        self._refused_ports = SOURCE_PORTS_REFUSED | frozenset(own_ports)
        self._tally = tally
        self._quick = quick
        self._runs = None if quick is None or doors.short is None else Runs(quick, doors=doors.short)

    def handle(self, datagram: bytes, host: str, port: int, *, mono_ns: int, unix_ns: int) -> Reply:
        """Answer one datagram from `host` and `port`, or drop it and count why."""
        return self.take(datagram, source_of(host), port, mono_ns, unix_ns)

    def take(self, datagram: bytes, source: bytes, port: int, mono_ns: int, unix_ns: int) -> Reply:
        """The same for an address that is packed (4 or 16 bytes)."""
        quick = self._quick
        if quick is not None and datagram.startswith(SIGNED_QUERY) and len(datagram) <= DATAGRAM_BYTES_MAX:
            # The most of what customers send, by the same checks in the same order.
            if port in self._refused_ports:
                return self._dropped(Drop.SOURCE_PORT)
            if not self._session_allowance.take(prefix_of(source), now_ns=mono_ns):
                return self._dropped(Drop.RATE_LIMITED)
            short = quick.binary(datagram, source, mono_ns, unix_ns)
            return short if type(short) is Reply else self._at_length(datagram, short, source, mono_ns, unix_ns)
        kind = codec.classify(datagram)
        if isinstance(kind, Drop):
            return self._dropped(kind)
        binary = kind is Kind.BINARY_V1
        flags = datagram[1] if binary and len(datagram) > 1 else 0
        if flags & RESPONSE:
            return self._dropped(Drop.RESPONSE)
        if port in self._refused_ports:
            return self._dropped(Drop.SOURCE_PORT)
        marked = bool(flags & MAC) if binary else _SESSION_MARK in datagram
        allowance = self._session_allowance if marked else self._allowance
        if not allowance.take(prefix_of(source), now_ns=mono_ns):
            return self._dropped(Drop.RATE_LIMITED)
        found: Reply | Caller | Drop | None = None
        if quick is not None and not binary:
            if marked:
                found = quick.line(datagram, source, mono_ns, unix_ns)
            else:
                found = quick.plain(datagram, mono_ns, unix_ns)
        return self._at_length(datagram, found, source, mono_ns, unix_ns)

    def take_run(self, run: Run, mono_ns: int, unix_ns: int) -> list[Reply] | None:
        """Answer a run together; None where its datagrams must be taken one at a time."""
        runs, datagrams, source = self._runs, run.datagrams, run.source
        ports = [port for port, _ in (run.senders[:1] if run.alone else run.senders)]
        if runs is None or not self._refused_ports.isdisjoint(ports):
            return None
        binary = datagrams[0].startswith(SIGNED_QUERY)
        lines = None if binary else read_plain(datagrams)
        if not binary and lines is None:
            return None
        allowance = self._session_allowance if binary else self._allowance
        prefix, count = prefix_of(source), len(datagrams)
        if not allowance.take(prefix, now_ns=mono_ns, count=count):
            return None

        def otherwise(datagram: bytes, found: Caller | Drop) -> Reply:
            return self._at_length(datagram, found, source, mono_ns, unix_ns)

        if lines is None:
            replies = runs.binary(datagrams, source, mono_ns, unix_ns, otherwise)
        else:
            replies = runs.plain(datagrams, lines, mono_ns, unix_ns)
        if replies is None:
            allowance.put_back(prefix, count)
        return replies

    def _at_length(
        self, datagram: bytes, found: Reply | Caller | Drop | None, source: bytes, mono_ns: int, unix_ns: int
    ) -> Reply:
        """What the short way has found, or the answer of the long one; a Caller is one whose proof is done."""
        if isinstance(found, Reply):
            return found
        if isinstance(found, Drop):
            return self._dropped(found)
        binary = datagram[0] == codec.BINARY_V1
        read = self._read_binary(datagram, source, mono_ns) if binary else self._read_text(datagram, source, mono_ns)
        if isinstance(read, Drop):
            return self._dropped(read)
        return self._answer_all(datagram, read, source, found, mono_ns, unix_ns)

    def settle(self, deferred: Deferred[S], outcome: F | TrinityError, *, unix_ns: int) -> Reply:
        """The answer to what was looked up."""
        return self._late(deferred, self._purpose.settled(deferred, outcome, unix_ns=unix_ns), unix_ns)

    def without_lookup(self, deferred: Deferred[S], *, unix_ns: int) -> Reply:
        """The answer when nobody can be asked."""
        return self._late(deferred, self._purpose.unasked(deferred, unix_ns=unix_ns), unix_ns)

    def crowded_out(self, deferred: Deferred[S], *, unix_ns: int) -> Reply:
        """The answer when too many wait already."""
        answer = self._purpose.crowded(deferred)
        if isinstance(answer, Drop):
            deferred.entry.close()
            return self._dropped(answer)
        return self._late(deferred, answer, unix_ns)

    def unsent(self, reply: Reply) -> None:
        """The kernel did not take an answer that was counted."""
        for entry in reply.entries:
            entry.unsent()
        if reply.slots and self._doors.short is not None:
            self._doors.short.give_back(reply.slots)

    def _dropped(self, reason: Drop) -> Reply:
        self._tally.drop(reason)
        return NOTHING

    def _read_text(self, datagram: bytes, source: bytes, mono_ns: int) -> tuple[Query, ...] | Drop:
        queries = codec.parse_text(datagram)
        if isinstance(queries, Drop):
            return queries
        marked = _SESSION_MARK in datagram
        claims = sum(query.claim is not None for query in queries)
        plain = sum(max(1, len(query.assets)) for query in queries if query.claim is None)
        if not self._paid(self._session_allowance, claims - marked, source, mono_ns):
            return Drop.RATE_LIMITED
        return queries if self._paid(self._allowance, plain - (not marked), source, mono_ns) else Drop.RATE_LIMITED

    def _read_binary(self, datagram: bytes, source: bytes, mono_ns: int) -> tuple[Query, ...] | Drop:
        query = read_binary(datagram, self._form)
        if isinstance(query, Drop):
            return query
        if query.claim is not None:
            return (query,)  # Its payload is read once its MAC is good.
        read = self._form.read(query)
        if read is None:
            return Drop.BAD_BINARY
        return (read,) if self._paid(self._allowance, len(read.assets) - 1, source, mono_ns) else Drop.RATE_LIMITED

    def _paid(self, allowance: Allowance, count: int, source: bytes, mono_ns: int) -> bool:
        return count <= 0 or allowance.take(prefix_of(source), now_ns=mono_ns, count=count)

    def _answer_all(
        self,
        datagram: bytes,
        queries: tuple[Query, ...],
        source: bytes,
        proven: Caller | None,
        mono_ns: int,
        unix_ns: int,
    ) -> Reply:
        """Answer the queries of a datagram; `proven` sent the only one, if that is known already."""
        host = host_of(source)
        tray: Tray[S] = Tray(
            self._tally, source=source, host=host, cookies=self._cookies, mono_ns=mono_ns, unix_ns=unix_ns
        )
        caller: Caller = NOBODY
        query = queries[0]
        for query in queries:
            caller = self._doors.demo()
            if query.claim is not None:
                found = proven or self._doors.session(query.claim, mono_ns=mono_ns, unix_ns=unix_ns)
                if isinstance(found, Drop):
                    self._tally.drop(found)
                    continue
                caller = found
                if query.form is not None:
                    query = self._form.read(query) or codec.marked_wrong(query, "payload")
            if self._quick is not None and len(queries) == 1:
                self._quick.learn(query)
            self._answer(query, caller, tray)
        limit = DATAGRAM_BYTES_MAX if tray.proven else len(datagram) * EARNED_FACTOR
        frame_of = (query, caller) if query.frame is not None else None
        return self._counted(tray.lines, frame_of, limit, tray.unix_s, tray.cookie, tuple(tray.deferred))

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
            line = answers.render_error(query, elsewhere, bound=bound)
            outcome = usage.Outcome.REFUSED
        elif query.wrong:
            line = answers.render_error(query, Reason.INVALID_FIELD, bound=bound, fact=f"field={query.wrong}")
            outcome = usage.Outcome.REFUSED
        elif command is Command.PING:
            line = answers.render_pong(query, bound=bound)
        elif command is Command.TIME:
            line = answers.render_time(query, unix_s=tray.unix_s, bound=bound)
        else:
            line = answers.render_help(query, self._purpose.help, bound=bound)
        tray.put(line, entry, outcome)

    def _late(self, deferred: Deferred[S], answer: Answer, unix_ns: int) -> Reply:
        lines = [Line(answer.line, deferred.entry, answer.outcome)]
        frame_of = (deferred.query, deferred.caller) if deferred.query.frame is not None else None
        return self._counted(lines, frame_of, deferred.limit, unix_ns // 1_000_000_000)

    def _counted(
        self,
        lines: list[Line],
        frame_of: tuple[Query, Caller] | None,
        limit: int,
        unix_s: int,
        cookie: bytes = b"",
        deferred: tuple[Deferred[S], ...] = (),
    ) -> Reply:
        """The reply that holds as many of the answers as fit, each of them counted."""
        for line in lines:
            if not line.data:
                self._tally.drop(Drop.AMPLIFICATION)
                line.entry.close()
        lines = [line for line in lines if line.data]
        data, whole = self._packed(lines, frame_of, unix_s, cookie)
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
            data, _ = self._packed(sent, frame_of, unix_s, cookie)
        return Reply(data, limit, deferred, tuple(line.entry for line in sent))

    def _packed(
        self, lines: list[Line], frame_of: tuple[Query, Caller] | None, unix_s: int, cookie: bytes
    ) -> tuple[bytes, int]:
        """The lines in one datagram, and how many of them are whole in it; empty for none."""
        parts = [line.data for line in lines]
        if frame_of is None:
            return answers.pack(parts, self._purpose.truncated)
        if not parts and not cookie:
            return b"", 0
        query, caller = frame_of
        refused = bool(lines) and all(line.outcome in _NOT_GIVEN for line in lines)
        return pack_frame(
            query, parts, form=self._form, macs=caller.macs, unix_s=unix_s, refused=refused, cookie=cookie
        )
