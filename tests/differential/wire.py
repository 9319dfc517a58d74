"""Requests as bytes that no client library mends, and their answers, over kept connections."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import h11


@dataclass(frozen=True, slots=True)
class Ask:
    """One request."""

    method: str
    target: bytes
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    chunked: bool = False
    """The body is sent in two chunks instead of with its length."""


@dataclass(frozen=True, slots=True)
class Got:
    """One answer."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    whole: bool = True
    """Its body came to its end."""


class Wire:
    """One connection to one server, opened again when the server closes it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, ask: Ask) -> Got:
        """The answer; an incomplete one where the server breaks off."""
        for attempt in (1, 2):
            kept = self._streams is not None
            try:
                return await self._ask(ask)
            except ConnectionError:
                self.close()
                if attempt == 2 or not kept:
                    raise
        raise AssertionError

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _ask(self, ask: Ask) -> Got:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(_bytes(ask))
        parser = h11.Connection(h11.CLIENT)
        # What h11 would not send is sent nevertheless; it only has to know what kind of answer to expect.
        parser.send(h11.Request(method=ask.method, target="/", headers=[("host", "x")]))
        parser.send(h11.EndOfMessage())
        status, headers, parts = 0, {}, []
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                try:
                    data = await reader.read(1 << 16)
                except ConnectionError:
                    data = b""
                if not data and not status:
                    raise ConnectionResetError
                try:
                    parser.receive_data(data)
                    if not data:
                        event = parser.next_event()
                except h11.RemoteProtocolError:
                    self.close()
                    return Got(status, headers, b"".join(parts), whole=False)
                if event is h11.NEED_DATA:
                    continue
            if isinstance(event, h11.Response):
                status = event.status_code
                headers = {name.decode(): value.decode("latin-1") for name, value in event.headers}
            elif isinstance(event, h11.Data):
                parts.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                if parser.our_state is h11.MUST_CLOSE or parser.their_state is h11.MUST_CLOSE:
                    self.close()
                return Got(status, headers, b"".join(parts))
            elif isinstance(event, h11.ConnectionClosed):
                self.close()
                return Got(status, headers, b"".join(parts), whole=False)


def _bytes(ask: Ask) -> bytes:
    lines = [ask.method.encode() + b" " + ask.target + b" HTTP/1.1", b"host: atlas.test"]
    lines += [f"{name}: {value}".encode() for name, value in ask.headers]
    names = {name.lower() for name, _ in ask.headers}
    if ask.chunked:
        half = len(ask.body) // 2
        body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (ask.body[:half], ask.body[half:]) if part)
        return b"\r\n".join([*lines, b"transfer-encoding: chunked", b"", body + b"0\r\n\r\n"])
    if (ask.body or ask.method in ("POST", "PUT", "PATCH")) and "content-length" not in names:
        lines.append(b"content-length: %d" % len(ask.body))
    return b"\r\n".join([*lines, b"", ask.body])
