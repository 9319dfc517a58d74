"""The client's half of USAGE: the totals of a session's key."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from trinity_cli.exits import command_error
from trinity_cli.output import Column, Output
from trinity_cli.target import Target
from trinity_cli.udp_exchange import exchange, parse_error
from trinity_cli.udp_session import Session
from trinity_core.errors import TrinityError

_MARK = "1"
_COLUMNS = (
    Column("BILLED TODAY", right=True, needed=True),
    Column("BILLED THIS MONTH", right=True, needed=True),
    Column("QUOTA LEFT", right=True, needed=True),
    Column("AT"),
)


@dataclass(frozen=True, slots=True)
class Told:
    """An answer with totals."""

    day: int
    month: int
    left: int | None
    """None where nothing bounds it."""
    unix_s: int

    @property
    def time(self) -> str:
        """When they were read, RFC 3339."""
        return datetime.fromtimestamp(self.unix_s, UTC).isoformat().replace("+00:00", "Z")


def parse_usage(line: bytes) -> tuple[str, Told | TrinityError] | None:
    """The id of an answer and what it says; None for anything that is no answer to USAGE."""
    try:
        words = line.decode("ascii").split()
        if len(words) != 7 or words[0] != "OK" or words[2] != "USAGE":
            return parse_error(line)
        day, month, left = (
            word.removeprefix(name) for word, name in zip(words[3:6], ("day=", "month=", "left="), strict=True)
        )
        return words[1], Told(int(day), int(month), None if left == "-" else int(left), int(words[6]))
    except ValueError:
        return None


def show_usage(target: Target, session: Session, output: Output, *, timeout_s: float, tries: int) -> None:
    """Ask for the totals of the session's key and print them. Raises CommandError."""
    questions = {_MARK: lambda: session.sign(f"USAGE id={_MARK}")}
    answers = asyncio.run(exchange(target, "udp_reports", questions, parse_usage, timeout_s=timeout_s, tries=tries))
    told = answers[_MARK]
    if isinstance(told, TrinityError):
        raise command_error(told, target.where("udp_reports"))
    if output.as_json:
        output.document(_json(told))
    else:
        left = "no bound" if told.left is None else str(told.left)
        output.table(_COLUMNS, [(str(told.day), str(told.month), left, told.time)])


def _json(told: Told) -> dict[str, Any]:
    """As ProtoJSON would have it; `unlimited` and `remaining` are those of trinity.usage.v1.GetQuotaResponse."""
    return {
        "billedToday": str(told.day),
        "billedThisMonth": str(told.month),
        "unlimited": told.left is None,
        "remaining": str(told.left or 0),
        "readTime": told.time,
    }
