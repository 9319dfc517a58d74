"""Runs: plain questions of one address that came in one batch are answered together.

What is judged of the sender, the session, the key and the price is judged once for the whole run, what is judged
of a datagram once for each: same checks, same order, same counts as of one at a time. A run goes
this way only while every check is passed by all of it (a number that came before is the one
exception, and is dropped alone); otherwise nothing is taken or counted, and each of its datagrams
goes its own way.
"""

from __future__ import annotations

import hmac
import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from trinity_admission.udp_sessions import TIME_S
from trinity_core.udp_frame import HEAD_BYTES, MAC
from trinity_core.udp_mac import MAC_BYTES
from trinity_udp.codec import DATAGRAM_BYTES_MAX, EARNED_FACTOR
from trinity_udp.doors import Caller, ShortDoors
from trinity_udp.drops import Drop
from trinity_udp.quick import HEAD, PLAIN, REPLY, Quick, Shown
from trinity_udp.reply import Reply

if TYPE_CHECKING:
    from trinity_admission.fast_pass import UnkeyedPass
    from trinity_admission.ledger import Slot

Line = tuple[bytes, bytes, bytes]
"""Asset, quote and id of a line; empty for the two that it lacks."""

_LINES: Final = re.compile(rb"\0%b(?=\0)" % PLAIN).findall


def read_plain(datagrams: Sequence[bytes]) -> list[Line] | None:
    """The plain lines without a session that the datagrams are; None where one is something else.

    Read in one go: each between two zero bytes, of which a plain line has none itself.
    """
    joined = b"\0%b\0" % b"\0".join(datagrams)
    if joined.count(b"\0") != len(datagrams) + 1:
        return None
    lines: list[Line] = _LINES(joined)
    return lines if len(lines) == len(datagrams) else None


class Runs:
    """Answers runs with what the short way of their port knows. For one event loop."""

    def __init__(self, quick: Quick, *, doors: ShortDoors) -> None:
        """`quick` is the short way, `doors` are its doors."""
        self._quick = quick
        self._doors = doors

    def plain(
        self, datagrams: Sequence[bytes], lines: Sequence[Line], mono_ns: int, unix_ns: int
    ) -> list[Reply] | None:
        """The answers to lines without a session; None where they must go one at a time."""
        way = self._doors.demo() if self._quick.demo else None
        if way is None:
            return None
        asked = Counter([name for name, _, _ in lines])
        shown: dict[bytes, Shown] = {}
        for name in asked:
            found = self._quick.look(name.decode(), mono_ns)
            if found is None:
                return None
            shown[name] = found
        fitted: list[tuple[bytes, int, bytes]] = []
        for datagram, (name, quoted, mark) in zip(datagrams, lines, strict=True):
            limit = len(datagram) * EARNED_FACTOR
            reply = shown[name].line(mark, limit, quoted=bool(quoted))
            if reply is None:
                return None
            fitted.append((reply, limit, name))
        slots = self._counted(way, asked, unix_ns)
        if slots is None:
            return None
        return [Reply(reply, limit, (), (), slots[name]) for reply, limit, name in fitted]

    def _counted(self, way: UnkeyedPass, asked: Counter[bytes], unix_ns: int) -> dict[bytes, tuple[Slot, ...]] | None:
        """Where the answers were counted, by asset; None where they could not be, and then none was."""
        slots: dict[bytes, tuple[Slot, ...]] = {}
        for name, n in asked.items():
            found = way.answer_at(name.decode(), unix_ns, n)
            if found is None:
                for done, taken in slots.items():
                    self._doors.give_back(taken * asked[done])
                return None
            slots[name] = found
        return slots

    def binary(
        self, datagrams: Sequence[bytes], source: bytes, mono_ns: int, unix_ns: int
    ) -> list[Reply | Caller | Drop] | None:
        """The answers to binary queries of one session about the same assets.

        None where they must go one at a time; a Caller where a datagram's proof is done and its answer is not.
        """
        quick = self._quick
        size = len(first := datagrams[0])
        if size < HEAD_BYTES + MAC_BYTES or [*map(len, datagrams)].count(size) != len(datagrams):
            return None
        payload = first[HEAD_BYTES:-MAC_BYTES]
        heads = [HEAD.unpack_from(datagram) for datagram in datagrams]
        _, flags, length, session_id, _, _ = heads[0]
        if flags != MAC or HEAD_BYTES + length + MAC_BYTES != size:
            return None
        session, assets = self._doors.known(session_id), quick.assets_of(payload)
        if session is None or assets is None:
            return None
        now_s = quick.turn(unix_ns)
        if session.expire_s <= now_s:
            return None
        earliest, latest, alike = now_s - TIME_S, now_s + TIME_S, first[:4]
        for datagram, (_, _, _, other, unix_s, _) in zip(datagrams, heads, strict=True):
            if other != session_id or not earliest <= unix_s <= latest or not datagram.startswith(alike):
                return None
        answered = quick.payload_of(assets, mono_ns)
        if answered is None:
            return None
        limit, whole = size * EARNED_FACTOR, HEAD_BYTES + len(answered) + MAC_BYTES
        if whole > limit or whole > DATAGRAM_BYTES_MAX:
            return None
        signed = [datagram[:-MAC_BYTES] for datagram in datagrams]
        given = [datagram[-MAC_BYTES:] for datagram in datagrams]
        if b"".join([each[HEAD_BYTES:] for each in signed]) != payload * len(signed):
            return None
        macs = session.macs
        if not hmac.compare_digest(b"".join(macs.queries(signed)), b"".join(given)):
            return None
        way = quick.way_of(session, source)
        if way is None or not way.good(mono_ns, unix_ns):
            return None
        firsts = session.window.take_each([head[5] for head in heads])
        n = sum(firsts)
        if n:
            session.used_ns = mono_ns
        slots = way.answers_at(assets, mono_ns, unix_ns, n) if n else ()
        if slots is None:
            return [
                self._doors.again(session_id, mono_ns=mono_ns, unix_ns=unix_ns) if new else Drop.SESSION_REPLAY
                for new in firsts
            ]
        start, unix = REPLY + len(answered).to_bytes(2, "big"), quick.unix
        replies = macs.replies(
            given, [b"%b%b%b%b%b" % (start, each[4:20], unix, each[24:28], answered) for each in signed]
        )
        return [
            Reply(reply, limit, (), (), slots) if new else Drop.SESSION_REPLAY
            for reply, new in zip(replies, firsts, strict=True)
        ]
