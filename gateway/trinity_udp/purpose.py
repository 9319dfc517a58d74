"""What one port is for: the one command that it alone answers, and what its desk needs to know of that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

import msgspec

from trinity_core.errors import TrinityError
from trinity_core.udp_cookie import CLIENT_BYTES, COOKIE_BYTES, NO_CLIENT, Cookies
from trinity_core.usage import Outcome
from trinity_udp import answers
from trinity_udp.binary import PayloadForm
from trinity_udp.codec import DATAGRAM_BYTES_MAX, EARNED_FACTOR, Command, Query
from trinity_udp.doors import NOBODY, Caller, Entry
from trinity_udp.drops import Drop, Tally

S = TypeVar("S")
F_contra = TypeVar("F_contra", contravariant=True)


class Answer(msgspec.Struct, frozen=True):
    """The line, or the part of a payload, that answers, and what it counts as."""

    line: bytes
    """Empty where no form of it is earned."""
    outcome: Outcome


class Line(msgspec.Struct, frozen=True, gc=False):
    """One answer, which need not be one line, and who is charged for it."""

    data: bytes
    entry: Entry
    outcome: Outcome


class Deferred(msgspec.Struct, Generic[S], frozen=True):
    """One question of one line whose answer has to be looked up."""

    query: Query
    subject: S
    """What to look up."""
    bound: int
    """Most bytes that the answer may have."""
    entry: Entry
    """To be closed where it is not settled."""
    caller: Caller
    """Who asked."""
    limit: int
    """Most bytes that the datagram with the answer may have."""


class Tray(Generic[S]):
    """What becomes of the lines of one datagram, while they are answered one after the other."""

    def __init__(self, tally: Tally, *, source: bytes, host: str, cookies: Cookies, mono_ns: int, unix_ns: int) -> None:
        self._tally = tally
        self._source = source
        self._host = host
        self._cookies = cookies
        self.mono_ns = mono_ns
        """When the datagram was read."""
        self.unix_ns = unix_ns
        """Likewise, by the wall clock."""
        self.unix_s = unix_ns // 1_000_000_000
        self.lines: list[Line] = []
        self.deferred: list[Deferred[S]] = []
        self.proven = False
        """The source has proven that the address is its own."""
        self.cookie = b""
        """What a binary query is given to prove it with."""

    def enter(self, query: Query, caller: Caller, asset: str = "", *, bound: int | None = None) -> Entry | None:
        """Let one question in; None where it is refused, which is an answer too, and counted already."""
        try:
            return caller.enter(query.command.value, asset, self._host)
        except TrinityError as error:
            fact = "" if error.retry_after_ms is None else f"retry={-(-error.retry_after_ms // 1_000)}"
            bound = query.bound if bound is None else bound
            line = answers.render_error(query, error.reason, bound=bound, fact=fact, asset=asset)
            self.put(line, NOBODY, Outcome.REFUSED)
            return None

    def prove(self, query: Query) -> bool:
        """Whether the query's cookie proves that the address is its source's own: then the bound is lifted."""
        cookie = query.cookie
        if cookie is None or len(cookie) != COOKIE_BYTES:
            return False
        if not self._cookies.prove(cookie, self._source, now_s=self.unix_s):
            return False
        self.proven = True
        return True

    def give_cookie(self, query: Query) -> None:
        """Answer with nothing but the means to prove the address; it counts as no answer."""
        client = NO_CLIENT if query.cookie is None else query.cookie[:CLIENT_BYTES]
        cookie = self._cookies.make(client, self._source, now_s=self.unix_s)
        if query.frame is not None:
            self.cookie = cookie
        else:
            self.put(answers.render_cookie(cookie, bound=query.bound), NOBODY, Outcome.REFUSED)

    def limit(self, query: Query) -> int:
        """Most bytes of a datagram that answers this query alone."""
        return DATAGRAM_BYTES_MAX if self.proven else query.size * EARNED_FACTOR

    def put(self, line: bytes, entry: Entry, outcome: Outcome) -> None:
        """An answer that is at hand."""
        self.lines.append(Line(line, entry, outcome))

    def defer(self, query: Query, subject: S, entry: Entry, *, bound: int, caller: Caller) -> None:
        """An answer that has to be looked up."""
        self.deferred.append(Deferred(query, subject, bound, entry, caller, self.limit(query)))

    def drop(self, reason: Drop) -> None:
        """No answer."""
        self._tally.drop(reason)


class Purpose(Protocol[S, F_contra]):
    """What one port is for. Nothing here MUST ever wait."""

    @property
    def command(self) -> Command:
        """The command that this port alone answers."""
        ...

    @property
    def help(self) -> Sequence[str]:
        """Forms of the answer to HELP, longest first."""
        ...

    @property
    def truncated(self) -> bytes:
        """Last line of a reply that could not hold all answers."""
        ...

    @property
    def form(self) -> PayloadForm:
        """How that command is written in binary."""
        ...

    def answer(self, query: Query, caller: Caller, tray: Tray[S], /) -> None:
        """Answer a sound line with that command: put, defer or drop each of its questions."""
        ...

    def settled(self, deferred: Deferred[S], outcome: F_contra | TrinityError, *, unix_ns: int) -> Answer:
        """The answer to what was looked up."""
        ...

    def unasked(self, deferred: Deferred[S], *, unix_ns: int) -> Answer:
        """The answer where nobody can be asked."""
        ...

    def crowded(self, deferred: Deferred[S], /) -> Answer | Drop:
        """The answer where too many wait already, or why there is none."""
        ...
