"""The ports at which lines are let in and answers are counted; and the doors of an endpoint that has neither.

An answer is one line of a reply about one asset (or the answer to PING, TIME or HELP). Each is
counted just before it is handed to the kernel, and given back if the kernel did not take it.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol

from trinity_admission.fast_pass import FastPass, UnkeyedPass
from trinity_admission.principal import Principal
from trinity_admission.udp_sessions import Claim, Session
from trinity_core.udp_cookie import Cookies
from trinity_core.udp_mac import SessionMacs
from trinity_core.usage import Outcome
from trinity_udp.drops import Drop

if TYPE_CHECKING:
    from trinity_admission.ledger import Slot


class Entry(Protocol):
    """One answer that may be given."""

    def answered(self, outcome: Outcome) -> None:
        """Called at most once, before the answer leaves. MUST raise TrinityError where it cannot be counted."""
        ...

    def unsent(self) -> None:
        """Called after `answered` where the answer did not leave."""
        ...

    def close(self) -> None:
        """Called once, whatever became of it; `unsent` may still follow."""
        ...


class Caller(Protocol):
    """Who sent a line."""

    @property
    def principal(self) -> Principal | None:
        """Whom a service is told that it is asked for; None for who has no session."""
        ...

    @property
    def macs(self) -> SessionMacs | None:
        """MACs of the session; None for who has none."""
        ...

    def enter(self, command: str, asset: str, host: str) -> Entry:
        """Let one question in; `asset` is empty for commands about none.

        MUST raise TrinityError where it may not be asked, and have that counted.
        """
        ...


class ShortDoors(Protocol):
    """Lets plain lines about prices in, with what was found before. Whatever is not plainly good goes the long way."""

    def known(self, session_id: int, /) -> Session | None:
        """A session that was proven before."""
        ...

    def pass_of(self, session: Session, source: bytes, /) -> FastPass | None:
        """The way of a session's key from an address (packed); None where it has to go the long one."""
        ...

    def demo(self) -> UnkeyedPass | None:
        """The way of who has no session; None likewise."""
        ...

    def again(self, session_id: int, *, mono_ns: int, unix_ns: int) -> Caller | Drop:
        """Who has a session whose line was proven just now; or why that is not believed after all."""
        ...

    def give_back(self, slots: Sequence[Slot], /) -> None:
        """Answers that were counted did not leave."""
        ...


class Doors(Protocol):
    """Lets lines in. Nothing here MUST ever wait."""

    @property
    def strict(self) -> bool:
        """Answers must wait for `committed`."""
        ...

    @property
    def cookies(self) -> Cookies:
        """Those of all endpoints that a client may meet."""
        ...

    @property
    def short(self) -> ShortDoors | None:
        """The short way in for prices that are at hand; None where there is none."""
        ...

    def demo(self) -> Caller:
        """Who has no session."""
        ...

    def session(self, claim: Claim, *, mono_ns: int, unix_ns: int) -> Caller | Drop:
        """Who has one; or why that is not believed."""
        ...

    async def committed(self) -> None:
        """Return once everything counted is as safe as it is meant to be. Raises TrinityError where it is not."""
        ...


class _Nobody:
    principal = None
    macs = None

    def answered(self, _: Outcome) -> None:
        """Nobody counts."""

    def unsent(self) -> None:
        """Nothing was counted."""

    def close(self) -> None:
        """Nothing is held."""

    def enter(self, command: str, asset: str, host: str) -> Entry:
        return self


NOBODY: Final = _Nobody()
"""A caller, and an entry, that nobody knows of and nobody counts."""


class OpenDoors:
    """No sessions, and no count."""

    strict = False
    short = None

    def __init__(self) -> None:
        self.cookies = Cookies(secrets.token_bytes(32))
        """Known to nobody else."""

    def demo(self) -> Caller:
        """Anybody."""
        return NOBODY

    def session(self, claim: Claim, *, mono_ns: int, unix_ns: int) -> Caller | Drop:
        """Nobody."""
        return Drop.SESSION_UNSUPPORTED

    async def committed(self) -> None:
        """Nothing was counted."""
