"""The socket of a client of datagrams, and the questions that wait for what comes out of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trinity_core.udp_frame import Frame


@dataclass(slots=True, eq=False)
class Question:
    """What is asked until it is answered, by any of its tries."""

    take: Callable[[Frame], bool]
    """Takes a reply; True once nothing more is wanted."""
    done: asyncio.Event
    cookied: bool = False
    complete: bool = False
    refused: bool = False


class Link(asyncio.DatagramProtocol):
    """One socket, connected to one gateway."""

    def __init__(self, receive: Callable[[bytes], None]) -> None:
        self._receive = receive
        self._transport: Any = None
        self.waiting: set[Question] = set()
        """Questions that a reply is awaited for."""

    def connection_made(self, transport: Any) -> None:
        """The socket is open."""
        self._transport = transport

    def send(self, datagram: bytes, question: Question) -> None:
        """Send a try of a question."""
        self.waiting.add(question)
        self._transport.sendto(datagram)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Something came."""
        self._receive(data)

    def error_received(self, exc: Exception) -> None:
        """The network says that nobody listens there."""
        for question in self.waiting:
            question.refused = True
            question.done.set()

    def close(self) -> None:
        """Close the socket."""
        self._transport.close()
