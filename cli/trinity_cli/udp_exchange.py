"""The client's half of a datagram exchange: questions out, answers by their ids in, again when one is lost."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, Generic, TypeVar

import click

from trinity_cli.exits import CommandError, Exit
from trinity_cli.target import Target
from trinity_core.errors import Reason, TrinityError

T = TypeVar("T")

Parse = Callable[[bytes], tuple[str, T | TrinityError] | None]
"""The id of an answer and what it says; None for a line that is none."""

_OWN_REASONS: Final = {
    "SESSION": (Reason.MISSING_KEY, "SESSION: only a line with a session is answered that"),
    "PRICES": (Reason.UNKNOWN_PATH, "PRICES: only the port for prices answers that"),
    "REPORTS": (Reason.UNKNOWN_PATH, "REPORTS: only the port for reports answers that"),
}
"""Reasons that datagrams alone have."""


async def exchange(
    target: Target,
    part: str,
    questions: Mapping[str, Callable[[], bytes]],
    parse: Parse[T],
    *,
    timeout_s: float,
    tries: int,
) -> dict[str, T | TrinityError]:
    """What the endpoint `part` ("udp", "udp_reports") of a mesh answers to each question, by its id.

    A question makes a new datagram for each try; what was answered is not asked again.
    Raises CommandError (5) when nothing at all is answered.
    """
    transport, client = await _connect(target, part, questions, parse)
    try:
        for _ in range(tries):
            for mark, question in questions.items():
                if mark not in client.results:
                    transport.sendto(question())
            try:
                async with asyncio.timeout(timeout_s):
                    await client.complete.wait()
            except TimeoutError:
                continue
            break
    finally:
        transport.close()
    if not client.results:
        why = "nobody listens there" if client.refused else f"no answer to {tries} tries of {timeout_s:g} s"
        raise CommandError(
            f"{target.where(part)}: {why}",
            code=Exit.UNREACHABLE,
            hint="is the mesh running? `trinity up` starts it, `trinity check` says what is wrong with it",
        )
    return client.results


def parse_error(line: bytes) -> tuple[str, TrinityError] | None:
    """The id and the reason of an answer that is an error; None for anything else."""
    try:
        words = line.decode("ascii").split()
        if len(words) < 3 or words[0] != "ERR":
            return None
        if words[2] in _OWN_REASONS:
            return words[1], TrinityError(*_OWN_REASONS[words[2]])
        return words[1], TrinityError(Reason(words[2]), " ".join(words[2:]))
    except ValueError:
        return None


class _Client(asyncio.DatagramProtocol, Generic[T]):
    """Collects answers by their id."""

    def __init__(self, wanted: Collection[str], parse: Parse[T]) -> None:
        self.results: dict[str, T | TrinityError] = {}
        self.refused = False
        self.complete = asyncio.Event()
        self._wanted = frozenset(wanted)
        self._parse = parse

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Take every line that answers one of our questions."""
        for line in data.splitlines():
            answer = self._parse(line)
            if answer is not None and answer[0] in self._wanted:
                self.results[answer[0]] = answer[1]
        if len(self.results) == len(self._wanted):
            self.complete.set()

    def error_received(self, exc: Exception) -> None:
        """The network says that nobody listens there."""
        self.refused = True
        self.complete.set()


async def _connect(
    target: Target, part: str, marks: Collection[str], parse: Parse[T]
) -> tuple[asyncio.DatagramTransport, _Client[T]]:
    address = target.need(part)
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise click.BadOptionUsage("address", f"{address!r} is no address; write it as 127.0.0.1:2679")
    try:
        return await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Client(marks, parse), remote_addr=(host.strip("[]"), int(port)), proto=socket.IPPROTO_UDP
        )
    except (OSError, OverflowError) as error:
        raise CommandError(
            f"{target.where(part)}: {error}", code=Exit.UNREACHABLE, hint="name another with --address host:port"
        ) from error
