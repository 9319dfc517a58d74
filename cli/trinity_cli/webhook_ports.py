"""The ports of a local receiver: HTTP/1.1 with or without TLS, and datagrams; within bounds, as receivers should be."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from typing import Any, Final, cast

import httptools

from trinity_cli.webhook_receiver import Answer, Receiver

_HEAD_MAX: Final = 16_384
_BODY_MAX: Final = 1_048_576
_IDLE_S: Final = 75.0
Place = tuple[str, int]


@contextlib.asynccontextmanager
async def http_port(
    place: Place, receiver: Receiver, *, delay_s: float, context: ssl.SSLContext | None
) -> AsyncIterator[Place]:
    """Listen for deliveries over HTTP; yields the address that was bound. Raises OSError."""
    open_now: set[_Http] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Http(receiver, delay_s, open_now), *place, ssl=context)
    try:
        yield server.sockets[0].getsockname()[:2]
    finally:
        server.close()
        for connection in [*open_now]:
            connection.abort()
        await server.wait_closed()


@contextlib.asynccontextmanager
async def udp_port(place: Place, receiver: Receiver, *, delay_s: float) -> AsyncIterator[Place]:
    """Listen for datagrams; yields the address that was bound. Raises OSError."""
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Datagrams(receiver, delay_s), local_addr=place
    )
    try:
        yield transport.get_extra_info("sockname")[:2]
    finally:
        transport.abort()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, receiver: Receiver, delay_s: float) -> None:
        self._receiver = receiver
        self._delay_s = delay_s

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        reply = self._receiver.datagram(data)
        if reply:
            _later(self._delay_s, lambda: self._transport.sendto(reply, addr))


class _Http(asyncio.Protocol):
    """One connection; requests are answered in their order."""

    def __init__(self, receiver: Receiver, delay_s: float, open_now: set[_Http]) -> None:
        self._receiver = receiver
        self._delay_s = delay_s
        self._open_now = open_now
        self._parser = httptools.HttpRequestParser(self)
        self._idle: asyncio.TimerHandle | None = None
        self._begin()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._open_now.add(self)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._open_now.discard(self)
        if self._idle is not None:
            self._idle.cancel()

    def data_received(self, data: bytes) -> None:
        self._wait()
        self._size += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._refuse(HTTPStatus.BAD_REQUEST)
            return
        if self._size > _HEAD_MAX + _BODY_MAX:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)

    def on_message_begin(self) -> None:
        self._begin()

    def on_url(self, url: bytes) -> None:
        self._path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self._size = 0
        keep = self._parser.should_keep_alive()
        if self._parser.get_method() != b"POST":
            answer = Answer(status=HTTPStatus.METHOD_NOT_ALLOWED, fields={"allow": "POST"})
        else:
            answer = self._receiver.posted(self._path.decode("latin-1"), self._fields, b"".join(self._body))
        if answer.status:
            _later(self._delay_s, lambda: self._send(answer, keep=keep))

    def _send(self, answer: Answer, *, keep: bool) -> None:
        if self._transport.is_closing():
            return
        status = HTTPStatus(answer.status)
        fields = dict(answer.fields)
        if status is not HTTPStatus.NO_CONTENT:
            fields["content-length"] = str(len(answer.body))
        if not keep:
            fields["connection"] = "close"
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self._transport.write(f"HTTP/1.1 {status.value} {status.phrase}\r\n{head}\r\n".encode("ascii") + answer.body)
        if not keep:
            self._transport.close()

    def _refuse(self, status: HTTPStatus) -> None:
        self._send(Answer(status=status), keep=False)

    def _wait(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(_IDLE_S, self.abort)

    def _begin(self) -> None:
        self._size = 0
        self._path = b""
        self._fields: dict[str, str] = {}
        self._body: list[bytes] = []


def _later(delay_s: float, act: Callable[[], object]) -> None:
    if delay_s:
        asyncio.get_running_loop().call_later(delay_s, act)
    else:
        act()
