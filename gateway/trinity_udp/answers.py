"""The datagram protocol, bytes out: what answers a query. No socket, no clock.

Every answer has a full form and, where the caller's bytes do not earn that much, a shorter one;
`fit` takes the longest that its bound allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final

from trinity.price.v1 import price_pb2
from trinity_core.errors import Reason
from trinity_core.prices import State
from trinity_core.udp_cookie import COOKIE_BYTES
from trinity_udp.codec import DATAGRAM_BYTES_MAX, EARNED_FACTOR, Query, Refusal

TRUNCATED: Final = b"ERR - TRUNCATED more=/v1/prices:batchGet\n"
"""Last line of a reply that could not hold all answers; names the HTTPS path that can."""
TRUNCATED_REPORTS: Final = b"ERR - TRUNCATED more=/reports/summary\n"
"""Likewise at the port for reports."""

_COOKIE_LINE: Final = len("COOKIE \n") + 2 * COOKIE_BYTES


def render_price(query: Query, price: price_pb2.Price, *, bound: int, tier: int = price_pb2.TIER_LOCAL) -> bytes:
    """The line that answers with a price, in the longest form of at most `bound` bytes; empty when none fits.

    Full: `OK <id or -> BTC 67000.10 USD 1767322800 6 F`. Compact, only what was asked for and
    the state: `OK BTC 67000.10 USD F`, at need without `USD`. A star after the state says that
    the price is simulated. Where no price fits: how long the line would have to be. `tier` is told in binary.
    """
    if query.form is not None:
        return _whole(query.form.price(price, tier), bound)
    full = f"OK {query.id or '-'}{full_words(price)}"
    if len(full) <= bound:
        return full.encode("ascii")
    start = f"OK {query.id}" if query.id else "OK"
    shortest = start + compact_words(price, quoted=False)
    padding = f"ERR {query.id or '-'} PADDING"
    forms = (
        start + compact_words(price, quoted=True) if query.quoted else "",
        shortest,
        f"{padding} need={-(-len(shortest) // EARNED_FACTOR)}\n",
        f"{padding}\n",
    )
    return fit(forms, bound)


def full_words(price: price_pb2.Price) -> str:
    """What follows the id in the full form, the line's end included."""
    told = f"{price.receive_time.seconds} {price.source_count} {_letters(price)}"
    return f" {price.asset} {price.price} USD {told}\n"


def compact_words(price: price_pb2.Price, *, quoted: bool) -> str:
    """What follows the id in the compact form, the line's end included."""
    return f" {price.asset} {price.price}{' USD' if quoted else ''} {_letters(price)}\n"


def _letters(price: price_pb2.Price) -> str:
    return State(price.state).letter + ("*" if price.sandbox else "")


def render_cookie(cookie: bytes, *, bound: int) -> bytes:
    """The line that gives a source the means to prove its address."""
    return fit((f"COOKIE {cookie.hex()}\n", f"ERR - PADDING need={-(-_COOKIE_LINE // EARNED_FACTOR)}\n"), bound)


def render_usage(query: Query, *, day: int, month: int, left: int | None, unix_s: int, bound: int) -> bytes:
    """The line that answers with a key's totals as read at `unix_s`; `left` is None where nothing bounds it."""
    if query.form is not None:
        return _whole(query.form.totals(day=day, month=month, left=left, unix_s=unix_s), bound)
    quota = "-" if left is None else left
    return fit((f"OK {query.id or '-'} USAGE day={day} month={month} left={quota} {unix_s}\n",), bound)


def render_error(query: Query, reason: Reason | Refusal, *, bound: int, fact: str = "", asset: str = "") -> bytes:
    """The line that answers with a reason, with `fact` (`age=93`) where it fits; empty when nothing fits."""
    if query.form is not None:
        return _whole(query.form.error(asset, reason, fact), bound) or _whole(
            query.form.error(asset, reason, ""), bound
        )
    mark = query.id or "-"
    return fit((f"ERR {mark} {reason} {fact}\n" if fact else "", f"ERR {mark} {reason}\n"), bound)


def render_pong(query: Query, *, bound: int) -> bytes:
    """The answer to PING."""
    return fit((f"OK {query.id or '-'} PONG\n",), bound)


def render_time(query: Query, *, unix_s: int, bound: int) -> bytes:
    """The answer to TIME: the server's unix time in seconds."""
    return fit((f"OK {query.id or '-'} TIME {unix_s}\n", f"{unix_s}\n"), bound)


def render_help(query: Query, forms: Sequence[str], *, bound: int) -> bytes:
    """The answer to HELP; in its short forms nothing but an example to type."""
    return fit((form.replace("{id}", query.id or "-") for form in forms), bound)


def fit(forms: Iterable[str], bound: int) -> bytes:
    """The first form that is not empty and has at most `bound` bytes; empty when there is none."""
    for form in forms:
        if form and len(form) <= bound:
            return form.encode("ascii")
    return b""


def _whole(part: bytes, bound: int) -> bytes:
    return part if len(part) <= bound else b""


def pack(answers: Sequence[bytes], truncated: bytes = TRUNCATED) -> tuple[bytes, int]:
    """The answers as one reply, and how many of them are whole in it; `truncated` is its end where not all fit."""
    reply = b"".join(answers)
    if len(reply) <= DATAGRAM_BYTES_MAX:
        return reply, len(answers)
    end = reply.rindex(b"\n", 0, DATAGRAM_BYTES_MAX - len(truncated)) + 1
    return reply[:end] + truncated, sum(upto <= end for upto in accumulate(map(len, answers)))
