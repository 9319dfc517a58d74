"""The datagram protocol, bytes in and bytes out: what kind, which queries, which answer. No socket, no clock.

docs/udp.md is the specification. Every answer has a full form and, where the caller's
bytes do not earn that much, a shorter one; `fit` takes the longest that its bound allows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import Enum, StrEnum
from itertools import accumulate
from typing import Final

import msgspec

from trinity.price.v1 import price_pb2
from trinity_admission.udp_sessions import Claim
from trinity_core.errors import Reason
from trinity_core.prices import State
from trinity_core.udp_mac import MAC_BYTES
from trinity_core.udp_session import parse_session_id
from trinity_udp.drops import Drop

DATAGRAM_BYTES_MAX: Final = 1_232
"""Most bytes of a request and of a reply: what IPv6's least MTU of 1280 leaves after its headers."""

EARNED_FACTOR: Final = 3
"""Bytes that may go to a source that has not proven its address, for each byte it sent (RFC 9000, section 8.1)."""

QUERIES_MAX: Final = 64
"""Most lines, and most assets of all lines together, in one datagram."""

BINARY_V1: Final = 0xF1

_PRINTABLE: Final = range(0x20, 0x7F)
_TEXT_BYTES: Final = bytes(_PRINTABLE) + b"\r\n"
_REPLY_WORDS: Final = frozenset({"OK", "ERR", "COOKIE"})
_REPLY_STARTS: Final = tuple(f"{word} ".encode() for word in sorted(_REPLY_WORDS))
_SESSION_OPTIONS: Final = frozenset({"s", "t", "q", "m"})
_COOKIE_OPTION: Final = "c"
_NUMBER: Final = re.compile("0|[1-9][0-9]{0,11}")
_SEQUENCES: Final = 1 << 32
_MAC: Final = re.compile(f"[0-9A-Fa-f]{{{2 * MAC_BYTES}}}")
_ASSET: Final = re.compile("[A-Za-z0-9]{1,16}")
_ID: Final = re.compile("[A-Za-z0-9][A-Za-z0-9_-]{0,15}")

TRUNCATED: Final = b"ERR - TRUNCATED more=/v1/prices:batchGet\n"
"""Last line of a reply that could not hold all answers; names the HTTPS path that can."""
TRUNCATED_REPORTS: Final = b"ERR - TRUNCATED more=/reports/summary\n"
"""Likewise at the port for reports."""

PRICE_HELP: Final = (
    """\
OK {id} HELP
GET BTC USD [id=7]   price: OK <id> <asset> <price> USD <unix seconds> <sources> <state>
                     state F fresh, D delayed, V divergent; a * after it: simulated, not a market price
PING | TIME | HELP   several lines make a batch; add spaces to earn a longer answer (3 bytes for 1)
""",
    "OK GET BTC USD | PING | TIME\n",
    "OK GET BTC USD\n",
    "OK GET BTC\n",
)
"""Forms of the answer to HELP at the port for prices, longest first."""
REPORT_HELP: Final = (
    """\
OK {id} HELP
USAGE [id=7] s=<session> t=<unix seconds> q=<sequence> m=<MAC>   totals of the key that opened the session:
                     OK <id> USAGE day=<billed today> month=<billed this month> left=<of the quota, or -> <unix seconds>
PING | TIME | HELP   several lines make a batch; POST /v1/udp/sessions opens a session
""",
    "OK USAGE s= t= q= m= | PING | TIME\n",
    "OK USAGE\n",
)
"""Likewise at the port for reports."""


class Kind(Enum):
    """How the rest of a datagram is to be read."""

    TEXT = "text"
    BINARY_V1 = "binary_v1"


class Command(Enum):
    """First word of a line."""

    GET = "GET"
    USAGE = "USAGE"
    PING = "PING"
    TIME = "TIME"
    HELP = "HELP"


class Refusal(StrEnum):
    """Why a line is not answered, where datagrams alone have that reason; docs/errors.md has the others."""

    SESSION = "SESSION"
    """Only a line with a session is answered that."""
    PRICES = "PRICES"
    """Only the port for prices answers that."""
    REPORTS = "REPORTS"
    """Only the port for reports answers that."""


_COMMANDS: Final = {command.value: command for command in Command}


class Query(msgspec.Struct, frozen=True, gc=False):
    """One line of a text datagram."""

    command: Command
    size: int
    """Bytes of the datagram that belong to this line: itself, its end and blank lines that follow."""
    id: str = ""
    """The caller's own mark, echoed in the answer; empty where none was given."""
    assets: tuple[str, ...] = ()
    """Asset ids, upper case."""
    quoted: bool = False
    """The line names the quote currency."""
    wrong: str = ""
    """Name of the part that cannot be taken; empty for a sound line."""
    claim: Claim | None = None
    """What the line says of its session; None where it has none."""

    @property
    def bound(self) -> int:
        """Most bytes that all answers to the line may have."""
        return self.size * EARNED_FACTOR


def classify(datagram: bytes) -> Kind | Drop:
    """Tell by size and first bytes what a datagram is, or why it is none of ours."""
    if not datagram:
        return Drop.EMPTY
    if len(datagram) > DATAGRAM_BYTES_MAX:
        return Drop.TOO_LARGE
    first = datagram[0]
    if first == BINARY_V1:
        return Kind.BINARY_V1
    if first not in _PRINTABLE:
        return Drop.UNKNOWN_FIRST_BYTE
    if datagram.startswith(_REPLY_STARTS):
        return Drop.RESPONSE
    return Kind.TEXT


