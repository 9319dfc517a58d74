"""A sandbox for tests: real sockets, a clock that the test moves, and quotes that the test makes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from price.virtual_clock import VirtualClock
from trinity_core.assets import load_assets
from trinity_core.venues import Venue
from trinity_feeds.sandbox.faults import Fault
from trinity_feeds.sandbox.market import MarketDrive
from trinity_feeds.sandbox.quotes import Drive, Quote
from trinity_feeds.sandbox.server import SandboxServers, serve_sandbox
from trinity_feeds.sandbox.settings import SandboxSettings

GENEROUS_S = 20.0
"""No test waits so long unless it fails."""
STEP_S = 0.1


class HandDrive:
    """Opens like the generator; then shows only what the test pushes."""

    def __init__(self, settings: SandboxSettings) -> None:
        self._market = MarketDrive(table=load_assets(), settings=settings)
        self._newest = {(quote.venue, quote.asset): quote for quote in self._market.opening()}
        self._pushed: list[Quote] = []

    def opening(self) -> Sequence[Quote]:
        return self._market.opening()

    def until(self, elapsed_ns: int) -> Sequence[Quote]:
        pushed, self._pushed = self._pushed, []
        return pushed

    def truth(self) -> Mapping[str, str]:
        return self._market.truth()

    def push(self, venue: Venue, asset: str = "BTC", **changes: Any) -> Quote:
        """The newest quote of a market with some fields changed, at the next step."""
        before = self._newest[venue, asset]
        sequence = max(quote.sequence for (at, _), quote in self._newest.items() if at is venue) + 1
        quote = msgspec.structs.replace(before, **{"sequence": sequence, "traded": True, **changes})
        self._newest[venue, asset] = quote
        self._pushed.append(quote)
        return quote

    def newest(self, venue: Venue, asset: str = "BTC") -> Quote:
        return self._newest[venue, asset]


class Client:
    """A bare WebSocket client that knows nothing of the venue."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def say(self, value: Any) -> None:
        await self.socket.send(value if isinstance(value, str | bytes) else json.dumps(value))

    async def hear(self) -> Any:
        """The next frame, decoded from JSON where it is JSON. Numbers keep their text."""
        text = await self.hear_raw()
        try:
            return json.loads(text, parse_float=str)
        except ValueError:
            return text

    async def hear_raw(self) -> str | bytes:
        async with asyncio.timeout(GENEROUS_S):
            return await self.socket.recv()

    async def ask(self, value: Any) -> Any:
        await self.say(value)
        return await self.hear()

    async def remaining(self) -> list[Any]:
        """Every frame up to the end of the connection."""
        frames = []
        try:
            while True:
                frames.append(await self.hear())
        except ConnectionClosed:
            return frames

    async def ended(self) -> tuple[int, str]:
        """Read to the end; its close code (1006 for none) and reason."""
        try:
            while True:
                await self.hear_raw()
        except ConnectionClosed as end:
            return (1006, "") if end.rcvd is None else (end.rcvd.code, end.rcvd.reason)

    async def is_open(self) -> bool:
        """The other end still answers protocol pings."""
        async with asyncio.timeout(GENEROUS_S):
            try:
                await (await self.socket.ping())
            except ConnectionClosed:
                return False
        return True


class Stage:
    """A running sandbox, its clock and its quotes."""

    def __init__(self, servers: SandboxServers, clock: VirtualClock, drive: Drive, stack: AsyncExitStack) -> None:
        self.servers = servers
        self.clock = clock
        self._drive = drive
        self._stack = stack
        self.http = httpx.AsyncClient(trust_env=False, timeout=GENEROUS_S)

    @property
    def drive(self) -> HandDrive:
        assert isinstance(self._drive, HandDrive)
        return self._drive

    async def connect(self, venue: Venue, **options: Any) -> Client:
        url = self.servers.urls[venue].ws_url
        options = {
            "compression": None,
            "ping_interval": None,
            "proxy": None,
            "close_timeout": 1,
            "max_queue": None,
            **options,
        }
        socket = await connect(url, **options)
        return Client(await self._stack.enter_async_context(socket))

    async def get(self, venue: Venue, path: str) -> httpx.Response:
        return await self.http.get(self.servers.urls[venue].rest_url + path)

    async def control(self, path: str) -> httpx.Response:
        return await self.http.get(self.servers.control_url + path)

    async def move(self, seconds: float = STEP_S) -> None:
        """Let time pass, timer by timer."""
        await self.clock.advance(seconds)

    async def push(self, venue: Venue, asset: str = "BTC", **changes: Any) -> Quote:
        """Change one market and let it be sent."""
        quote = self.drive.push(venue, asset, **changes)
        await self.move()
        return quote

    async def fault(self, venue: Venue, kind: str, **fields: Any) -> None:
        """Begin a fault now."""
        fault = msgspec.convert({"venue": venue, "fault": kind, **fields}, Fault)
        self.servers.faults.inject(fault, self.clock.monotonic_ns())
        await self.move()


@asynccontextmanager
async def stage(
    *, generate: bool = False, script: Sequence[Fault] = (), drive: Drive | None = None, **settings: Any
) -> AsyncIterator[Stage]:
    """A sandbox of three assets, or of those in `assets`; its quotes are the test's unless `generate` is set."""
    chosen = SandboxSettings(**{"step_ms": round(STEP_S * 1000), "assets": ("BTC", "ETH", "USDT"), **settings})
    clock = VirtualClock()
    if drive is None:
        drive = MarketDrive(table=load_assets(), settings=chosen) if generate else HandDrive(chosen)
    servers = await serve_sandbox(settings=chosen, clock=clock, drive=drive, script=script)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(servers.close)
        made = Stage(servers, clock, drive, stack)
        stack.push_async_callback(made.http.aclose)
        yield made
