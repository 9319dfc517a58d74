"""How a command ends: exit codes that mean something, and errors that say what to do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from enum import IntEnum
from typing import IO, Any

import click

from trinity_core.errors import Code, Reason, TrinityError
from trinity_mesh.tls_words import is_explained


class Exit(IntEnum):
    """Exit codes of every command; docs/cli.md has the table."""

    OK = 0
    BUG = 1
    USAGE = 2
    REFUSED = 3
    UNAVAILABLE = 4
    UNREACHABLE = 5
    INTERRUPTED = 130


_REFUSALS = frozenset(
    {
        Code.INVALID_ARGUMENT,
        Code.NOT_FOUND,
        Code.ALREADY_EXISTS,
        Code.OUT_OF_RANGE,
        Code.FAILED_PRECONDITION,
        Code.UNIMPLEMENTED,
        Code.PERMISSION_DENIED,
        Code.UNAUTHENTICATED,
    }
)


class CommandError(click.ClickException):
    """Ends a command: one line of what is wrong, one of what to do, and the exit code."""

    def __init__(self, message: str, *, code: Exit, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint

    @property
    def exit_code(self) -> int:  # type: ignore[override] # click has a class variable here
        """The code as click reads it."""
        return self.code

    def show(self, file: IO[Any] | None = None) -> None:
        """Write both lines to stderr."""
        click.echo(f"trinity: {printable(self.message)}", err=True, file=file)
        if self.hint:
            click.echo(f"  {self.hint}", err=True, file=file)


def exit_of(error: TrinityError) -> Exit:
    """The exit code that fits an error of the mesh."""
    if error.reason in (Reason.BACKEND_UNAVAILABLE, Reason.DEADLINE_EXCEEDED):
        return Exit.UNREACHABLE
    if error.row.code in _REFUSALS:
        return Exit.REFUSED
    if error.row.code in (Code.INTERNAL, Code.UNKNOWN, Code.DATA_LOSS):
        return Exit.BUG
    return Exit.UNAVAILABLE


@contextlib.contextmanager
def asking(where: str) -> Iterator[None]:
    """Turn an error of the mesh into the end of the command; `where` names who is asked."""
    try:
        yield
    except TrinityError as error:
        raise command_error(error, where) from error


def command_error(error: TrinityError, where: str) -> CommandError:
    """The end of a command that asked `where` and met this error."""
    code = exit_of(error)
    if code is Exit.UNREACHABLE:
        why = "did not answer in time" if error.reason is Reason.DEADLINE_EXCEEDED else "cannot be reached"
        return CommandError(
            f"{where} {why}",
            code=code,
            hint=error.message
            if is_explained(error.message)
            else "is the mesh running? `trinity up` starts it, `trinity check` says what is wrong with it",
        )
    retry_ms = error.retry_after_ms
    return CommandError(
        error.message, code=code, hint="" if retry_ms is None else f"try again in {retry_ms / 1_000:g} s"
    )


def printable(text: str) -> str:
    """The text without what a terminal would obey: much of it comes from strangers."""
    return text if text.isprintable() else "".join(character if character.isprintable() else "?" for character in text)
