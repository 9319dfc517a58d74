"""One gateway twice, with and without the fast lane, and connections to both whose bytes can be compared."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc.aio
import uvicorn
from uvicorn.server import ServerState

from admission.stage import Desk, make_key, record_of
from client.scripted import ScriptedPrices, server
from trinity.account.v1 import account_pb2
from trinity.price.v1 import price_pb2
from trinity_http.admitting import Admitting
from trinity_http.guard import ConnectionGuard
from trinity_http.main import make_gateway_app, make_lane
from trinity_http.prices import SERVICE, PriceAnswers
from trinity_http.protocol import GuardedHttp
from trinity_http.settings import GatewaySettings, HttpLimits
from udp.counter import make_price

GOOD, BOUND, SCOPELESS, UDP_ONLY, GONE, ETH_ONLY = (make_key(seed) for seed in range(1, 7))
KEYS = (GOOD, BOUND, SCOPELESS, UDP_ONLY, GONE, ETH_ONLY)
PEER = "127.0.0.1"


def records(rate: int) -> list[account_pb2.KeyRecord]:
    limits = {"rate_per_s": rate, "burst": rate}
    return [
        record_of(GOOD, **limits),
        record_of(BOUND, allowed_networks=["203.0.113.0/24"], **limits),
        record_of(SCOPELESS, scopes=["reports.read"], **limits),
        record_of(UDP_ONLY, transports=[account_pb2.TRANSPORT_UDP], **limits),
        record_of(GONE, expire_s=1, **limits),
        record_of(ETH_ONLY, assets=["ETH"], **limits),
    ]


class Prices(ScriptedPrices):
    """Knows one asset that the replica lacks."""

    async def GetPrice(self, request: Any, context: Any) -> Any:
        return self._answer("GetPrice", request)


class ShelfAt:
    """A replica in a dict."""

    def __init__(self, prices: dict[str, price_pb2.Price]) -> None:
        self.prices = prices

    def get(self, asset: str, /) -> price_pb2.Price | None:
        return self.prices.get(asset)

    def at(self, asset: str, now_ns: int, /) -> price_pb2.Price | None:
        return self.prices.get(asset)


class Gateway:
    """One gateway, with or without the lane."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        prices: dict[str, price_pb2.Price],
        *,
        fast: bool,
        rate: int,
        trusted: tuple[str, ...],
    ) -> None:
        self.desk = Desk()
        self.desk.open(*records(rate))
        settings = GatewaySettings(trusted_proxies=trusted)
        replica: Any = ShelfAt(prices)
        answers = PriceAnswers(replica, clock=self.desk.clock)
        app = make_gateway_app(
            channels={SERVICE: channel},
            admitting=Admitting(self.desk.admission),
            ready=tuple,
            answers=answers,
            settings=settings,
        )
        self.config = uvicorn.Config(app, loop="none", lifespan="off", log_config=None, access_log=False, ws="none")
        self.config.load()
        self.state = ServerState()
        self.state.default_headers = [(b"date", b"Thu, 01 Jan 2026 00:00:00 GMT")]
        self.guard = ConnectionGuard(HttpLimits(head_bytes_max=4_096), clock=self.desk.clock)
        protocol: Any = GuardedHttp
        if fast:
            protocol = make_lane(
                replica=replica,
                answers=answers,
                admission=self.desk.admission,
                clock=self.desk.clock,
                settings=settings,
            )
            self.lane = protocol.keywords["lane"]
        self.protocol = partial(protocol, guard=self.guard, failures=app.state.bridge.core.failures)

    def connect(self, peer: str = PEER) -> Connection:
        return Connection(self, peer)

    def open(self, loop: asyncio.AbstractEventLoop) -> Any:
        """What speaks HTTP on a new connection, made as uvicorn makes it."""
        return self.protocol(config=self.config, server_state=self.state, app_state={}, _loop=loop)

    async def settle(self) -> None:
        """Let every request under way be answered."""
        while self.state.tasks:
            await asyncio.wait(set(self.state.tasks))
            await asyncio.sleep(0)

    @property
    def counted(self) -> dict[Any, int]:
        return {kind: n for kind, n in self.desk.counts.counted.items() if n}


class Connection(asyncio.Transport):
    """One connection in memory: what is fed to it, and what comes back."""

    def __init__(self, gateway: Gateway, peer: str) -> None:
        super().__init__()
        self._gateway = gateway
        self._peer = peer
        self._reading = True
        self._held: list[bytes] = []
        self.sent = bytearray()
        self.closed = False
        self.protocol = gateway.open(asyncio.get_running_loop())
        self.protocol.connection_made(self)

    def feed(self, data: bytes) -> None:
        """What the client sends next."""
        self._held.append(data)
        self._pass_on()

    def _pass_on(self) -> None:
        while self._held and self._reading and not self.closed:
            self.protocol.data_received(self._held.pop(0))

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": (self._peer, 4_711), "sockname": ("127.0.0.1", 8_080)}.get(name, default)

    def write(self, data: Any) -> None:
        assert not self.closed
        self.sent += data

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.closed = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        asyncio.get_running_loop().call_soon(self._pass_on)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """There is no buffer."""


def seen(sent: bytes) -> bytes:
    """What a client sees, with ids that the server chose made equal."""
    sent = re.sub(rb"(?<=x-request-id: )[0-9a-f]{32}(?=\r\n)", b"*", bytes(sent))
    return re.sub(rb'(?<="requestId":")[0-9a-f]{32}(?=")', b"*", sent)


@asynccontextmanager
async def both(
    prices: dict[str, price_pb2.Price], *, rate: int = 1_000_000, trusted: tuple[str, ...] = (PEER,)
) -> AsyncIterator[tuple[Gateway, Gateway]]:
    """The gateway with the lane, and the one without, before one price service."""
    service = Prices()
    service.answers = {
        "GetPrice": price_pb2.GetPriceResponse(price=make_price("DOGE", "0.1", tier=price_pb2.TIER_LIVE))
    }
    with tempfile.TemporaryDirectory() as name:
        async with server(service, Path(name)), grpc.aio.insecure_channel(f"unix:{name}/price.sock") as channel:
            yield (
                Gateway(channel, prices, fast=True, rate=rate, trusted=trusted),
                Gateway(channel, prices, fast=False, rate=rate, trusted=trusted),
            )


async def exchange(gateway: Gateway, chunks: Sequence[tuple[bytes, bool]], peer: str = PEER) -> Connection:
    """Send chunks over one connection; behind a True all is answered before the next."""
    connection = gateway.connect(peer)
    for data, wait in chunks:
        connection.feed(data)
        if wait:
            await gateway.settle()
    await gateway.settle()
    await asyncio.sleep(0)
    await gateway.settle()
    return connection
