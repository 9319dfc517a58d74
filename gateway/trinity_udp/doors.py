"""The ports at which lines are let in and answers are counted; and the doors of an endpoint that has neither.

An answer is one line of a reply about one asset (or the answer to PING, TIME or HELP). Each is
counted just before it is handed to the kernel, and given back if the kernel did not take it.
"""

from __future__ import annotations

from typing import Final, Protocol

from trinity_admission.principal import Principal
from trinity_admission.udp_sessions import Claim
from trinity_core.usage import Outcome
from trinity_udp.drops import Drop


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

    def enter(self, command: str, asset: str, host: str) -> Entry:
        """Let one question in; `asset` is empty for commands about none.

        MUST raise TrinityError where it may not be asked, and have that counted.
        """
        ...


class Doors(Protocol):
    """Lets lines in. Nothing here MUST ever wait."""

    @property
    def strict(self) -> bool:
        """Answers must wait for `committed`."""
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

    def demo(self) -> Caller:
        """Anybody."""
        return NOBODY

    def session(self, claim: Claim, *, mono_ns: int, unix_ns: int) -> Caller | Drop:
        """Nobody."""
        return Drop.SESSION_UNSUPPORTED

    async def committed(self) -> None:
        """Nothing was counted."""
