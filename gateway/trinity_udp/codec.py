"""The datagram protocol, bytes in: what kind, and of text which queries. No socket, no clock.

docs/udp.md is the specification; `binary` reads the other form, `answers` is the way out.
"""

from __future__ import annotations

import re
from enum import Enum, StrEnum
from typing import Final, Protocol

import msgspec

from trinity.price.v1 import price_pb2
from trinity_admission.udp_sessions import Claim
from trinity_core.udp_cookie import CLIENT_BYTES, COOKIE_BYTES
from trinity_core.udp_frame import Frame
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
_COOKIE: Final = re.compile(f"(?:[0-9A-Fa-f]{{{2 * CLIENT_BYTES}}}){{1,{COOKIE_BYTES // CLIENT_BYTES}}}")
_MAC: Final = re.compile(f"[0-9A-Fa-f]{{{2 * MAC_BYTES}}}")
_ASSET: Final = re.compile("[A-Za-z0-9]{1,16}")
_ID: Final = re.compile("[A-Za-z0-9][A-Za-z0-9_-]{0,15}")


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


class Form(Protocol):
    """How answers to a binary query are written: as parts of its reply's payload, which are simply put together."""

    def price(self, price: price_pb2.Price, tier: int) -> bytes:
        """A price."""
        ...

    def totals(self, *, day: int, month: int, left: int | None, unix_s: int) -> bytes:
        """A key's totals."""
        ...

    def error(self, asset: str, reason: str, fact: str) -> bytes:
        """A reason; of the whole query where `asset` is empty."""
        ...


class Query(msgspec.Struct, frozen=True, gc=False):
    """One line of a text datagram, or a binary datagram."""

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
    cookie: bytes | None = None
    """The cookie of the line: the client's part alone, or all of it; None where it has none."""
    method: str = ""
    """How the price is to be made; empty for as the replica has it."""
    max_age_ms: int = 0
    """Oldest price that is wanted; 0 for any."""
    frame: Frame | None = None
    """The binary datagram; None for text."""
    form: Form | None = None
    """Writes the answers to a binary datagram; None for text."""
    overhead: int = 0
    """Bytes of a reply that are no answer."""

    @property
    def bound(self) -> int:
        """Most bytes that all answers to the line may have, unless its source has proven its address."""
        return self.size * EARNED_FACTOR - self.overhead

    @property
    def room(self) -> int:
        """Most bytes that they may have at all."""
        return DATAGRAM_BYTES_MAX - self.overhead


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
    cookie: bytes | None = None
    plain: list[str] = []
    session: list[tuple[str, str]] = []
    for word in words[1:]:
        key, equals, value = word.partition("=")
        if not equals:
            plain.append(word)
        elif key == _COOKIE_OPTION:
            if cookie is not None or not _COOKIE.fullmatch(value) or len(value) == 4 * CLIENT_BYTES:
                return Drop.COOKIE_MALFORMED
            cookie = bytes.fromhex(value)
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
        wrong = wrong or ("words" if plain else "")
        return Query(command, size, id=mark, wrong=wrong, claim=claim, cookie=cookie)
    assets = tuple(plain[0].upper().split(",")) if plain else ()
    if not assets or not all(map(is_asset, assets)):
        return Query(command, size, id=mark, wrong="assets", claim=claim, cookie=cookie)
    quoted = len(plain) > 1
    if quoted and plain[1].upper() != "USD":
        wrong = wrong or "quote"
    elif len(plain) > 2:
        wrong = wrong or "words"
    return Query(command, size, id=mark, assets=assets, quoted=quoted, wrong=wrong, claim=claim, cookie=cookie)


def is_asset(text: str) -> bool:
    """Whether a word can be the id of an asset."""
    return _ASSET.fullmatch(text) is not None


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


def marked_wrong(query: Query, part: str) -> Query:
    """The query, of which a part cannot be taken."""
    return msgspec.structs.replace(query, wrong=part)
