"""Datagrams that are pushed to UDP endpoints, and what endpoints send back. Pure.

    push  = head LF *( line LF ) "m=" MAC *( "," MAC )        label "wp"
    reply = head LF "m=" MAC *( "," MAC )                     label "wr"
    head  = "TBW1" word "e=" endpoint "r=" run "n=" number "t=" unix seconds [ other marks ]

    BEAT k=<token>        a heartbeat; to be answered with RENEW and its token
    TICK p=<epoch>        prices, one a line:
                          asset price state sequence skipped receive-time venue-time
    POST i=<webhook-id>   a message, the JSON body that HTTPS has, in one line; to be answered with ACK
    RENEW k=<token>       the flow may go on for 60 s
    ACK i=<webhook-id> [a=<challenge>]

A MAC is the first half of HMAC-SHA256(secret, label | everything before the LF and "m="), one a
secret while a rotation lasts; the secret is the bytes of the `whsec_…` of `v1`. `number` counts the
datagrams of a run, from 1; a run is drawn by chance whenever a sender begins. Times of prices are
unix nanoseconds, "-" for none; the state is a letter as in answers over UDP.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from trinity_core.prices import plain
from trinity_core.webhook_ticks import Item

DATAGRAM_MAX: Final = 1_232
"""Most bytes of a datagram with ticks: what passes everywhere in one piece."""
POST_MAX: Final = 8_192
"""Most bytes of a datagram with a message."""
REPLY_MAX: Final = 512
PUSH_LABEL: Final = b"wp"
REPLY_LABEL: Final = b"wr"
"""Labels keep a push from ever being a reply."""
RENEW_S: Final = 60
"""A flow that is not renewed for so long stops."""

_MAGIC: Final = "TBW1"
_MAC_BYTES: Final = 16
_MACS_MAX: Final = 8
_HEAD_MAX: Final = 256
_HEAD: Final = re.compile(r"TBW1 (BEAT|TICK|POST|RENEW|ACK)((?: [a-z]=[!-~]{1,96}){1,8})")
_NUMBERS: Final = {"n": 1 << 63, "t": 1 << 40, "p": 1 << 64}


@dataclass(frozen=True, slots=True)
class Datagram:
    """A datagram that was read; whether it is genuine is another question."""

    word: str
    marks: Mapping[str, str]
    lines: tuple[bytes, ...] = ()
    signed: bytes = field(default=b"", repr=False)
    macs: tuple[bytes, ...] = field(default=(), repr=False)

    def number(self, mark: str) -> int:
        """A mark that is a number."""
        return int(self.marks[mark])


@dataclass(frozen=True, slots=True)
class Head:
    """What every datagram of a flow begins with."""

    endpoint: str
    run: str
    number: int
    unix_s: int

    def words(self) -> str:
        """As it is written."""
        return f"e={self.endpoint} r={self.run} n={self.number} t={self.unix_s}"


def beat(head: Head, token: str, keys: Sequence[bytes]) -> bytes:
    """A heartbeat."""
    return _sealed(f"{_MAGIC} BEAT {head.words()} k={token}".encode("ascii"), PUSH_LABEL, keys)


def message(head: Head, message_id: str, body: bytes, keys: Sequence[bytes]) -> bytes:
    """A message with its JSON body. Raises ValueError for one that no datagram holds."""
    if b"\n" in body:
        raise ValueError("the body has more than one line")
    signed = f"{_MAGIC} POST {head.words()} i={message_id}\n".encode("ascii") + body
    made = _sealed(signed, PUSH_LABEL, keys)
    if len(made) > POST_MAX:
        raise ValueError(f"the message is longer than a datagram may be, {POST_MAX} bytes")
    return made


def ticks(items: Iterable[Item], heads: Iterator[Head], keys: Sequence[bytes]) -> list[bytes]:
    """Prices in as few datagrams as hold them, in their order; each takes the next head."""
    made: list[bytes] = []
    lines: list[bytes] = []
    room, epoch = 0, -1

    def end() -> None:
        if lines:
            signed = f"{_MAGIC} TICK {next(heads).words()} p={epoch}\n".encode("ascii") + b"\n".join(lines)
            made.append(_sealed(signed, PUSH_LABEL, keys))

    # Room for the head is kept for the longest there is.
    most = DATAGRAM_MAX - _HEAD_MAX - len(keys) * (2 * _MAC_BYTES + 1)
    for item in items:
        line = _tick_line(item)
        if item.change.epoch != epoch or len(line) + 1 > room:
            end()
            lines, room, epoch = [], most, item.change.epoch
        lines.append(line)
        room -= len(line) + 1
    end()
    return made


def renewal(push: Datagram, unix_s: int, keys: Sequence[bytes]) -> bytes:
    """The answer to a heartbeat."""
    return _reply("RENEW", push, unix_s, f"k={push.marks['k']}", keys)


def receipt(push: Datagram, unix_s: int, keys: Sequence[bytes], *, challenge: str = "") -> bytes:
    """The answer to a message; `challenge` where the message is one."""
    more = f"i={push.marks['i']}" + (f" a={challenge}" if challenge else "")
    return _reply("ACK", push, unix_s, more, keys)


def read(data: bytes) -> Datagram | None:
    """A datagram of this protocol; None for anything else."""
    if len(data) > POST_MAX or not data.startswith(b"TBW1 "):
        return None
    signed, found, tail = data.rpartition(b"\nm=")
    head, *lines = signed.split(b"\n")
    if not found or len(head) > _HEAD_MAX:
        return None
    try:
        macs = tuple(bytes.fromhex(text) for text in tail.decode("ascii").split(",", _MACS_MAX))
        match = _HEAD.fullmatch(head.decode("ascii"))
    except ValueError:
        return None
    if match is None or len(macs) > _MACS_MAX or any(len(mac) != _MAC_BYTES for mac in macs):
        return None
    pairs = [text.split("=", 1) for text in match[2].split()]
    marks = {pair[0]: pair[1] for pair in pairs}
    if len(marks) != len(pairs) or not _is_whole(match[1], marks, lines):
        return None
    return Datagram(match[1], marks, tuple(lines), signed, macs)


def is_genuine(datagram: Datagram, label: bytes, keys: Iterable[bytes]) -> bool:
    """Whether one of its MACs is by one of the keys."""
    expected = [_mac(key, label, datagram.signed) for key in keys]
    # No shortcut: how many are right is told by nothing but the result.
    return sum(hmac.compare_digest(one, mac) for one in expected for mac in datagram.macs) > 0


_NEEDED: Final = {"BEAT": "erntk", "TICK": "erntp", "POST": "ernti", "RENEW": "erntk", "ACK": "ernti"}


def _is_whole(word: str, marks: Mapping[str, str], lines: Sequence[bytes]) -> bool:
    """Whether the marks and lines are those of the word."""
    if any(mark not in marks for mark in _NEEDED[word]):
        return False
    for mark, end in _NUMBERS.items():
        text = marks.get(mark, "0")
        if not text.isdecimal() or len(text) > 20 or int(text) >= end:
            return False
    wanted = {"TICK": len(lines) >= 1, "POST": len(lines) == 1}
    return wanted.get(word, not lines)


def _tick_line(item: Item) -> bytes:
    change = item.change
    venue = "-" if change.venue_time_ns is None else change.venue_time_ns
    text = (
        f"{change.asset} {plain(change.price)} {change.state.letter} {change.sequence} {item.skipped}"
        f" {change.receive_time_ns} {venue}"
    )
    return text.encode("ascii")


def _reply(word: str, push: Datagram, unix_s: int, more: str, keys: Sequence[bytes]) -> bytes:
    head = Head(push.marks["e"], push.marks["r"], push.number("n"), unix_s)
    return _sealed(f"{_MAGIC} {word} {head.words()} {more}".encode("ascii"), REPLY_LABEL, keys)


def _sealed(signed: bytes, label: bytes, keys: Sequence[bytes]) -> bytes:
    if not 1 <= len(keys) <= _MACS_MAX:
        raise ValueError(f"a datagram is sealed with 1 to {_MACS_MAX} keys")
    return signed + b"\nm=" + b",".join(_mac(key, label, signed).hex().encode("ascii") for key in keys)


def _mac(key: bytes, label: bytes, signed: bytes) -> bytes:
    return hmac.digest(key, label + signed, "sha256")[:_MAC_BYTES]
