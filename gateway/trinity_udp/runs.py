"""Runs: plain questions of one address that came in one batch are answered together.

What is judged of the sender, the session, the key and the price is judged once for the whole run, what is judged
of a datagram once for each: same checks, same order, same counts as of one at a time. A forged datagram, or one
that came before, is dropped alone. Every other check is passed by all of a run, or nothing
of it is taken or counted, and each of its datagrams goes its own way.
"""

from __future__ import annotations

import hmac
import re
import struct
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from trinity_admission.udp_sessions import TIME_S
from trinity_core.udp_frame import HEAD_BYTES, SIGNED_QUERY, SIGNED_REPLY
from trinity_core.udp_mac import MAC_BYTES
from trinity_udp.codec import DATAGRAM_BYTES_MAX, EARNED_FACTOR
from trinity_udp.doors import Caller, ShortDoors
from trinity_udp.drops import Drop
from trinity_udp.quick import MARK_BYTES_MAX, PLAIN, Quick, Shown
from trinity_udp.reply import Reply

if TYPE_CHECKING:
    from trinity_admission.fast_pass import UnkeyedPass
    from trinity_admission.ledger import Slot

Line = tuple[bytes, bytes, bytes]
"""Asset, quote and id of a line; empty for the two that it lacks."""

_MARKED_BYTES_MAX: Final = len(b"OK ") + MARK_BYTES_MAX
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
        texts = _fitted(datagrams, lines, shown)
        slots = None if texts is None else self._counted(way, asked, unix_ns)
        if texts is None or slots is None:
            return None
        return [
            Reply(text, len(datagram) * EARNED_FACTOR, (), (), slots[line[0]])
            for text, datagram, line in zip(texts, datagrams, lines, strict=True)
        ]

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
        self,
        datagrams: Sequence[bytes],
        source: bytes,
        mono_ns: int,
        unix_ns: int,
        otherwise: Callable[[bytes, Caller | Drop], Reply],
    ) -> list[Reply] | None:
        """The answers to binary queries of one session about the same assets.

        None where they must go one at a time. `otherwise` gives the fate of a datagram that is dropped, or whose
        proof is done and whose answer could not be given here.
        """
        queries = _read_binary(datagrams)
        if queries is None:
            return None
        quick, session = self._quick, self._doors.known(queries.session)
        assets, now_s = quick.assets_of(queries.payload), quick.turn(unix_ns)
        if session is None or assets is None or session.expire_s <= now_s:
            return None
        if queries.earliest_s < now_s - TIME_S or queries.latest_s > now_s + TIME_S:
            return None
        answered, limit = quick.payload_of(assets, mono_ns), len(datagrams[0]) * EARNED_FACTOR
        if answered is None or HEAD_BYTES + len(answered) + MAC_BYTES > min(limit, DATAGRAM_BYTES_MAX):
            return None
        drops = _forged(session.macs.queries([datagram[:-MAC_BYTES] for datagram in datagrams]), queries.macs)
        way = quick.way_of(session, source)
        if way is None or not way.good(mono_ns, unix_ns):
            return None
        sound = [number for number, drop in zip(queries.numbers, drops, strict=True) if drop is None]
        firsts = session.window.take_each(struct.unpack(f">{len(sound)}I", b"".join(sound)))
        new = firsts.count(True)
        if new < len(datagrams):
            first = iter(firsts)
            drops = [drop or (None if next(first) else Drop.SESSION_REPLAY) for drop in drops]
        if new:
            session.used_ns = mono_ns
        slots = way.answers_at(assets, mono_ns, unix_ns, new) if new else ()
        if slots is None:
            return [
                otherwise(datagram, drop or self._doors.again(queries.session, mono_ns=mono_ns, unix_ns=unix_ns))
                for datagram, drop in zip(datagrams, drops, strict=True)
            ]
        replies = [
            Reply(reply, limit, (), (), slots)
            for reply in session.macs.replies(queries.macs, _bodies(queries, quick.unix, answered))
        ]
        if new < len(datagrams):
            replies = [
                otherwise(datagram, drop) if drop else reply
                for reply, drop, datagram in zip(replies, drops, datagrams, strict=True)
            ]
        return replies


class _Queries(NamedTuple):
    """Binary queries of one session with one payload, field by field; numbers as they come, in network order."""

    session: int
    earliest_s: int
    latest_s: int
    payload: bytes
    ids: Sequence[bytes]
    numbers: Sequence[bytes]
    macs: Sequence[bytes]


def _read_binary(datagrams: Sequence[bytes]) -> _Queries | None:
    """What the datagrams are, if they differ in nothing but id, time, number and MAC; in one pass over all of them."""
    count, size = len(datagrams), len(datagrams[0])
    room = size - HEAD_BYTES - MAC_BYTES
    if room < 0 or size > DATAGRAM_BYTES_MAX or [*map(len, datagrams)].count(size) != count:
        return None
    fields = zip(*struct.iter_unpack(f"4s8s8s4s4s{room}s16s", b"".join(datagrams)), strict=True)
    starts, ids, sessions, times, numbers, payloads, macs = fields
    if starts.count(SIGNED_QUERY + room.to_bytes(2, "big")) != count or sessions.count(sessions[0]) != count:
        return None
    if payloads.count(payloads[0]) != count:
        return None
    earliest, latest = int.from_bytes(min(times), "big"), int.from_bytes(max(times), "big")
    return _Queries(int.from_bytes(sessions[0], "big"), earliest, latest, payloads[0], ids, numbers, macs)


def _forged(expected: Sequence[bytes], given: Sequence[bytes]) -> list[Drop | None]:
    """Why each is dropped whose MAC is not as expected; at first all are looked at as one, for nearly all are good."""
    if hmac.compare_digest(b"".join(expected), b"".join(given)):
        return [None] * len(given)
    return [None if hmac.compare_digest(*pair) else Drop.SESSION_MAC for pair in zip(expected, given, strict=True)]


def _bodies(queries: _Queries, unix: bytes, answered: bytes) -> list[bytes]:
    """The reply to each query, up to its MAC: all put down in one go, then cut."""
    count, session = len(queries.ids), queries.session.to_bytes(8, "big")
    parts = [b""] * (4 * count)
    parts[0::4], parts[2::4] = queries.ids, queries.numbers
    parts[1::4], parts[3::4] = [session + unix] * count, [answered] * count
    start = SIGNED_REPLY + len(answered).to_bytes(2, "big")
    size = HEAD_BYTES - len(start) + len(answered)
    return [start + body for (body,) in struct.iter_unpack(f"{size}s", b"".join(parts))]


def _fitted(datagrams: Sequence[bytes], lines: Sequence[Line], shown: Mapping[bytes, Shown]) -> list[bytes] | None:
    """The answer to each line within what its datagram has earned; None where one has not earned any."""
    least = min(map(len, datagrams)) * EARNED_FACTOR
    if max([len(each.words) for each in shown.values()]) + _MARKED_BYTES_MAX <= least:
        # The common case: every full line fits.
        return [b"OK %b%b" % (mark or b"-", shown[name].words) for name, _, mark in lines]
    texts: list[bytes] = []
    for datagram, (name, quoted, mark) in zip(datagrams, lines, strict=True):
        text = shown[name].line(mark, len(datagram) * EARNED_FACTOR, quoted=bool(quoted))
        if text is None:
            return None
        texts.append(text)
    return texts
