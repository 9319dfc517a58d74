"""The datagram protocol's binary form: frames in, queries out; parts of payloads in, frames out. Pure.

The payload of a reply is put together of parts, one an answer: protobuf messages of one type, of which
some fields are set. Written one after the other they are one message with all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from google.protobuf.message import DecodeError

from trinity.price.v1 import price_pb2
from trinity.report.v1 import report_pb2
from trinity_admission.udp_sessions import Claim
from trinity_core import udp_frame
from trinity_core.prices import Method
from trinity_core.udp_cookie import COOKIE_BYTES
from trinity_core.udp_mac import MAC_BYTES, SessionMacs
from trinity_udp.codec import DATAGRAM_BYTES_MAX, QUERIES_MAX, Command, Query, is_asset
from trinity_udp.drops import Drop

_METHODS: Final = {price_pb2.METHOD_VWAP: Method.VWAP, price_pb2.METHOD_PRIMARY: Method.PRIMARY}
_AGE_MS_MAX: Final = 86_400_000


class PriceForm:
    """Payloads at the port for prices: trinity.price.v1.UdpQuery and UdpReply."""

    command = Command.GET
    end_bytes = 6
    """Most bytes of `end`."""
    more = price_pb2.UdpReply(more="/v1/prices:batchGet").SerializeToString()
    """Part that stands in a truncated reply."""

    def read(self, query: Query) -> Query | None:
        """The query with what its payload asks for; None where that is no UdpQuery."""
        assert query.frame is not None
        try:
            asked = price_pb2.UdpQuery.FromString(query.frame.payload)
        except DecodeError:
            return None
        assets = tuple(asset.upper() for asset in asked.assets)
        age_ms = asked.max_age.ToMilliseconds() if asked.HasField("max_age") else 0
        wrong = ""
        if not 1 <= len(assets) <= QUERIES_MAX or not all(map(is_asset, assets)):
            wrong, assets = "assets", ()
        elif asked.quote.upper() not in ("", "USD"):
            wrong = "quote"
        elif asked.method not in _METHODS and asked.method > price_pb2.METHOD_MEDIAN:
            wrong = "method"
        elif asked.HasField("max_age") and not 1 <= age_ms <= _AGE_MS_MAX:
            wrong = "max_age"
        method = "" if wrong or asked.method not in _METHODS else _METHODS[asked.method].name.lower()
        return msgspec.structs.replace(query, assets=assets, wrong=wrong, method=method, max_age_ms=age_ms)

    def price(self, price: price_pb2.Price, tier: int) -> bytes:
        """A price."""
        received = price.receive_time
        result = price_pb2.UdpResult(
            asset=price.asset,
            price=price.price,
            receive_unix_ms=received.seconds * 1_000 + received.nanos // 1_000_000,
            source_count=price.source_count,
            state=price.state,
            sequence=price.sequence,
            tier=tier,  # type: ignore[arg-type]
        )
        return price_pb2.UdpReply(results=[result], sandbox=price.sandbox).SerializeToString()

    def totals(self, *, day: int, month: int, left: int | None, unix_s: int) -> bytes:
        """Never asked for at this port."""
        raise NotImplementedError

    def error(self, asset: str, reason: str, fact: str) -> bytes:
        """A reason; of the whole query where `asset` is empty."""
        if not asset:
            return price_pb2.UdpReply(reason=reason, detail=fact).SerializeToString()
        result = price_pb2.UdpResult(asset=asset, reason=reason, detail=fact)
        return price_pb2.UdpReply(results=[result]).SerializeToString()

    def end(self, unix_s: int) -> bytes:
        """Part that stands in every reply."""
        return price_pb2.UdpReply(server_unix=unix_s % (1 << 32)).SerializeToString()


class TotalsForm:
    """Payloads at the port for reports: none, and trinity.report.v1.UdpTotals."""

    command = Command.USAGE
    end_bytes = 0
    more = b""

    def read(self, query: Query) -> Query | None:
        """The query itself; None where it has a payload."""
        assert query.frame is not None
        return None if query.frame.payload else query

    def price(self, price: price_pb2.Price, tier: int) -> bytes:
        """Never asked for at this port."""
        raise NotImplementedError

    def totals(self, *, day: int, month: int, left: int | None, unix_s: int) -> bytes:
        """A key's totals."""
        return report_pb2.UdpTotals(
            billed_today=day,
            billed_this_month=month,
            unlimited=left is None,
            remaining=left or 0,
            read_unix=unix_s,
        ).SerializeToString()

    def error(self, asset: str, reason: str, fact: str) -> bytes:
        """A reason."""
        return report_pb2.UdpTotals(reason=reason, detail=fact).SerializeToString()

    def end(self, unix_s: int) -> bytes:
        """Nothing more is said."""
        return b""


PayloadForm = PriceForm | TotalsForm


def read_binary(datagram: bytes, form: PayloadForm) -> Query | Drop:
    """The query of a binary datagram, its payload not looked at yet; or why there is no answer to it."""
    frame = udp_frame.read_frame(datagram)
    if frame is None:
        return Drop.BAD_BINARY
    if frame.response:
        return Drop.RESPONSE
    if frame.flags & ~(udp_frame.MAC | udp_frame.COOKIE):
        return Drop.BAD_BINARY
    claim = None
    if frame.mac is not None:
        claim = Claim(frame.session_id, frame.unix_s, frame.sequence, frame.mac, frame.signed, binary=True)
    elif frame.session_id:
        return Drop.SESSION_MALFORMED
    overhead = udp_frame.HEAD_BYTES + form.end_bytes + (MAC_BYTES if claim else 0)
    return Query(
        form.command, len(datagram), claim=claim, cookie=frame.cookie, frame=frame, form=form, overhead=overhead
    )


def pack_frame(
    query: Query,
    parts: Sequence[bytes],
    *,
    form: PayloadForm,
    macs: SessionMacs | None,
    unix_s: int,
    refused: bool = False,
    cookie: bytes = b"",
) -> tuple[bytes, int]:
    """The reply that holds the parts, and how many of them are whole in it.

    Args:
        query: what is answered.
        parts: of its payload, one an answer.
        form: what they are parts of.
        macs: those of the session; None without one.
        unix_s: the server's time.
        refused: nothing that was asked for is among the parts.
        cookie: to be given to the client, 24 bytes; empty for none.
    """
    frame = query.frame
    assert frame is not None
    end = form.end(unix_s) if parts else b""
    room = query.room - len(cookie)
    whole = len(parts)
    if sum(map(len, parts)) > room:
        room -= len(form.more)
        whole = used = 0
        while whole < len(parts) and used + len(parts[whole]) <= room:
            used += len(parts[whole])
            whole += 1
        end = form.more + end
    flags = udp_frame.RESPONSE | (udp_frame.MAC if macs else 0) | (udp_frame.COOKIE if cookie else 0)
    flags |= (udp_frame.TRUNCATED if whole < len(parts) else 0) | (udp_frame.REFUSED if refused else 0)
    signed = udp_frame.make_frame(
        flags,
        request_id=frame.request_id,
        session_id=frame.session_id,
        unix_s=unix_s % (1 << 32),
        sequence=frame.sequence,
        payload=b"".join(parts[:whole]) + end,
        cookie=cookie,
    )
    reply = signed if macs is None else signed + macs.reply(frame.mac or b"", signed)
    assert len(reply) <= DATAGRAM_BYTES_MAX
    return reply, whole


COOKIE_REPLY_BYTES: Final = udp_frame.HEAD_BYTES + COOKIE_BYTES + MAC_BYTES
"""Most bytes of a reply that is nothing but a cookie: less than three times the least request."""
