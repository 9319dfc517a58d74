"""Receivers that do as a test says, on real sockets, and the sender that posts to them."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trinity_core.webhook_addresses import AddressPolicy
from trinity_core.webhook_urls import Target, read_url
from trinity_mesh.clock import SystemClock
from trinity_webhook.https_sender import HttpsSender
from trinity_webhook.sender_config import SenderConfig
from trinity_webhook.sending import Posting, Sent
from webhook.authority import Authority

NAME = "hooks.acme.example"
ENDPOINT = "whe_0123456789abcdefghijklmn"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
POLICY = AddressPolicy(loopback=True)
Script = Callable[["Peer"], Awaitable[None]]


@dataclass
class Peer:
    """One connection to a receiver."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    receiver: Receiver

    async def request(self) -> tuple[str, dict[str, str], bytes]:
        """The next request: its first line, its fields, its body. EOFError at the end."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("ascii")
        first, *lines = head.rstrip().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines)
        assert len(fields) == len(lines)
        body = await self.reader.readexactly(int(fields["content-length"]))
        found = first, fields, body
        self.receiver.requests.append(found)
        return found

    async def send(self, data: bytes) -> None:
        """Write bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()


@dataclass
class Receiver:
    """Listens on 127.0.0.1 and plays a script on every connection; it ends by closing it."""

    script: Script
    context: ssl.SSLContext | None = None
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    connections: int = 0
    names: list[str | None] = field(default_factory=list)
    """Names that handshakes asked for."""
    port: int = 0

    @contextlib.asynccontextmanager
    async def listening(self, address: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Receiver]:
        if self.context is not None:
            self.context.sni_callback = lambda _socket, name, _context: self.names.append(name)
        tasks: set[asyncio.Task[Any]] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            self.connections += 1
            try:
                with contextlib.suppress(EOFError, ConnectionError):
                    await self.script(Peer(reader, writer, self))
            except asyncio.CancelledError:
                writer.transport.abort()
            else:
                writer.close()
            tasks.discard(task)

        server = await asyncio.start_server(serve, address, port, ssl=self.context)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await server.wait_closed()
            await asyncio.gather(*tasks, return_exceptions=True)

    def target(self, host: str = NAME, path: str = "/prices?of=all") -> Target:
        scheme = "http" if self.context is None else "https"
        return read_url(f"{scheme}://{host}:{self.port}{path}", policy=POLICY, loopback=True)


@dataclass
class Names:
    """A resolver by hand: each look-up takes the next answer of a name, and the last one stays."""

    answers: dict[str, list[Sequence[str]]]
    asked: list[str] = field(default_factory=list)

    async def resolve(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        answers = self.answers.get(host)
        if answers is None:
            raise OSError("no such name")
        return answers.pop(0) if len(answers) > 1 else answers[0]


@dataclass
class Stage:
    """A sender and receivers of one test."""

    stack: AsyncExitStack
    authority: Authority
    names: Names = field(default_factory=lambda: Names({NAME: [["127.0.0.1"]]}))

    async def receiver(self, script: Script, *names: str, tls: bool = True, **more: Any) -> Receiver:
        context = self.authority.server(*(names or (NAME,)), **more) if tls else None
        return await self.stack.enter_async_context(Receiver(script, context).listening())

    async def sender(self, policy: AddressPolicy = POLICY, clock: Any = None, **settings: Any) -> HttpsSender:
        config = SenderConfig(**{"ca_file": self.authority.ca_file, **settings})
        sender = HttpsSender(config, policy=policy, clock=clock or SystemClock(), resolver=self.names)
        return await self.stack.enter_async_context(sender)

    async def post(self, script: Script, **settings: Any) -> Sent:
        """What becomes of one posting to a receiver that plays a script."""
        receiver = await self.receiver(script)
        sender = await self.sender(**settings)
        return await sender.post(ENDPOINT, receiver.target(), posting())


@contextlib.asynccontextmanager
async def staged(folder: Path) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        yield Stage(stack, Authority(folder))


def posting(message: str = "msg_1", body: bytes = b'{"type":"webhook.test"}') -> Posting:
    return Posting(message, 1_767_322_800, "v1,c2lnbmVk", body)


async def answering(peer: Peer) -> None:
    """Answer every request well."""
    while True:
        await peer.request()
        await peer.send(OK)


def saying(*parts: bytes, close: bool = True) -> Script:
    """Answer the first request with these bytes, and then close, or say nothing more."""

    async def play(peer: Peer) -> None:
        await peer.request()
        for part in parts:
            await peer.send(part)
        if not close:
            await peer.reader.read()

    return play


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something is so."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 # what is waited for sets no event
            await asyncio.sleep(0)
