"""The short way of plain questions for prices that are at hand: from bytes to bytes that were rendered once a change.

A question goes this way when nothing about it needs thought: one line `GET` in capitals or one binary
query, of assets whose prices are at hand, without a session or with one that was proven
before. It meets the same checks in the same order as at the desk, and is counted alike; whatever is
not plainly good is handed back, and the desk says why.
"""

from __future__ import annotations

import hmac
import re
import struct
from typing import TYPE_CHECKING, Final

from trinity.price.v1 import price_pb2
from trinity_admission.udp_sessions import TIME_S, Session
from trinity_core.udp_frame import HEAD_BYTES, MAC, SIGNED_REPLY
from trinity_core.udp_mac import MAC_BYTES
from trinity_udp import answers
from trinity_udp.binary import PriceForm
from trinity_udp.codec import DATAGRAM_BYTES_MAX, EARNED_FACTOR, Command, Query
from trinity_udp.doors import Caller, ShortDoors
from trinity_udp.drops import Drop
from trinity_udp.prices import ANSWERED, Replica
from trinity_udp.reply import Reply

if TYPE_CHECKING:
    from trinity_admission.fast_pass import FastPass
    from trinity_admission.ledger import Slot

KNOWN_MAX: Final = 4_096
"""Most payloads whose meaning is remembered."""

MARK_BYTES_MAX: Final = 16
"""Longest id of a line."""
_QUESTION: Final = rb"GET ([A-Z0-9]{1,16})( USD)?(?: id=([A-Za-z0-9][A-Za-z0-9_-]{0,15}))?"
PLAIN: Final = _QUESTION + rb"(?: c=[0-9a-f]{48})?[ \r\n]*"
"""A plain line without a session, as a regular expression: asset, quote, id."""
_PLAIN: Final = re.compile(PLAIN).fullmatch
_LINE: Final = re.compile(
    _QUESTION + rb" s=([0-9a-f]{16}) t=([1-9][0-9]{0,9}) q=(0|[1-9][0-9]{0,9}) m=([0-9a-f]{32})[ \r\n]*"
).fullmatch
_HEAD: Final = struct.Struct(">BBH8xQII")
_SEQUENCES: Final = 1 << 32


class Shown:
    """One asset's price, rendered."""

    __slots__ = ("asset", "part", "price", "seen_ns", "short", "shortest", "words")

    def __init__(self, asset: str) -> None:
        self.asset = (asset,)
        self.price: price_pb2.Price | None = None
        self.seen_ns = -1
        """When it was last looked at, monotonic."""
        self.words = b""
        """The full line after its id."""
        self.short = b""
        """The compact line likewise, with USD."""
        self.shortest = b""
        """And without."""
        self.part = b""
        """Its part of a binary payload."""

    def line(self, mark: bytes | None, limit: int, *, quoted: bool) -> bytes | None:
        """The fullest line that has at most `limit` bytes, with the id of a question; None where there is none."""
        reply = (b"OK %b" % mark if mark else b"OK -") + self.words
        if len(reply) <= limit:
            return reply
        start = b"OK %b" % mark if mark else b"OK"
        reply = start + self.short
        if quoted and len(reply) <= limit:
            return reply
        reply = start + self.shortest
        return reply if len(reply) <= limit else None


