"""The order of checks, cheap ones first, from a datagram to its answer. No socket, no clock, no await.

size · version · answer? · source port · bucket of the prefix · grammar · [time · seal · MAC ·
window: with sessions] · allowance of the lines · answer from the replica. What the replica
lacks is handed back as `Deferred` and settled later by the same words.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Protocol

import msgspec

from trinity.price.v1 import price_pb2
from trinity_core.errors import Reason, TrinityError
from trinity_udp import codec
from trinity_udp.allowance import Allowance, prefix_of
from trinity_udp.codec import Command, Kind, Query
from trinity_udp.drops import Drop, Tally
from trinity_udp.lookups import Outcome

SOURCE_PORTS_REFUSED: Final = frozenset({0, 7, 19, 53, 123})
"""None, echo, chargen, DNS and NTP: ports that answer, or that nobody asks from."""

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


class Reply(msgspec.Struct, frozen=True):
    """What to do about one datagram."""

    data: bytes = b""
    """To send back now; empty for silence."""
    deferred: tuple[Deferred, ...] = ()


_SILENCE: Final = Reply()


class Desk:
    """Turns datagrams into answers."""

    def __init__(
        self,
        *,
        replica: Replica,
        assets: Collection[str],
        allowance: Allowance,
        demo: bool,
        own_ports: Collection[int],
        tally: Tally,
    ) -> None:
        """`assets` are all ids that can have a price; anything else is UNKNOWN_ASSET without asking anyone."""
        self._replica = replica
        self._assets = frozenset(assets)
        self._allowance = allowance
        self._demo = demo
        self._refused_ports = SOURCE_PORTS_REFUSED | frozenset(own_ports)
        self._tally = tally

    def handle(self, datagram: bytes, host: str, port: int, *, mono_ns: int, unix_ns: int) -> Reply:
        """Answer one datagram from `host` and `port`, or drop it and count why."""
        queries = self._admit(datagram, host, port, mono_ns)
        if isinstance(queries, Drop):
            self._tally.drop(queries)
            return _SILENCE
        lines: list[bytes] = []
        deferred: list[Deferred] = []
        for query in queries:
            self._answer(query, unix_ns // 1_000_000_000, lines, deferred)
        return Reply(codec.pack(lines), tuple(deferred))

    def settle(self, deferred: Deferred, outcome: Outcome, *, unix_ns: int) -> bytes:
        """The answer to what was looked up; empty for silence, which is counted."""
        unix_s = unix_ns // 1_000_000_000
        if isinstance(outcome, TrinityError):
            fact = ""
            if outcome.reason is Reason.STALE_PRICE:
                fact = _age(self._replica.get(deferred.asset), unix_s)
            line = codec.render_error(deferred.query, outcome.reason, bound=deferred.bound, fact=fact)
        elif outcome.state in _ANSWERED and outcome.price:
            line = codec.render_price(deferred.query, outcome, bound=deferred.bound)
        else:
            line = self._refuse(deferred, outcome, unix_s)
        return self._counted(line)

    def without_lookup(self, deferred: Deferred, *, unix_ns: int) -> bytes:
        """The answer when nobody can be asked: why the replica's own price does not do."""
        return self._counted(self._refuse(deferred, self._replica.get(deferred.asset), unix_ns // 1_000_000_000))

    def _admit(self, datagram: bytes, host: str, port: int, mono_ns: int) -> tuple[Query, ...] | Drop:
        kind = codec.classify(datagram)
        if isinstance(kind, Drop):
            return kind
        if port in self._refused_ports:
            return Drop.SOURCE_PORT
        prefix = prefix_of(host)
        if not self._allowance.take(prefix, now_ns=mono_ns):
            return Drop.RATE_LIMITED
        if kind is Kind.BINARY_V1:
            return Drop.BINARY_UNSUPPORTED
        queries = codec.parse_text(datagram)
        if isinstance(queries, Drop):
            return queries
        more = len(queries) - 1
        if more and not self._allowance.take(prefix, now_ns=mono_ns, count=more):
            return Drop.RATE_LIMITED
        return queries

    def _answer(self, query: Query, unix_s: int, lines: list[bytes], deferred: list[Deferred]) -> None:
        bound = query.size * codec.EARNED_FACTOR
        if query.wrong:
            line = codec.render_error(query, Reason.INVALID_FIELD, bound=bound, fact=f"field={query.wrong}")
        elif query.command is Command.GET:
            self._answer_get(query, bound, lines, deferred)
            return
        elif query.command is Command.PING:
            line = codec.render_pong(query, bound=bound)
        elif query.command is Command.TIME:
            line = codec.render_time(query, unix_s=unix_s, bound=bound)
        else:
            line = codec.render_help(query, bound=bound)
        lines.append(self._counted(line))

    def _answer_get(self, query: Query, bound: int, lines: list[bytes], deferred: list[Deferred]) -> None:
        if not self._demo:
            self._tally.drop(Drop.DEMO_OFF)
            return
        if len(query.assets) > 1:
            self._tally.drop(Drop.SOURCE_UNPROVEN)
            return
        asset = query.assets[0]
        price = self._replica.get(asset)
        if price is not None and price.state in _ANSWERED and price.price:
            lines.append(self._counted(codec.render_price(query, price, bound=bound)))
        elif asset not in self._assets:
            lines.append(self._counted(codec.render_error(query, Reason.UNKNOWN_ASSET, bound=bound)))
        else:
            deferred.append(Deferred(query, asset, bound))

    def _refuse(self, deferred: Deferred, price: price_pb2.Price | None, unix_s: int) -> bytes:
        if price is not None and price.state == price_pb2.STATE_STALE:
            fact = _age(price, unix_s)
            return codec.render_error(deferred.query, Reason.STALE_PRICE, bound=deferred.bound, fact=fact)
        return codec.render_error(deferred.query, Reason.NO_PRICE, bound=deferred.bound)

    def _counted(self, line: bytes) -> bytes:
        if not line:
            self._tally.drop(Drop.AMPLIFICATION)
        return line


def _age(price: price_pb2.Price | None, unix_s: int) -> str:
    return "" if price is None else f"age={max(0, unix_s - price.receive_time.seconds)}"
