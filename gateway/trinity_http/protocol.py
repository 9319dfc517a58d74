"""uvicorn's HTTP and WebSocket protocols under guard: deadlines, bounds, and errors in our own form.

The classes are the seam of uvicorn's `Config(http=…, ws=…)`. What uvicorn answers by
itself in plain text (a request it cannot parse, a handshake that is none) is answered
here as google.rpc.Status, like every other error.
"""

from __future__ import annotations

import asyncio
import http
import os
import socket
from enum import Enum
from typing import Any, Final

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from trinity_core.errors import Reason, TrinityError
from trinity_http.failures import Failures
from trinity_http.guard import NEVER, ConnectionGuard
from trinity_http.trailers import TrailingApp


class Inbound(Enum):
    """Where the client is in sending its request."""

    HEAD = "the head is awaited, or has begun"
    BODY = "the head is there, the body is not yet"
    DONE = "the request is there as a whole"


class GuardedHttp(HttpToolsProtocol):
    """One HTTP connection."""

    def __init__(self, *args: Any, guard: ConnectionGuard, failures: Failures, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._guard = guard
        self._limits = guard.limits
        self._failures = failures
        self._address = ""
        self._entered = False
        self._refused = False
        self._unread: TrinityError | None = None
        """Why what came behind the request under way cannot be read; told once that one is answered."""
        self._inbound = Inbound.HEAD
        self._inbound_due_ns = NEVER
        self._outbound_due_ns = NEVER
        self._head_bytes = 0
        """Of the head being read: what is parsed of it."""
        self._raw_bytes = 0
        """Of a head that is not whole: what came of it in reads of its own."""

    @property
    def due_ns(self) -> int:
        """When the client must have sent or taken something."""
        return min(self._inbound_due_ns, self._outbound_due_ns)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Enter the guard; one connection too many is told so and closed."""
        super().connection_made(transport)
        self._address = self.client[0] if self.client else ""
        transport.set_write_buffer_limits(high=self._limits.write_buffer_bytes)
        self._entered = True
        self._inbound_due_ns = self._guard.after(self._limits.head_ms)
        error = self._guard.enter(self, self._address)
        if error is not None:
            self._answer(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave the guard."""
        self._leave()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Let uvicorn parse, and bound a head that does not end."""
        if self._refused or self._unread is not None:
            return
        in_head = self._inbound is Inbound.HEAD
        super().data_received(data)
        if self._inbound is not Inbound.HEAD:
            self._raw_bytes = 0
        elif in_head:
            self._raw_bytes += len(data)
            if self._raw_bytes > self._limits.head_bytes_max:
                self._too_large()

    def on_message_begin(self) -> None:
        """The head of a request begins."""
        super().on_message_begin()
        self._inbound = Inbound.HEAD
        self._head_bytes = 0
        self._inbound_due_ns = self._guard.after(self._limits.head_ms)

    def on_url(self, url: bytes) -> None:
        """Count the request line, and let no fragment pass: it is no part of a target (RFC 9112, 3.2)."""
        self._head_bytes += len(url)
        if b"#" in url:
            raise ValueError("the target has a fragment")  # The parser stops, and the request is malformed.
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header."""
        self._head_bytes += len(name) + len(value) + _HEADER_MARKS
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head ends; the body, if there is one, begins."""
        self._inbound = Inbound.BODY
        if self._refused:
            return
        if self._head_bytes > self._limits.head_bytes_max:
            self._too_large()
            return
        self._inbound_due_ns = self._guard.after(self._limits.body_ms)
        super().on_headers_complete()
        if self._guard.draining and self._cycle is not None:
            self._cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Pass the body on, unless the request was refused."""
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The client has said all: now it is for us to act."""
        self._inbound = Inbound.DONE
        if self._refused:
            return
        super().on_message_complete()
        resting = self._cycle is not None and self._cycle.response_complete
        self._inbound_due_ns = self._guard.after(self._limits.idle_ms) if resting else NEVER

    def on_response_complete(self) -> None:
        """The connection rests until the next request, unless that has begun or waits already."""
        super().on_response_complete()
        if self._unread is not None:
            if not self.pipeline and not self.transport.is_closing():
                self._answer(self._unread)
        elif self._inbound is Inbound.DONE and not self.pipeline:
            self._inbound_due_ns = self._guard.after(self._limits.idle_ms)

    def shutdown(self) -> None:
        """Make the next answer the connection's last; one that rests may ask once more, for a moment.

        A connection closed at once would be reset under a request that is on its way.
        """
        cycle = self._cycle
        if cycle is not None and not cycle.response_complete:
            super().shutdown()
        else:
            self._inbound_due_ns = min(self._inbound_due_ns, self._guard.after(_LAST_CALL_MS))

    def pause_writing(self) -> None:
        """The client takes nothing."""
        super().pause_writing()
        self._outbound_due_ns = self._guard.after(self._limits.write_stall_ms)

    def resume_writing(self) -> None:
        """The client takes something again."""
        super().resume_writing()
        self._outbound_due_ns = NEVER

    def overdue(self) -> None:
        """A slow request is told so; a client that takes no answer is cut off; a resting connection is closed."""
        stalled = self._outbound_due_ns <= self._inbound_due_ns
        self._inbound_due_ns = self._outbound_due_ns = NEVER
        cycle = self._cycle
        if self._refused:
            self.transport.close()
        elif stalled:
            self.transport.abort()
        elif self._inbound is Inbound.BODY and cycle is not None and not cycle.response_started:
            self._answer(_SLOW_BODY)
        elif self._inbound is Inbound.HEAD and self._raw_bytes and (cycle is None or cycle.response_complete):
            self._answer(_SLOW_HEAD)
        else:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """What cannot be parsed is answered in our form, after what came before it and could be."""
        if self._refused:
            return
        self._guard.malformed += 1
        error = TrinityError(Reason.INVALID_REQUEST, "this is not an HTTP request that can be read")
        cycle = self._cycle
        if self._inbound is not Inbound.BODY and cycle is not None and not cycle.response_complete:
            self._unread = error
        else:
            self._answer(error)

    def handle_websocket_upgrade(self) -> None:
        """The WebSocket protocol takes the connection over, and its place under the guard."""
        self._leave()
        super().handle_websocket_upgrade()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Let the application send trailers."""
        super()._start_asgi_task(cycle, TrailingApp(cycle, app))

    def _unsupported_upgrade_warning(self) -> None:
        """An upgrade we do not know is ignored, as RFC 9110 allows, without a line in the log."""

    @property
    def _cycle(self) -> RequestResponseCycle | None:
        return self.cycle

    def _leave(self) -> None:
        if self._entered:
            self._entered = False
            self._guard.leave(self, self._address)

    def _too_large(self) -> None:
        most = self._limits.head_bytes_max
        self._answer(TrinityError(Reason.HEADERS_TOO_LARGE, f"the request's head is greater than {most} bytes"))

    def _answer(self, error: TrinityError) -> None:
        """Answer in the application's place where it has not begun to, and close.

        What the client is still sending is read and dropped for a moment: a connection closed
        over unread bytes is reset, and the answer lost with it.
        """
        self._refused = True
        self._inbound_due_ns = self._outbound_due_ns = self._guard.after(_LINGER_MS)
        cycle = self._cycle
        if cycle is not None and not cycle.response_started:
            # The application is at work on a request that goes wrong; it must not answer after us.
            cycle.disconnected = True
            cycle.message_event.set()
        if cycle is None or cycle.response_complete or not cycle.response_started:
            request_id = os.urandom(16).hex()
            failure = self._failures.of(error, request_id)
            headers = [
                *failure.answer().headers,
                (b"content-length", b"%d" % len(failure.body)),
                (b"x-request-id", request_id.encode("ascii")),
                (b"connection", b"close"),
            ]
            first = b"HTTP/1.1 %d %s" % (failure.http_status, _phrase(failure.http_status))
            lines = [first, *(name + b": " + value for name, value in headers)]
            self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + failure.body)
            if self.transport.can_write_eof():
                self.transport.write_eof()
                return
        self.transport.close()


