"""What one port is for: the one command that it alone answers, and what its desk needs to know of that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

import msgspec

from trinity_core.errors import TrinityError
from trinity_core.usage import Outcome
from trinity_udp import codec
from trinity_udp.codec import Command, Query
from trinity_udp.doors import NOBODY, Caller, Entry
from trinity_udp.drops import Drop, Tally

S = TypeVar("S")
F_contra = TypeVar("F_contra", contravariant=True)


class Answer(msgspec.Struct, frozen=True):
    """The line that answers, and what it counts as."""

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


class Tray(Generic[S]):
    """What becomes of the lines of one datagram, while they are answered one after the other."""

    def __init__(self, tally: Tally, *, host: str, mono_ns: int, unix_ns: int) -> None:
        self._tally = tally
        self._host = host
        self.mono_ns = mono_ns
        """When the datagram was read."""
        self.unix_s = unix_ns // 1_000_000_000
        """Likewise, by the wall clock."""
        self.lines: list[Line] = []
        self.deferred: list[Deferred[S]] = []

    def enter(self, query: Query, caller: Caller, asset: str = "", *, bound: int | None = None) -> Entry | None:
        """Let one question in; None where it is refused, which is an answer too, and counted already."""
        try:
            return caller.enter(query.command.value, asset, self._host)
        except TrinityError as error:
            fact = "" if error.retry_after_ms is None else f"retry={-(-error.retry_after_ms // 1_000)}"
            line = codec.render_error(query, error.reason, bound=query.bound if bound is None else bound, fact=fact)
            self.put(line, NOBODY, Outcome.REFUSED)
            return None

    def put(self, line: bytes, entry: Entry, outcome: Outcome) -> None:
        """An answer that is at hand."""
        self.lines.append(Line(line, entry, outcome))

    def defer(self, query: Query, subject: S, entry: Entry, *, bound: int) -> None:
        """An answer that has to be looked up."""
        self.deferred.append(Deferred(query, subject, bound, entry))

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

    def answer(self, query: Query, caller: Caller, tray: Tray[S], /) -> None:
        """Answer a sound line with that command: put, defer or drop each of its questions."""
        ...

    def settled(self, deferred: Deferred[S], outcome: F_contra | TrinityError, *, unix_s: int) -> Answer:
        """The answer to what was looked up."""
        ...

    def unasked(self, deferred: Deferred[S], *, unix_s: int) -> Answer:
        """The answer where nobody can be asked."""
        ...

    def crowded(self, deferred: Deferred[S], /) -> Answer | Drop:
        """The answer where too many wait already, or why there is none."""
        ...
