"""Run an application on uvicorn: sockets passed in, connections guarded, stopped with grace."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final

import uvicorn
from fastapi import FastAPI

from trinity_admission.networks import Networks
from trinity_core.errors import Reason, TrinityError
from trinity_http.guard import ConnectionGuard
from trinity_http.protocol import GuardedHttp, GuardedSocket, bound_send_buffer
from trinity_http.settings import HttpLimits
from trinity_http.turning_away import turn_away
from trinity_mesh.clock import Clock

HttpProtocol = Callable[..., asyncio.Protocol]
"""Makes uvicorn's HTTP protocol of a connection; takes what GuardedHttp takes."""


def listen_http(address: str, *, reuse_port: bool = False, backlog: int = 2_048) -> socket.socket:
    """A listening socket at "host:port", "[host]:port" or "unix:/path"; port 0 picks a free one.

    `reuse_port` lets several processes share the port (SO_REUSEPORT); without it a second
    one is refused. Raises TrinityError BACKEND_UNAVAILABLE, naming the address, when it
    cannot be bound.
    """
    listener: socket.socket | None = None
    try:
        if address.startswith("unix:"):
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(address.removeprefix("unix:"))
        else:
            host, _, port = address.rpartition(":")
            host = host.strip("[]")
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            # asyncio sends without delay only on sockets that say they are TCP; an answer is two writes.
            listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind((host, int(port)))
        listener.listen(backlog)
    except (OSError, ValueError, OverflowError) as error:
        if listener is not None:
            listener.close()
        raise TrinityError(
            Reason.BACKEND_UNAVAILABLE, f"cannot listen on {address}: {error}; choose another address"
        ) from error
    listener.setblocking(False)
    return listener


async def serve_http(
    app: FastAPI,
    *,
    sockets: Sequence[socket.socket],
    stopping: asyncio.Event,
    clock: Clock,
    limits: HttpLimits | None = None,
    on_serving: Callable[[ConnectionGuard], None] = lambda _: None,
    http: HttpProtocol = GuardedHttp,
    proxies: Networks | None = None,
) -> None:
    """Serve until `stopping` is set, then end open streams, let requests finish for `drain_ms`, and return.

    Args:
        app: made by `create_app`.
        sockets: listening sockets; they are closed at the end.
        stopping: set to stop; no signal is handled here.
        clock: tells the guard of connections the time.
        limits: bounds of connections.
        on_serving: called once connections are taken, with the guard and its counts.
        http: makes the protocol of each connection; the seam for a faster one. It must take
            what GuardedHttp takes.
        proxies: whose connections are those of many clients, and not bounded as one client's.
    """
    limits = limits or HttpLimits()
    guard = ConnectionGuard(limits, clock=clock, proxies=proxies)
    core = app.state.bridge.core
    for listener in sockets:
        bound_send_buffer(listener, limits.send_buffer_bytes)
    config = uvicorn.Config(
        app,
        http=partial(http, guard=guard, failures=core.failures),  # type: ignore[arg-type]
        ws=partial(GuardedSocket, guard=guard, failures=core.failures),  # type: ignore[arg-type]
        ws_max_size=limits.websocket_message_bytes_max,
        ws_per_message_deflate=False,
        loop="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=limits.idle_ms // 1_000 + _IDLE_SLACK_S,
        timeout_graceful_shutdown=max(1, limits.drain_ms // 1_000),
        backlog=limits.backlog,
    )
    server = _Server(config, clock=clock)
    with _quiet_breaks():
        sweeping = asyncio.create_task(guard.run())
        serving = asyncio.create_task(server.serve(sockets=list(sockets)))
        stopped = asyncio.create_task(stopping.wait())
        try:
            await server.wait_started(serving)
            on_serving(guard)
            await asyncio.wait((serving, stopped), return_when=asyncio.FIRST_COMPLETED)
        finally:
            core.stop()
            guard.draining = True
            server.should_exit = True
            stopped.cancel()
            try:
                await serving
            finally:
                sweeping.cancel()


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: the process decides when to stop."""

    def __init__(self, config: uvicorn.Config, *, clock: Clock) -> None:
        super().__init__(config)
        self._up = asyncio.Event()
        self._clock = clock

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        self._up.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let no new connection begin, take those that have begun, then stop.

        A listening socket that is closed resets what is in it, though others share its port.
        """
        listeners = sockets or ()
        turned = [turn_away(listener) for listener in listeners if _is_shared(listener)]
        if any(turned):
            # Until the handshakes under way are over, on a network as well as on this machine.
            await self._clock.sleep(_HANDSHAKES_S)
        waiting = [connection for listener in listeners for connection in _accepted(listener)]
        taking = asyncio.gather(*(self._take(connection) for connection in waiting))
        # It closes the sockets before it first waits for anything.
        await super().shutdown(sockets)
        await taking

    async def _take(self, connection: socket.socket) -> None:
        """Serve a connection as the listening socket would have."""
        loop = asyncio.get_running_loop()
        http: Any = self.config.http_protocol_class
        make = partial(http, config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
        with contextlib.suppress(OSError):
            await loop.connect_accepted_socket(make, connection)

    async def wait_started(self, serving: asyncio.Task[None]) -> None:
        """Return once connections are taken. Raises what `serving` raised when that comes first."""
        up = asyncio.create_task(self._up.wait())
        await asyncio.wait((up, serving), return_when=asyncio.FIRST_COMPLETED)
        up.cancel()
        if serving.done():
            serving.result()


def _is_shared(listener: socket.socket) -> bool:
    """Whether other processes listen on the port, or will: a socket of one's own takes nobody away from them."""
    return listener.family != socket.AF_UNIX and bool(listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT))


def _accepted(listener: socket.socket) -> list[socket.socket]:
    """The connections that wait in a listening socket."""
    found: list[socket.socket] = []
    while len(found) < _LAST_TAKEN_MAX:
        try:
            connection, _ = listener.accept()
        except OSError:
            break
        connection.setblocking(False)
        found.append(connection)
    return found


class _Breaks(logging.Filter):
    """Drops what uvicorn says of streams that we break off on purpose (see framing.py), and of each broken request."""

    def filter(self, record: logging.LogRecord) -> bool:
        """False for those two lines."""
        return record.msg not in _UNSAID


@contextlib.contextmanager
def _quiet_breaks() -> Iterator[None]:
    logger, breaks = logging.getLogger("uvicorn.error"), _Breaks()
    logger.addFilter(breaks)
    try:
        yield
    finally:
        logger.removeFilter(breaks)


_UNSAID: Final = ("ASGI callable returned without completing response.", "Invalid HTTP request received.")
_IDLE_SLACK_S: Final = 5
_HANDSHAKES_S: Final = 0.25
_LAST_TAKEN_MAX: Final = 65_536
"""Most connections taken from a listening socket at its end: as many as one can hold."""