class Quick:
    """Answers plain questions of one port. For one event loop."""

    def __init__(self, *, replica: Replica, doors: ShortDoors, demo: bool) -> None:
        """`demo`: whether lines without a session are given prices."""
        self._replica = replica
        self._doors = doors
        self.demo = demo
        """Lines without a session are given prices."""
        self._known = doors.known
        self._shown: dict[str, Shown] = {}
        self._payloads: dict[bytes, tuple[str, ...]] = {}
        self._form = PriceForm()
        self._read_ns = self._second = -1
        self.unix = b""
        """The second of the last turn, as replies have it."""
        self._end = b""

    def learn(self, query: Query) -> None:
        """A question came; if it is a plain binary one, the next with its payload may go the short way."""
        frame = query.frame
        if frame is None or query.command is not Command.GET or query.wrong or query.method or query.max_age_ms:
            return
        if len(self._payloads) >= KNOWN_MAX:
            self._payloads.clear()
        self._payloads[frame.payload] = query.assets

    def plain(self, datagram: bytes, mono_ns: int, unix_ns: int) -> Reply | None:
        """The answer to a line without a session; None where it must go the long way."""
        found = _PLAIN(datagram)
        if found is None or not self.demo:
            return None
        name, quoted, mark = found.groups()
        shown = self.look(asset := name.decode(), mono_ns)
        if shown is None:
            return None
        limit = len(datagram) * EARNED_FACTOR
        reply = shown.line(mark, limit, quoted=bool(quoted))
        if reply is None:
            return None
        way = self._doors.demo()
        slots = None if way is None else way.answer_at(asset, unix_ns)
        return None if slots is None else Reply(reply, limit, (), (), slots)

    def line(self, datagram: bytes, source: bytes, mono_ns: int, unix_ns: int) -> Reply | Caller | Drop | None:
        """The answer to a line with a session, or why there is none; a Caller where only the proof is done."""
        found = _LINE(datagram)
        if found is None:
            return None
        asset, _, mark, name, time, number, mac = found.groups()
        session = self._known(session_id := int(name, 16))
        if session is None:
            return None
        now_s, sequence = unix_ns // 1_000_000_000, int(number)
        if not -TIME_S <= int(time) - now_s <= TIME_S or session.expire_s <= now_s or sequence >= _SEQUENCES:
            return None
        shown = self.look(asset.decode(), mono_ns)
        if shown is None:
            return None
        reply = (b"OK %b" % mark if mark else b"OK -") + shown.words
        if len(reply) > len(datagram) * EARNED_FACTOR:
            return None
        expected = session.macs.text(datagram[: found.start(7) - 3])
        if not hmac.compare_digest(expected, bytes.fromhex(mac.decode())):
            return Drop.SESSION_MAC
        slots = self._let_in(session, session_id, sequence, shown.asset, source, mono_ns, unix_ns)
        return Reply(reply, len(datagram) * EARNED_FACTOR, (), (), slots) if isinstance(slots, tuple) else slots

    def binary(self, datagram: bytes, source: bytes, mono_ns: int, unix_ns: int) -> Reply | Caller | Drop | None:
        """Likewise of a binary query."""
        size = len(datagram)
        if size < HEAD_BYTES + MAC_BYTES:
            return None
        _, flags, length, session_id, unix_s, sequence = _HEAD.unpack_from(datagram)
        if flags != MAC or HEAD_BYTES + length + MAC_BYTES != size:
            return None
        signed, mac = datagram[:-MAC_BYTES], datagram[-MAC_BYTES:]
        session = self._known(session_id)
        assets = self._payloads.get(signed[HEAD_BYTES:])
        if session is None or assets is None:
            return None
        now_s = self._second if unix_ns == self._read_ns else self.turn(unix_ns)
        if not -TIME_S <= unix_s - now_s <= TIME_S or session.expire_s <= now_s:
            return None
        payload = self.payload_of(assets, mono_ns)
        if payload is None:
            return None
        length, limit = len(payload), size * EARNED_FACTOR
        if HEAD_BYTES + length + MAC_BYTES > limit or HEAD_BYTES + length + MAC_BYTES > DATAGRAM_BYTES_MAX:
            return None
        macs = session.macs
        if not hmac.compare_digest(macs.query(signed), mac):
            return Drop.SESSION_MAC
        slots = self._let_in(session, session_id, sequence, assets, source, mono_ns, unix_ns)
        if not isinstance(slots, tuple):
            return slots
        head = (SIGNED_REPLY, length.to_bytes(2, "big"), datagram[4:20], self.unix, datagram[24:28], payload)
        reply = b"%b%b%b%b%b%b" % head
        return Reply(reply + macs.reply(mac, reply), limit, (), (), slots)

    def assets_of(self, payload: bytes) -> tuple[str, ...] | None:
        """What a binary query's payload asks for, if that was learnt."""
        return self._payloads.get(payload)

    def payload_of(self, assets: tuple[str, ...], mono_ns: int) -> bytes | None:
        """The payload that answers a query about these, in the second of the last turn; None where a price lacks."""
        if len(assets) == 1:
            shown = self._shown.get(assets[0])
            if shown is None or shown.seen_ns != mono_ns or shown.price is None:
                shown = self.look(assets[0], mono_ns)
                if shown is None:
                    return None
            return shown.part + self._end
        parts = [shown.part for asset in assets if (shown := self.look(asset, mono_ns)) is not None]
        return b"".join(parts) + self._end if len(parts) == len(assets) else None

    def turn(self, unix_ns: int) -> int:
        """The clock was read anew: the second it shows, and what replies say of it."""
        now_s = unix_ns // 1_000_000_000
        if now_s != self._second:
            self._second, self.unix, self._end = now_s, now_s.to_bytes(4, "big"), self._form.end(now_s)
        self._read_ns = unix_ns
        return now_s

    def _let_in(
        self,
        session: Session,
        session_id: int,
        sequence: int,
        assets: tuple[str, ...],
        source: bytes,
        mono_ns: int,
        unix_ns: int,
    ) -> tuple[Slot, ...] | Caller | Drop | None:
        """What follows a good MAC: the key, the window, the key's limits, the count."""
        way = self.way_of(session, source)
        if way is None or not way.good(mono_ns, unix_ns):
            return None
        if not session.window.take(sequence):
            return Drop.SESSION_REPLAY
        session.used_ns = mono_ns
        slots = way.answers_at(assets, mono_ns, unix_ns)
        return self._doors.again(session_id, mono_ns=mono_ns, unix_ns=unix_ns) if slots is None else slots

    def way_of(self, session: Session, source: bytes) -> FastPass | None:
        """The way of a session's key from an address; None where it has to go the long one."""
        way = session.fast
        if way is None or way.over or session.source != source:
            way = self._doors.pass_of(session, source)
        return way

    def look(self, asset: str, mono_ns: int) -> Shown | None:
        """The asset's price as it is now, rendered; None where there is none to answer with."""
        shown = self._shown.get(asset)
        if shown is not None and shown.seen_ns == mono_ns:
            return shown if shown.price is not None else None
        price = self._replica.get(asset)
        if price is None:
            return None
        if shown is None:
            # As many as the replica has assets, and no more.
            shown = self._shown[asset] = Shown(asset)
        shown.seen_ns = mono_ns
        if shown.price is not price:
            if price.state not in ANSWERED or not price.price:
                shown.price = None
                return None
            shown.price = price
            shown.words = answers.full_words(price).encode("ascii")
            shown.short = answers.compact_words(price, quoted=True).encode("ascii")
            shown.shortest = answers.compact_words(price, quoted=False).encode("ascii")
            shown.part = self._form.price(price, price_pb2.TIER_LOCAL)
        return shown