class GuardedSocket(WebSocketsSansIOProtocol):
    """One WebSocket connection."""

    def __init__(self, *args: Any, guard: ConnectionGuard, failures: Failures, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.due_ns = NEVER
        self._guard = guard
        self._failures = failures
        self._address = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Enter the guard; the connection was counted already as HTTP, so it is not refused here."""
        super().connection_made(transport)
        self._address = self.client[0] if self.client else ""
        self._guard.enter(self, self._address)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave the guard."""
        self._guard.leave(self, self._address)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client takes nothing."""
        super().pause_writing()
        self.due_ns = self._guard.after(self._guard.limits.write_stall_ms)

    def resume_writing(self) -> None:
        """The client takes something again."""
        super().resume_writing()
        self.due_ns = NEVER

    def overdue(self) -> None:
        """Cut the connection off."""
        self.due_ns = NEVER
        self.transport.abort()

    def handle_connect(self, event: Request) -> None:
        """Answer a handshake that is none in our own form."""
        response = self.conn.accept(event)
        if response.status_code == http.HTTPStatus.SWITCHING_PROTOCOLS:
            super().handle_connect(event)
            return
        request_id = os.urandom(16).hex()
        error = TrinityError(Reason.INVALID_REQUEST, "this is not a WebSocket handshake that can be read")
        failure = self._failures.of(error, request_id)
        headers = Headers({"X-Request-Id": request_id, "Connection": "close", "Content-Length": str(len(failure.body))})
        headers.update({name.decode("ascii"): value.decode("ascii") for name, value in failure.answer().headers})
        self.handshake_complete = self.close_sent = True
        self.conn.send_response(Response(response.status_code, response.reason_phrase, headers, failure.body))
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.transport.close()


def bound_send_buffer(listener: socket.socket, size: int) -> None:
    """Bound the kernel's buffer of every connection that a listening socket takes."""
    if size and listener.family != socket.AF_UNIX:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)


def _phrase(status: int) -> bytes:
    return http.HTTPStatus(status).phrase.encode("ascii")


_HEADER_MARKS: Final = 4
"""Colon, space and line end of one header."""
_LINGER_MS: Final = 1_000
_LAST_CALL_MS: Final = 1_000
"""How long a connection that rests may still ask once the server stops."""
_SLOW_HEAD: Final = TrinityError(Reason.REQUEST_TOO_SLOW, "the request's head took too long to arrive")
_SLOW_BODY: Final = TrinityError(Reason.REQUEST_TOO_SLOW, "the request's body took too long to arrive")
