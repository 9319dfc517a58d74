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
import struct
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from trinity_admission.udp_sessions import TIME_S
from trinity_core.udp_frame import HEAD_BYTES, MAC, VERSION
from trinity_core.udp_mac import MAC_BYTES
from trinity_udp.codec import DATAGRAM_BYTES_MAX, EARNED_FACTOR
from trinity_udp.doors import Caller, ShortDoors
from trinity_udp.drops import Drop
from trinity_udp.quick import MARK_BYTES_MAX, PLAIN, REPLY, Quick, Shown
from trinity_udp.reply import Reply

if TYPE_CHECKING:
    from trinity_admission.fast_pass import UnkeyedPass
    from trinity_admission.ledger import Slot

Line = tuple[bytes, bytes, bytes]
"""Asset, quote and id of a line; empty for the two that it lacks."""

_SIGNED: Final = bytes((VERSION, MAC))
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

        None where they must go one at a time. `otherwise` gives the fate of a datagram that came before, or whose
        proof is done and whose answer could not be given here.
        """
        quick = self._quick
        count, size = len(datagrams), len(datagrams[0])
        room = size - HEAD_BYTES - MAC_BYTES
        if room < 0 or [*map(len, datagrams)].count(size) != count:
            return None
        fields = zip(*struct.iter_unpack(f"4s8s8s4s4s{room}s16s", b"".join(datagrams)), strict=True)
        starts, ids, session_ids, times, numbers, payloads, given = fields
        start, session_id, payload = starts[0], session_ids[0], payloads[0]
        if start != _SIGNED + room.to_bytes(2, "big"):
            return None
        if (starts.count(start), session_ids.count(session_id), payloads.count(payload)) != (count, count, count):
            return None
        session, assets = self._doors.known(int.from_bytes(session_id, "big")), quick.assets_of(payload)
        if session is None or assets is None:
            return None
        now_s = quick.turn(unix_ns)
        earliest, latest = int.from_bytes(min(times), "big"), int.from_bytes(max(times), "big")
        if session.expire_s <= now_s or earliest < now_s - TIME_S or latest > now_s + TIME_S:
            return None
        answered = quick.payload_of(assets, mono_ns)
        if answered is None:
            return None
        whole, limit = HEAD_BYTES + len(answered) + MAC_BYTES, size * EARNED_FACTOR
        if whole > limit or whole > DATAGRAM_BYTES_MAX:
            return None
        expected = session.macs.queries([datagram[:-MAC_BYTES] for datagram in datagrams])
        if not hmac.compare_digest(b"".join(expected), b"".join(given)):
            return None
        way = quick.way_of(session, source)
        if way is None or not way.good(mono_ns, unix_ns):
            return None
        firsts = session.window.take_each(struct.unpack(f">{count}I", b"".join(numbers)))
        n = firsts.count(True)
        if n:
            session.used_ns = mono_ns
        slots = way.answers_at(assets, mono_ns, unix_ns, n) if n else ()
        if slots is None:
            session_number = int.from_bytes(session_id, "big")
            fates: list[Caller | Drop] = [
                self._doors.again(session_number, mono_ns=mono_ns, unix_ns=unix_ns) if new else Drop.SESSION_REPLAY
                for new in firsts
            ]
            return [*map(otherwise, datagrams, fates)]
        parts = [b""] * (4 * count)
        parts[0::4], parts[2::4] = ids, numbers
        parts[1::4] = [session_id + quick.unix] * count
        parts[3::4] = [answered] * count
        start = REPLY + len(answered).to_bytes(2, "big")
        bodies = [start + body for (body,) in struct.iter_unpack(f"{whole - MAC_BYTES - 4}s", b"".join(parts))]
        replies = [Reply(reply, limit, (), (), slots) for reply in session.macs.replies(given, bodies)]
        if n < count:
            replies = [
                reply if new else otherwise(datagram, Drop.SESSION_REPLAY)
                for reply, new, datagram in zip(replies, firsts, datagrams, strict=True)
            ]
        return replies


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
