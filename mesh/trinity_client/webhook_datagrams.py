"""The receiver's half of webhooks over UDP: checks datagrams, finds gaps, and says what to send back. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import msgspec

from trinity_core.errors import Reason, TrinityError
from trinity_core.prices import State
from trinity_core.webhook_datagram import PUSH_LABEL, Datagram, is_genuine, read, receipt, renewal
from trinity_core.webhook_payload import CHALLENGE
from trinity_core.webhook_secrets import SECRET_PREFIX
from trinity_core.webhook_signing import TOLERANCE_S

_LETTERS: Final = {state.letter: state for state in State}


@dataclass(frozen=True, slots=True)
class PushedPrice:
    """One price of a datagram. Times are unix nanoseconds."""

    asset: str
    price: Decimal
    state: State
    sequence: int
    epoch: int
    skipped: int
    """Earlier changes that were folded into it."""
    receive_time_ns: int
    venue_time_ns: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """A genuine datagram."""

    endpoint: str
    number: int
    missed: int = 0
    """Datagrams of this run between this one and the newest before it: lost, or still on their way."""
    prices: tuple[PushedPrice, ...] = ()
    message: str = ""
    """`webhook-id` of a message; an id that was seen before is the same message again."""
    body: Any = None
    """Its JSON body, read."""
    reply: bytes = field(default=b"", repr=False)
    """What to send back to where the datagram came from; empty for nothing."""


class DatagramReceiver:
    """Takes the datagrams of one endpoint. One that is not genuine, late or a repetition raises TrinityError."""

    def __init__(self, keys: Iterable[str], *, tolerance_s: int = TOLERANCE_S) -> None:
        """`keys` are the endpoint's `whsec_…`, newest first; several while a rotation lasts. Raises ValueError."""
        self._keys = [_secret(text) for text in keys]
        if not self._keys:
            raise ValueError("a receiver needs at least one key")
        self._tolerance_s = tolerance_s
        self._run = ""
        self._begun_s = 0
        self._newest = 0

    def receive(self, data: bytes, *, now_s: int) -> Push:
        """What a datagram says, and what to send back. Raises TrinityError INVALID_SIGNATURE, saying why."""
        datagram = read(data)
        if datagram is None or datagram.word not in ("BEAT", "TICK", "POST"):
            raise _invalid("it is no push of this protocol")
        if not is_genuine(datagram, PUSH_LABEL, self._keys):
            raise _invalid("no MAC is one of the keys'")
        sent_s = datagram.number("t")
        if abs(sent_s - now_s) > self._tolerance_s:
            raise _invalid(f"its time is further than {self._tolerance_s} s from now")
        push = self._read(datagram, now_s)
        return replace(push, missed=self._order(datagram, sent_s))

    def _order(self, datagram: Datagram, sent_s: int) -> int:
        """How many are missing before it. Raises INVALID_SIGNATURE for prices that are older than what was seen."""
        run, number = datagram.marks["r"], datagram.number("n")
        if run != self._run:
            if sent_s < self._begun_s:
                raise _invalid("it is of a run that is over")
            self._run, self._begun_s, self._newest = run, sent_s, number - 1
        if number <= self._newest:
            if datagram.word == "POST":
                return 0  # sent again until it is confirmed
            raise _invalid("it was overtaken, or is a repetition")
        missed = number - self._newest - 1
        self._newest = number
        self._begun_s = max(self._begun_s, sent_s)
        return missed

    def _read(self, datagram: Datagram, now_s: int) -> Push:
        endpoint, number = datagram.marks["e"], datagram.number("n")
        if datagram.word == "BEAT":
            return Push(endpoint=endpoint, number=number, reply=renewal(datagram, now_s, self._keys))
        if datagram.word == "TICK":
            epoch = datagram.number("p")
            return Push(endpoint=endpoint, number=number, prices=tuple(_price(line, epoch) for line in datagram.lines))
        try:
            body = msgspec.json.decode(datagram.lines[0])
        except msgspec.DecodeError:
            raise _invalid("its body is not JSON") from None
        return Push(
            endpoint=endpoint,
            number=number,
            message=datagram.marks["i"],
            body=body,
            reply=receipt(datagram, now_s, self._keys, challenge=_challenge(body)),
        )


def _price(line: bytes, epoch: int) -> PushedPrice:
    try:
        asset, price, letter, sequence, skipped, received, venue = line.decode("ascii").split(" ")
        return PushedPrice(
            asset,
            Decimal(price),
            _LETTERS[letter],
            int(sequence),
            epoch,
            int(skipped),
            int(received),
            None if venue == "-" else int(venue),
        )
    except (ValueError, KeyError, InvalidOperation):
        raise _invalid("a line is no price") from None


def _challenge(body: Any) -> str:
    """The challenge in the body of one; empty in others."""
    match body:
        case {"type": kind, "data": {"challenge": str(text)}} if kind == CHALLENGE:
            return text
    return ""


def _secret(text: str) -> bytes:
    if not text.startswith(SECRET_PREFIX):
        raise ValueError(f"a key of datagrams must begin with {SECRET_PREFIX}")
    try:
        return base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"what follows {SECRET_PREFIX} is not base64") from None


def _invalid(why: str) -> TrinityError:
    return TrinityError(Reason.INVALID_SIGNATURE, f"the datagram is not taken: {why}")
