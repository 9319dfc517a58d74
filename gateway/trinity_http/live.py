"""Streams that are made in this process: what the bridge asks of whoever makes them."""

from __future__ import annotations

from typing import Protocol

import msgspec
from google.protobuf.message import Message

from trinity_core.errors import TrinityError
from trinity_http.upstream import Pause


class Item(msgspec.Struct, frozen=True, gc=False):
    """One message of a stream, as JSON."""

    body: bytes
    event_id: str | None


class LiveStream(Protocol):
    """One stream; it looks to the bridge as a call that streams responses does."""

    async def next(self, wait_s: float) -> Item | Pause:
        """The next message, or why there is none within `wait_s` seconds. MUST fold what a slow reader missed.

        Raises TrinityError when the stream fails, or was ended for that reason.
        """
        ...

    def end(self, why: TrinityError | Pause) -> None:
        """End the stream; `next` then says why. The first reason counts."""
        ...

    async def close(self) -> None:
        """Let go of what the stream holds."""
        ...


class LiveStreams(Protocol):
    """Makes streams of some methods."""

    def open(self, method: str, request: Message) -> LiveStream | None:
        """A stream for a request that passed validation; None to ask the service.

        `method` is a full name. Raises TrinityError to refuse.
        """
        ...
