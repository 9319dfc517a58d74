"""One open socket to a venue: how it is opened, bounded and closed. Only this module knows websockets.

What websockets raises is renamed here: `Refused` when no socket could be opened, `Ended`
when an open one is gone.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import partial
from typing import Final, cast

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from trinity_feeds.session import Session
from trinity_feeds.terms import Close

_RETRY_AFTER_S_MAX: Final = 300
"""A venue's Retry-After is obeyed up to this."""
_REASON_BYTES_MAX: Final = 123
"""RFC 6455, section 5.5: a control frame holds 125 bytes, two of them the code."""
_USER_AGENT: Final = "trinity-beast"


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketSettings:
    """What may be set about every socket."""

    open_timeout_ms: int = 10_000
    """TCP, TLS and the opening handshake together."""
    send_timeout_ms: int = 5_000
    """A venue that takes no frame of ours for so long is given up."""
    close_timeout_ms: int = 1_000
    """How long a venue may take to answer a closing handshake; then the socket is dropped."""
    queue_len_max: int = 256
    """Frames read ahead of the session; above it the socket is not read, so that TCP slows the venue."""
    overlap_ms: int = 60_000
    """A connection that its venue announced to cut is kept beside its successor for at most this long."""
    compress: bool = False
    """Offer permessage-deflate: less traffic for more CPU time a frame."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name != "compress" and getattr(self, field.name) < 1:
                raise ValueError(f"{field.name} must be at least 1, not {getattr(self, field.name)}")


class Refused(Exception):  # noqa: N818 - what happened, not an error of ours
    """No socket could be opened."""

    def __init__(self, words: str, *, retry_after_s: int = 0) -> None:
        super().__init__(words)
        self.retry_after_s = retry_after_s
        """Seconds that the venue asked to wait, within bounds; 0 where it did not."""


class Ended(Exception):  # noqa: N818 - likewise
    """The socket is gone; `code` is the close code, 1006 where there was none."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


class Link:
    """One socket and the session that speaks on it."""

    __slots__ = ("_socket", "assets", "healthy", "leave_by_ns", "receive", "retired", "session", "unneeded", "why")

    def __init__(self, *, session: Session, socket: ClientConnection) -> None:
        self._socket = socket
        self.session = session
        self.receive = cast("Callable[[], Awaitable[bytes]]", partial(socket.recv, decode=False))
        """The next frame, text or binary, as bytes. To be awaited inside `renamed`; safe to cancel."""
        self.unneeded = asyncio.Event()
        """A successor may be opened: the socket ended, or its venue announced that it will."""
        self.leave_by_ns: int | None = None
        """Set once the venue announced the cut: the latest time to close."""
        self.healthy = False
        """Ticks came."""
        self.retired = False
        """A successor took over; close."""
        self.assets: set[str] = set()
        """Assets delivered while a predecessor still stands."""
        self.why: Close | None = None
        """The close that the session asked for."""

    async def send(self, text: str, *, timeout_ms: int) -> None:
        """Send a text frame. Raises Ended, also when the venue takes nothing for `timeout_ms`."""
        try:
            with renamed():
                async with asyncio.timeout(timeout_ms / 1_000):
                    await self._socket.send(text)
        except TimeoutError:
            self.abort()
            raise Ended(1006, "the venue takes nothing any more") from None

    async def close(self, code: int, reason: str) -> None:
        """Close with a handshake, within `close_timeout_ms`; harmless when closed already.

        A code that a client may not send is replaced by 1000, a reason too long is cut.
        """
        allowed = code in (1000, 1001) or 3000 <= code <= 4999
        await self._socket.close(code if allowed else 1000, reason.encode()[:_REASON_BYTES_MAX].decode(errors="ignore"))

    def abort(self) -> None:
        """Drop the socket without a word; harmless when closed already."""
        self._socket.transport.abort()


async def open_link(*, session: Session, url: str, settings: SocketSettings, tls: ssl.SSLContext | None) -> Link:
    """Open a socket for a session. `tls` MUST be given for a wss address, and for no other. Raises Refused."""
    try:
        socket = await connect(
            url,
            compression="deflate" if settings.compress else None,
            user_agent_header=_USER_AGENT,
            proxy=None,
            open_timeout=settings.open_timeout_ms / 1_000,
            close_timeout=settings.close_timeout_ms / 1_000,
            # Sessions keep their venue's own kind of keepalive and judge silence by it.
            ping_interval=None,
            max_size=session.settings.frame_bytes_max,
            max_queue=settings.queue_len_max,
            ssl=tls,
        )
    except (OSError, WebSocketException) as error:
        words = f"could not connect: {str(error) or type(error).__name__}"
        raise Refused(words, retry_after_s=_retry_after_s(error)) from error
    return Link(session=session, socket=socket)


@contextmanager
def renamed() -> Iterator[None]:
    """Inside it, the end of a socket is `Ended`."""
    try:
        yield
    except ConnectionClosed as error:
        end = error.rcvd or error.sent
        if end is None:
            raise Ended(1006, "the connection was lost") from error
        raise Ended(end.code, end.reason) from error


def _retry_after_s(error: Exception) -> int:
    after = error.response.headers.get("Retry-After", "") if isinstance(error, InvalidStatus) else ""
    return min(int(after[:6]), _RETRY_AFTER_S_MAX) if after.isascii() and after.isdigit() else 0
