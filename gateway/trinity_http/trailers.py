"""Trailers of a chunked answer (RFC 9112, section 7.1.2): the ASGI extension `http.response.trailers` for uvicorn.

uvicorn writes the last chunk with the last of the body, and has no room after it. Here the
last chunk of an answer that announced trailers waits for them, so that one whose trailers
never come has no last chunk either, and is incomplete for its client.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Sequence
from typing import Any, Final

from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from trinity_http.request import TRAILERS


class TrailingApp:
    """An application that may send trailers, for one request of a connection."""

    __slots__ = ("_app", "_awaited", "_cycle", "_lines")

    def __init__(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._cycle = cycle
        self._app = app
        self._awaited = False
        self._lines = b""

    def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> Awaitable[None]:
        """Serve the request."""
        scope["extensions"] = {TRAILERS: {}}  # type: ignore[typeddict-unknown-key]
        return self._app(scope, receive, self._send)

    def _send(self, message: Any) -> Awaitable[None]:
        """Send what the application says; answers without trailers cost nothing but this look."""
        if self._awaited:
            return self._send_awaited(message)
        if message["type"] == "http.response.start" and message.get("trailers", False):
            self._awaited = True
        return self._cycle.send(message)

    async def _send_awaited(self, message: Any) -> None:
        cycle = self._cycle
        # Without chunks (HEAD, a Content-Length) there is no place for trailers: such an answer ends with its body.
        if message["type"] != TRAILERS:
            more = self._has_place or message.get("more_body", False)
            message["more_body"] = more
            await cycle.send(message)
        elif self._has_place and not cycle.response_complete:
            self._lines += _lines(message.get("headers", ()))
            if not message.get("more_trailers", False):
                await self._finish()

    @property
    def _has_place(self) -> bool:
        return bool(self._cycle.chunked_encoding)

    async def _finish(self) -> None:
        """Write the last chunk with its trailers, and end the answer as uvicorn does."""
        cycle = self._cycle
        if cycle.flow.write_paused and not cycle.disconnected:
            await cycle.flow.drain()
        if cycle.disconnected:
            return
        cycle.transport.write(b"0\r\n" + self._lines + b"\r\n")
        cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()


def _lines(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    lines = []
    for name, value in headers:
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError(f"{name!r} is no trailer, or its value none")
        lines.append(name + b": " + value + b"\r\n")
    return b"".join(lines)


_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
