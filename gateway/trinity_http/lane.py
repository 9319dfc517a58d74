"""The fast lane: plain questions for a price, answered from bytes that were rendered once, past parser and bridge.

    lane = Lane(answers=…, replica=…, admission=…, client_address=…, scopes=("prices.read",), clock=clock)
    plan = lane.plan(data, peer)                 # once for each request that comes in these very bytes
    answer = lane.answer(plan, first)             # for each time that it comes; None: the long way must be gone

Nothing is left out on it: the key is known and good now, its rate and quota allow the answer, and the
answer is counted in the ledger before it leaves. What is not plainly good falls through, untouched and
uncounted, and the long way says why. A client cannot tell the two apart.

A plan is found by the request's bytes. They hold the caller's key; a look-up in a table compares them only
where their whole keyed 64-bit hashes are equal, so its time tells nothing about a key. The
key itself was compared, in constant time, when the plan was made.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from trinity.price.v1 import price_pb2
from trinity_admission.admission import Admission
from trinity_admission.client_address import ClientAddress
from trinity_admission.fast_pass import FastPass
from trinity_core.errors import TrinityError
from trinity_core.usage import Transport
from trinity_http.answer import Answer, Rendered
from trinity_http.conditional import same_version, without_body
from trinity_http.lane_request import plain_request
from trinity_http.prices import KeptPrice, PriceAnswers
from trinity_mesh.clock import Clock
from trinity_mesh.telemetry import switch, tracing
from trinity_mesh.telemetry.metrics import LATENCY_BOUNDS, Histogram

PLANS_MAX: Final = 16_384
"""Plans kept; when there are more, all are forgotten and made again."""

LOOKED_AT: Final = 64
"""One of so many answers is timed: a power of two."""

METHOD: Final = "GetPrice"


class LaneReplica(Protocol):
    """The newest price of each asset."""

    def at(self, asset: str, now_ns: int, /) -> price_pb2.Price | None:
        """The price of an asset id in upper case, its state judged at that monotonic time. MUST NOT wait."""
        ...


@dataclass(slots=True)
class Plan:
    """What is to be done whenever a request comes in certain bytes from a certain peer."""

    fast: FastPass
    asset: str
    if_none_match: bytes | None
    request_id: bytes | None


@dataclass(slots=True)
class _Lines:
    """One rendered price as HTTP/1.1 has it, before and after what differs from answer to answer."""

    kept: KeptPrice
    lasting: tuple[bytes, bytes]
    fleeting: tuple[bytes, bytes]
    lasting_unmodified: tuple[bytes, bytes]
    fleeting_unmodified: tuple[bytes, bytes]
    etag: bytes


class Lane:
    """The fast lane of one process."""

    def __init__(
        self,
        *,
        answers: PriceAnswers,
        replica: LaneReplica,
        admission: Admission,
        client_address: ClientAddress,
        scopes: tuple[str, ...],
        clock: Clock,
    ) -> None:
        """The lane of a port that serves prices.

        Args:
            answers: renders prices; the bridge's own, so that both show the same bytes.
            replica: what they are rendered from.
            admission: judges keys and counts; this process's.
            client_address: tells a client's address behind proxies, as the bridge does.
            scopes: what GetPrice asks of a key.
            clock: the machine's.
        """
        self._answers = answers
        self._at = replica.at
        self._admission = admission
        self._client_address = client_address
        self._scopes = scopes
        self._unix_ns = clock.unix_ns
        self._ids = _ids()
        self._plans: dict[tuple[str, bytes], Plan] = {}
        self._passes: dict[tuple[str, str], FastPass] = {}
        self._lines: dict[str, _Lines] = {}
        self.answered = 0
        """Answers given here."""
        self.look = LOOKED_AT - 1 if switch.counting else -1
        """An answer is timed when its number and this have no bit in common: one in LOOKED_AT, or none."""
        self.durations = Histogram(LATENCY_BOUNDS)
        """Seconds that answers took, of one in LOOKED_AT."""

    def plan(self, data: bytes, peer: str) -> Plan | None:
        """What to do about a request in these bytes from `peer`; None where it is not plain, or its key not good."""
        plan = self._plans.get((peer, data))
        if plan is not None and not plan.fast.over:
            return plan
        plan = self._make(data, peer)
        if plan is not None:
            if len(self._plans) >= PLANS_MAX:
                self._plans.clear()
            self._plans[peer, data] = plan
        return plan

    def answer(self, plan: Plan, first: tuple[bytes, bytes], now_ns: int) -> bytes | None:
        """The answer, counted: it must be handed to the kernel next. None where the long way must be gone.

        Args:
            plan: of these bytes.
            first: what the answer begins with, where it has a body and where it has none: status
                line and the server's own headers.
            now_ns: monotonic time, just read.
        """
        asset = plan.asset
        price = self._at(asset, now_ns)
        if price is None:
            return None
        lines = self._lines.get(asset)
        if lines is None or lines.kept.message is not price:
            lines = self._render(asset, price)
            if lines is None:
                return None
        lasting = self._unix_ns() <= lines.kept.lasting_until_ns
        if plan.if_none_match is not None and same_version(plan.if_none_match, lines.etag):
            before, after = lines.lasting_unmodified if lasting else lines.fleeting_unmodified
            start = first[1]
        else:
            before, after = lines.lasting if lasting else lines.fleeting
            start = first[0]
        fields = plan.fast.answer_at(asset, now_ns)
        if fields is None:
            return None
        self.answered += 1
        request_id = plan.request_id or next(self._ids)
        return b"".join((start, before, fields, b"x-request-id: ", request_id, after))

    def _make(self, data: bytes, peer: str) -> Plan | None:
        request = plain_request(data)
        if request is None or (tracing.on and b"traceparent:" in data.lower()):
            return None
        address = self._client_address(peer, request.headers)
        found = self._passes.get((request.key, address))
        if found is None or found.over:
            try:
                held = self._admission.find(request.key)
            except TrinityError:
                return None
            found = self._admission.fast_pass(
                held, transport=Transport.HTTP, method=METHOD, scopes=self._scopes, address=address
            )
            if found is None:
                return None
            if len(self._passes) >= PLANS_MAX:
                self._passes.clear()
            self._passes[request.key, address] = found
        return Plan(found, request.asset, request.if_none_match, request.request_id)

    def _render(self, asset: str, price: price_pb2.Price) -> _Lines | None:
        kept = self._answers.kept(asset, price)
        if kept is None:
            return None
        lines = self._lines.get(asset)
        if lines is not None and lines.kept is kept:
            return lines
        made = _Lines(
            kept,
            _lines(kept.lasting.answer),
            _lines(kept.fleeting.answer),
            _lines(without_body(kept.lasting.answer)),
            _lines(without_body(kept.fleeting.answer)),
            _etag(kept.lasting),
        )
        # Assets come from the price service's book; a plan exists only for a price that was there.
        self._lines[asset] = made
        return made


def _ids() -> Iterator[bytes]:
    """Ids of requests, 32 hexadecimal digits: 24 random ones, new for every 4,096 ids, and 8 that count on."""
    while True:
        start = int.from_bytes(os.urandom(3), "big")
        form = b"%b%%08x" % os.urandom(12).hex().encode("ascii")
        for number in range(start, start + _IDS):
            yield form % number


def _lines(answer: Answer) -> tuple[bytes, bytes]:
    """Header lines of an answer before the key's limits and the request's id, and everything after them."""
    before = b"".join(b"%b: %b\r\n" % header for header in answer.headers)
    if answer.status == _NOT_MODIFIED:
        return before, b"\r\n" + _NO_SNIFF + b"\r\n"
    return before, b"\r\n%bcontent-length: %d\r\n\r\n%b" % (_NO_SNIFF, len(answer.body), answer.body)


def _etag(rendered: Rendered) -> bytes:
    return next(value for name, value in rendered.answer.headers if name == b"etag")


_IDS: Final = 4_096
_NOT_MODIFIED: Final = 304
_NO_SNIFF: Final = b"x-content-type-options: nosniff\r\n"
