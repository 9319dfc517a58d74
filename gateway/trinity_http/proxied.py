"""Connections that come through a TCP balancer: the header first, then HTTP as if the client had connected itself.

    serve_http(app, http=behind_proxy(LaneHttp…, Networks(("10.0.0.0/20",))), …)

Everything behind it, the bridge, the lane, WebSockets and the guard, sees the address that the header tells. On
such a port nobody may come without the header, and nobody but the balancers may come at all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final, cast

from trinity_admission.networks import Networks
from trinity_http.guard import ConnectionGuard
from trinity_http.proxy_header import HEADER_BYTES_MAX, ProxyHeader, ProxyHeaderError, read_proxy_header

_LOG: Final = logging.getLogger(__name__)
ENDPOINT: Final = "vpc_endpoint"
"""Name under which a transport tells the VPC endpoint that its connection came through."""


def behind_proxy(http: Callable[..., asyncio.Protocol], proxies: Networks) -> Callable[..., asyncio.Protocol]:
    """Makes protocols as `http` does, for connections that begin with a header of one of `proxies`."""

    def make(*, guard: ConnectionGuard, server_state: Any, **kwargs: Any) -> asyncio.Protocol:
        inner = partial(http, guard=guard, server_state=server_state, **kwargs)
        return _ProxyEntry(inner, proxies, guard, server_state)

    return make


class ProxiedTransport(asyncio.Transport):
    """A connection with the address that a proxy told in place of the proxy's own."""

    def __init__(self, transport: asyncio.Transport, header: ProxyHeader) -> None:
        own = {"peername": header.source, "socket": None} if header.source is not None else {}
        super().__init__({**own, ENDPOINT: header.vpc_endpoint})
        self._transport = transport
        self._own = {*own, ENDPOINT}
        self.write = transport.write  # type: ignore[method-assign] # nothing in between for what is done most

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the proxy told, else what the connection itself has."""
        if name in self._own:
            return super().get_extra_info(name, default)
        return self._transport.get_extra_info(name, default)

    def is_closing(self) -> bool:
        """As the connection's."""
        return self._transport.is_closing()

    def close(self) -> None:
        """As the connection's."""
        self._transport.close()

    def abort(self) -> None:
        """As the connection's."""
        self._transport.abort()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """As the connection's."""
        self._transport.set_protocol(protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """As the connection's."""
        return self._transport.get_protocol()

    def is_reading(self) -> bool:
        """As the connection's."""
        return self._transport.is_reading()

    def pause_reading(self) -> None:
        """As the connection's."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """As the connection's."""
        self._transport.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """As the connection's."""
        self._transport.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """As the connection's."""
        return self._transport.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """As the connection's."""
        return self._transport.get_write_buffer_limits()

    def writelines(self, list_of_data: Any) -> None:
        """As the connection's."""
        self._transport.writelines(list_of_data)

    def write_eof(self) -> None:
        """As the connection's."""
        self._transport.write_eof()

    def can_write_eof(self) -> bool:
        """As the connection's."""
        return self._transport.can_write_eof()


class _ProxyEntry(asyncio.Protocol):
    """A connection until its header is there; under guard like every other."""

    def __init__(
        self, inner: Callable[[], asyncio.Protocol], proxies: Networks, guard: ConnectionGuard, server_state: Any
    ) -> None:
        self._inner = inner
        self._proxies = proxies
        self._guard = guard
        self._others = server_state.connections
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._entered = False
        self.due_ns = guard.after(guard.limits.head_ms)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Nobody but a proxy is heard."""
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        host = str(peer[0]) if isinstance(peer, tuple) else ""
        if not self._proxies.hold(host):
            self._refuse(f"a connection from {host or 'nowhere'}, which is none of bridge.trusted_proxies")
            return
        self._entered = True
        self._others.add(self)
        if self._guard.enter(self, "") is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Gather the header, then let HTTP take the connection over."""
        transport = self._transport
        if not self._entered or transport is None or transport.is_closing():
            return
        self._received += data
        try:
            header = read_proxy_header(self._received[: HEADER_BYTES_MAX + 1])
        except ProxyHeaderError as error:
            self._refuse(str(error))
            return
        if header is None:
            return
        rest, self._received = self._received[header.length :], b""
        self._leave()
        inner = self._inner()
        transport.set_protocol(inner)
        inner.connection_made(ProxiedTransport(transport, header))
        if rest:
            inner.data_received(rest)

    def connection_lost(self, exc: Exception | None) -> None:
        """A health check that only connects ends here."""
        self._leave()

    def overdue(self) -> None:
        """No header came in time."""
        self._close()

    def shutdown(self) -> None:
        """The server stops, and nothing was asked here yet."""
        self._close()

    def _refuse(self, why: str) -> None:
        self._guard.malformed += 1
        _LOG.debug("refused behind a proxy: %s", why)
        if self._transport is not None:
            self._transport.abort()

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _leave(self) -> None:
        if self._entered:
            self._entered = False
            self._others.discard(self)
            self._guard.leave(self, "")