def parse_text(datagram: bytes) -> tuple[Query, ...] | Drop:
    """The queries of a text datagram, one a line; or why there is no answer to any of it."""
    if datagram.translate(None, _TEXT_BYTES):
        return Drop.BAD_TEXT
    lines: list[str] = []
    sizes: list[int] = []
    for line in datagram.decode("ascii").splitlines(keepends=True):
        if line.strip():
            lines.append(line)
            sizes.append(len(line))
        elif sizes:
            sizes[-1] += len(line)
    if not lines:
        return Drop.BAD_TEXT
    if len(lines) > QUERIES_MAX:
        return Drop.TOO_MANY_QUERIES
    queries: list[Query] = []
    assets = 0
    for line, size in zip(lines, sizes, strict=True):
        query = _parse_line(line, size)
        if isinstance(query, Drop):
            return query
        assets += len(query.assets)
        queries.append(query)
    return Drop.TOO_MANY_QUERIES if assets > QUERIES_MAX else tuple(queries)


def _parse_line(line: str, size: int) -> Query | Drop:
    words = line.split()
    command = _COMMANDS.get(words[0].upper())
    if command is None:
        return Drop.RESPONSE if words[0] in _REPLY_WORDS else Drop.UNKNOWN_COMMAND
    mark = wrong = ""
    plain: list[str] = []
    session: list[tuple[str, str]] = []
    for word in words[1:]:
        key, equals, value = word.partition("=")
        if not equals:
            plain.append(word)
        elif key == _COOKIE_OPTION:
            return Drop.SESSION_UNSUPPORTED
        elif key in _SESSION_OPTIONS:
            session.append((key, value))
        elif key == "id" and not mark and _ID.fullmatch(value):
            mark = value
        else:
            wrong = wrong or (key if key.isalnum() and len(key) <= 16 else "option")
    claim = _claim(line, session) if session else None
    if isinstance(claim, Drop):
        return claim
    if command is not Command.GET:
        return Query(command, size, id=mark, wrong=wrong or ("words" if plain else ""), claim=claim)
    assets = tuple(plain[0].upper().split(",")) if plain else ()
    if not assets or not all(map(_ASSET.fullmatch, assets)):
        return Query(command, size, id=mark, wrong="assets", claim=claim)
    quoted = len(plain) > 1
    if quoted and plain[1].upper() != "USD":
        wrong = wrong or "quote"
    elif len(plain) > 2:
        wrong = wrong or "words"
    return Query(command, size, id=mark, assets=assets, quoted=quoted, wrong=wrong, claim=claim)


def _claim(line: str, session: list[tuple[str, str]]) -> Claim | Drop:
    """What a line says of its session: each word once, and the MAC last."""
    told = dict(session)
    signed, _, rest = line.rpartition(" m=")
    if len(told) != len(session) or told.keys() != _SESSION_OPTIONS or rest.split() != [told["m"]]:
        return Drop.SESSION_MALFORMED
    session_id = parse_session_id(told["s"])
    if (
        session_id is None
        or not _NUMBER.fullmatch(told["t"])
        or not _NUMBER.fullmatch(told["q"])
        or int(told["q"]) >= _SEQUENCES
        or not _MAC.fullmatch(told["m"])
    ):
        return Drop.SESSION_MALFORMED
    return Claim(session_id, int(told["t"]), int(told["q"]), bytes.fromhex(told["m"]), signed.encode("ascii"))


def render_price(query: Query, price: price_pb2.Price, *, bound: int) -> bytes:
    """The line that answers with a price, in the longest form of at most `bound` bytes; empty when none fits.

    Full: `OK <id or -> BTC 67000.10 USD 1767322800 6 F`. Compact, only what was asked for and
    the state: `OK BTC 67000.10 USD F`, at need without `USD`. A star after the state says that
    the price is simulated. Where no price fits: how long the line would have to be.
    """
    state = State(price.state).letter + ("*" if price.sandbox else "")
    asset, value = price.asset, price.price
    full = f"OK {query.id or '-'} {asset} {value} USD {price.receive_time.seconds} {price.source_count} {state}\n"
    if len(full) <= bound:
        return full.encode("ascii")
    mark = f"{query.id} " if query.id else ""
    shortest = f"OK {mark}{asset} {value} {state}\n"
    padding = f"ERR {query.id or '-'} PADDING"
    forms = (
        f"OK {mark}{asset} {value} USD {state}\n" if query.quoted else "",
        shortest,
        f"{padding} need={-(-len(shortest) // EARNED_FACTOR)}\n",
        f"{padding}\n",
    )
    return fit(forms, bound)


def render_usage(query: Query, *, day: int, month: int, left: int | None, unix_s: int, bound: int) -> bytes:
    """The line that answers with a key's totals as read at `unix_s`; `left` is None where nothing bounds it."""
    quota = "-" if left is None else left
    return fit((f"OK {query.id or '-'} USAGE day={day} month={month} left={quota} {unix_s}\n",), bound)


def render_error(query: Query, reason: Reason | Refusal, *, bound: int, fact: str = "") -> bytes:
    """The line that answers with a reason, with `fact` (`age=93`) where it fits; empty when nothing fits."""
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


def pack(answers: Sequence[bytes], truncated: bytes = TRUNCATED) -> tuple[bytes, int]:
    """The answers as one reply, and how many of them are whole in it; `truncated` is its end where not all fit."""
    reply = b"".join(answers)
    if len(reply) <= DATAGRAM_BYTES_MAX:
        return reply, len(answers)
    end = reply.rindex(b"\n", 0, DATAGRAM_BYTES_MAX - len(truncated)) + 1
    return reply[:end] + truncated, sum(upto <= end for upto in accumulate(map(len, answers)))
