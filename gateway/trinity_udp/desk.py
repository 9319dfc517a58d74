"""The order of checks, cheap ones first, from a datagram to its answer. No socket, no clock, no await.

size · version · answer? · source port · bucket of the prefix · grammar · allowance of the lines ·
with a session: time · seal · MAC · key · window · the key's own limits · answer from the replica.
What the replica lacks is handed back as `Deferred` and settled later by the same words. Every answer
is counted, as the last thing before it is handed back to be sent.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Protocol

import msgspec

from trinity.price.v1 import price_pb2
from trinity_admission.asked import outcome_of_code
from trinity_core import usage
from trinity_core.errors import Reason, TrinityError
from trinity_udp import codec
from trinity_udp.allowance import Allowance, prefix_of
from trinity_udp.codec import Command, Kind, Query
from trinity_udp.doors import NOBODY, Caller, Doors, Entry
from trinity_udp.drops import Drop, Tally
from trinity_udp.lookups import Outcome

SOURCE_PORTS_REFUSED: Final = frozenset({0, 7, 19, 53, 123})
"""None, echo, chargen, DNS and NTP: ports that answer, or that nobody asks from."""

_SESSION_MARK: Final = b" m="
_TIERS: Final = {
    price_pb2.TIER_LOCAL: usage.Outcome.LOCAL,
    price_pb2.TIER_CACHE: usage.Outcome.CACHE,
    price_pb2.TIER_LIVE: usage.Outcome.LIVE,
}
_ANSWERED: Final = frozenset({price_pb2.STATE_FRESH, price_pb2.STATE_DELAYED, price_pb2.STATE_DIVERGENT})


class Replica(Protocol):
    """Prices at hand."""

    def get(self, asset: str, /) -> price_pb2.Price | None:
        """The newest price of an asset (id, upper case), its state judged now; None where there is none.

        MUST return at once.
        """
        ...


class Deferred(msgspec.Struct, frozen=True):
    """One asset of one line that has to be looked up."""

    query: Query
    asset: str
    bound: int
    """Most bytes that the answer may have."""
    entry: Entry
    """To be closed where it is not settled."""


class Reply(msgspec.Struct, frozen=True):
    """What to do about one datagram."""

    data: bytes = b""
    """To send back now; empty for silence."""
    deferred: tuple[Deferred, ...] = ()
    entries: tuple[Entry, ...] = ()
    """What was counted of the data; `unsent` where the kernel does not take it."""


class _Line(msgspec.Struct, frozen=True, gc=False):
    """One answer, which need not be one line."""

    data: bytes
    entry: Entry
    outcome: usage.Outcome


_SILENCE: Final = Reply()


class Desk:
    """Turns datagrams into answers."""

    def __init__(
        self,
        *,
        replica: Replica,
        assets: Collection[str],
        allowance: Allowance,
        session_allowance: Allowance,
        demo: bool,
        own_ports: Collection[int],
        tally: Tally,
        doors: Doors,
    ) -> None:
        """An endpoint's desk.

        Args:
            replica: prices at hand.
            assets: all ids that can have a price; anything else is UNKNOWN_ASSET without asking anyone.
            allowance: lines without a session that a prefix may send.
            session_allowance: lines with one, good or not: what their MACs may cost us.
            demo: whether lines without a session are given prices.
            own_ports: ports that this endpoint listens on.
            tally: counts what comes and goes.
            doors: let lines in, and count their answers.
        """
        self._replica = replica
        self._assets = frozenset(assets)
        self._allowance = allowance
        self._session_allowance = session_allowance
        self._doors = doors
        self._demo = demo
        self._refused_ports = SOURCE_PORTS_REFUSED | frozenset(own_ports)
        self._tally = tally

    def handle(self, datagram: bytes, host: str, port: int, *, mono_ns: int, unix_ns: int) -> Reply:
        """Answer one datagram from `host` and `port`, or drop it and count why."""
        queries = self._admit(datagram, host, port, mono_ns)
        if isinstance(queries, Drop):
            self._tally.drop(queries)
            return _SILENCE
        lines: list[_Line] = []
        deferred: list[Deferred] = []
        for query in queries:
            caller = self._doors.demo()
            if query.claim is not None:
                proven = self._doors.session(query.claim, mono_ns=mono_ns, unix_ns=unix_ns)
                if isinstance(proven, Drop):
                    self._tally.drop(proven)
                    continue
                caller = proven
            self._answer(query, caller, host, unix_ns // 1_000_000_000, lines, deferred)
        return self._counted(lines, tuple(deferred))

    def settle(self, deferred: Deferred, outcome: Outcome, *, unix_ns: int) -> Reply:
        """The answer to what was looked up."""
        unix_s = unix_ns // 1_000_000_000
        counts = usage.Outcome.FAILED
        if isinstance(outcome, TrinityError):
            fact = ""
            if outcome.reason is Reason.STALE_PRICE:
                fact = _age(self._replica.get(deferred.asset), unix_s)
            line = codec.render_error(deferred.query, outcome.reason, bound=deferred.bound, fact=fact)
            counts = outcome_of_code(outcome.row.code)
        elif outcome.state in _ANSWERED and outcome.price:
            line = codec.render_price(deferred.query, outcome, bound=deferred.bound)
            counts = _TIERS.get(outcome.tier, usage.Outcome.SERVED)
        else:
            line = self._refuse(deferred, outcome, unix_s)
        return self._counted([_Line(line, deferred.entry, counts)])

    def without_lookup(self, deferred: Deferred, *, unix_ns: int) -> Reply:
        """The answer when nobody can be asked: why the replica's own price does not do."""
        line = self._refuse(deferred, self._replica.get(deferred.asset), unix_ns // 1_000_000_000)
        return self._counted([_Line(line, deferred.entry, usage.Outcome.FAILED)])

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

    def _answer(
        self, query: Query, caller: Caller, host: str, unix_s: int, lines: list[_Line], deferred: list[Deferred]
    ) -> None:
        bound = query.size * codec.EARNED_FACTOR
        if query.command is Command.GET and not query.wrong:
            self._answer_get(query, caller, host, bound, lines, deferred)
            return
        entry = self._enter(query, "", caller, host, bound, lines)
        if entry is None:
            return
        outcome = usage.Outcome.SERVED
        if query.wrong:
            line = codec.render_error(query, Reason.INVALID_FIELD, bound=bound, fact=f"field={query.wrong}")
            outcome = usage.Outcome.REFUSED
        elif query.command is Command.PING:
            line = codec.render_pong(query, bound=bound)
        elif query.command is Command.TIME:
            line = codec.render_time(query, unix_s=unix_s, bound=bound)
        else:
            line = codec.render_help(query, bound=bound)
        lines.append(_Line(line, entry, outcome))

    def _answer_get(
        self, query: Query, caller: Caller, host: str, bound: int, lines: list[_Line], deferred: list[Deferred]
    ) -> None:
        if query.claim is None and not self._demo:
            self._tally.drop(Drop.DEMO_OFF)
            return
        if query.claim is None and len(query.assets) > 1:
            self._tally.drop(Drop.SOURCE_UNPROVEN)
            return
        bound //= len(query.assets)
        for asset in query.assets:
            entry = self._enter(query, asset, caller, host, bound, lines)
            if entry is None:
                continue
            price = self._replica.get(asset)
            if price is not None and price.state in _ANSWERED and price.price:
                lines.append(_Line(codec.render_price(query, price, bound=bound), entry, usage.Outcome.LOCAL))
            elif asset not in self._assets:
                line = codec.render_error(query, Reason.UNKNOWN_ASSET, bound=bound)
                lines.append(_Line(line, entry, usage.Outcome.REFUSED))
            else:
                deferred.append(Deferred(query, asset, bound, entry))

    def _enter(
        self, query: Query, asset: str, caller: Caller, host: str, bound: int, lines: list[_Line]
    ) -> Entry | None:
        """Let one question in; None where it is refused, which is an answer too, and counted already."""
        try:
            return caller.enter(query.command.value, asset, host)
        except TrinityError as error:
            fact = "" if error.retry_after_ms is None else f"retry={-(-error.retry_after_ms // 1_000)}"
            line = codec.render_error(query, error.reason, bound=bound, fact=fact)
            lines.append(_Line(line, NOBODY, usage.Outcome.REFUSED))
            return None

    def _refuse(self, deferred: Deferred, price: price_pb2.Price | None, unix_s: int) -> bytes:
        if price is not None and price.state == price_pb2.STATE_STALE:
            fact = _age(price, unix_s)
            return codec.render_error(deferred.query, Reason.STALE_PRICE, bound=deferred.bound, fact=fact)
        return codec.render_error(deferred.query, Reason.NO_PRICE, bound=deferred.bound)

    def _counted(self, lines: list[_Line], deferred: tuple[Deferred, ...] = ()) -> Reply:
        """The reply that holds as many of the answers as fit, each of them counted."""
        for line in lines:
            if not line.data:
                self._tally.drop(Drop.AMPLIFICATION)
                line.entry.close()
        lines = [line for line in lines if line.data]
        data, whole = codec.pack([line.data for line in lines])
        sent: list[_Line] = []
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


def _age(price: price_pb2.Price | None, unix_s: int) -> str:
    return "" if price is None else f"age={max(0, unix_s - price.receive_time.seconds)}"
