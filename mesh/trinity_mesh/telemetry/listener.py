"""Serves metrics over HTTP to a scraper: one small listener, apart from every port that customers reach."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

from trinity_core.errors import Reason, TrinityError

METRICS: Final = "/metrics"
"""Path of the metrics, in Prometheus' text format."""
EMF: Final = "/emf"
"""Path of what CloudWatch is to be told since it was asked for last; for a supervisor, on a Unix socket."""
Page = Callable[[], Awaitable[bytes]]
"""Gives the text of now."""

_CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_HEAD_BYTES_MAX: Final = 8 << 10
_HEAD_S: Final = 5.0
_CONNECTIONS_MAX: Final = 16
"""Connections served at once; a further one is closed."""


@contextlib.asynccontextmanager
async def metrics_listener(address: str, pages: Mapping[str, Page]) -> AsyncIterator[str]:
    """Serve GET of pages by path, at "host:port" or "unix:/path" (mode 0600), while the block runs; yields the address.

    Raises TrinityError BACKEND_UNAVAILABLE, naming the address, when it cannot be bound.
    """
    serving = _Serving(pages)
    try:
        listener = _bound(address)
    except (OSError, ValueError, OverflowError) as error:
        raise TrinityError(
            Reason.BACKEND_UNAVAILABLE,
            f"metrics cannot be served at {address}: {error}; choose another with TRINITY_TELEMETRY_LISTEN",
        ) from error
    server = await asyncio.start_server(serving.serve, sock=listener, limit=_HEAD_BYTES_MAX)
    try:
        yield address if address.startswith("unix:") else _spelt(listener.getsockname())
    finally:
        server.close()
        for task in tuple(serving.tasks):
            task.cancel()
        await asyncio.gather(*serving.tasks, return_exceptions=True)
        _remove(address)


async def scrape(address: str, *, timeout_s: float, page: str = METRICS, bytes_max: int = 32 << 20) -> bytes:
    """A page served at "host:port" or "unix:/path". Raises TrinityError BACKEND_UNAVAILABLE."""
    try:
        async with asyncio.timeout(timeout_s):
            if address.startswith("unix:"):
                reader, writer = await asyncio.open_unix_connection(address.removeprefix("unix:"))
            else:
                host, _, port = address.rpartition(":")
                reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
            try:
                writer.write(f"GET {page} HTTP/1.0\r\n\r\n".encode("ascii"))
                answer = bytearray()
                while chunk := await reader.read(1 << 16):
                    answer += chunk
                    if len(answer) > bytes_max:
                        raise ValueError(f"more than {bytes_max} bytes came")
            finally:
                writer.close()
    except (OSError, ValueError, OverflowError) as error:
        detail = str(error) or type(error).__name__
        raise TrinityError(Reason.BACKEND_UNAVAILABLE, f"no metrics come from {address}: {detail}") from error
    head, _, body = bytes(answer).partition(b"\r\n\r\n")
    status = head.split(b"\r\n", 1)[0].split()
    if len(status) < 2 or status[1] != b"200":
        raise TrinityError(Reason.BACKEND_UNAVAILABLE, f"no metrics come from {address}: it answers something else")
    return body


class _Serving:
    """Answers one request a connection, and closes it."""

    def __init__(self, pages: Mapping[str, Page]) -> None:
        self._pages = pages
        self.tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        task = asyncio.current_task()
        assert task is not None
        try:
            if len(self.tasks) >= _CONNECTIONS_MAX:
                return
            self.tasks.add(task)
            # The whole exchange has a bound, so that a reader who takes nothing keeps no place.
            async with asyncio.timeout(_HEAD_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(await self._answer(head))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the scraper's affair
        finally:
            self.tasks.discard(task)
            writer.close()

    async def _answer(self, head: bytes) -> bytes:
        verb, _, rest = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        page = self._pages.get(path)
        if page is None:
            return _response("404 Not Found", "text/plain", b"metrics are at /metrics\n", head_only=verb == "HEAD")
        if verb not in ("GET", "HEAD"):
            return _response("405 Method Not Allowed", "text/plain", b"use GET\n", extra="Allow: GET, HEAD\r\n")
        return _response("200 OK", _CONTENT_TYPE, await page(), head_only=verb == "HEAD")


def _response(status: str, content_type: str, body: bytes, *, head_only: bool = False, extra: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n{extra}"
    return f"{head}Connection: close\r\n\r\n".encode("latin-1") + (b"" if head_only else body)


def _bound(address: str) -> socket.socket:
    if address.startswith("unix:"):
        path = Path(address.removeprefix("unix:"))
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(mask)
    else:
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, int(port)))
        except BaseException:
            listener.close()
            raise
    listener.listen(_CONNECTIONS_MAX)
    listener.setblocking(False)
    return listener


def _remove(address: str) -> None:
    if address.startswith("unix:"):
        Path(address.removeprefix("unix:")).unlink(missing_ok=True)


def _spelt(name: tuple[str, int]) -> str:
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
