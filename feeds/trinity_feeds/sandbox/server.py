"""All six venues and the control endpoint, and the loop that drives them.

One task wakes every few milliseconds, takes the market forward and serves every connection and timer; there is
no timer a symbol and no task a connection beyond the one that reads it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, Self

from websockets.asyncio.server import Server, ServerConnection
from websockets.http11 import Request as HttpRequest
from websockets.http11 import Response

from trinity_core.assets import AssetTable, load_assets
from trinity_core.venues import Venue
from trinity_feeds.sandbox.board import FaultBoard
from trinity_feeds.sandbox.coinbase import CoinbaseVenue
from trinity_feeds.sandbox.control import Control
from trinity_feeds.sandbox.cryptocom import CryptocomVenue
from trinity_feeds.sandbox.faults import Fault
from trinity_feeds.sandbox.gateio import GateioVenue
from trinity_feeds.sandbox.gemini import GeminiVenue
from trinity_feeds.sandbox.kraken import KrakenVenue
from trinity_feeds.sandbox.okx import OkxVenue
from trinity_feeds.sandbox.quotes import Drive, Quote
from trinity_feeds.sandbox.rest import parse_request
from trinity_feeds.sandbox.script import make_drive, make_script
from trinity_feeds.sandbox.settings import SandboxSettings
from trinity_feeds.sandbox.sockets import HOST, VenueServer, VenueUrls, listen, port_of, response
from trinity_feeds.sandbox.stamps import SECOND, moment
from trinity_feeds.sandbox.venue import SandboxVenue
from trinity_mesh.clock import Clock


class SandboxServers:
    """All six venues and the control endpoint, running."""

    def __init__(
        self, *, settings: SandboxSettings, clock: Clock, table: AssetTable, drive: Drive, script: Sequence[Fault]
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._drive = drive
        self._started_ns = clock.monotonic_ns()
        self.faults = FaultBoard(script=make_script(settings, script, table), started_ns=self._started_ns)
        """The faults that hold; `inject` begins one."""
        self._servers = {venue.venue: VenueServer(venue=venue, clock=clock) for venue in self._venues(table)}
        self._control = Control(
            table=table,
            faults=self.faults,
            drive=drive,
            venues={name: server.venue for name, server in self._servers.items()},
            stats=self.stats,
        )
        self._control_server: Server | None = None
        self._pump: asyncio.Task[None] | None = None
        self._quotes = 0
        self.urls: Mapping[Venue, VenueUrls] = {}
        self.control_url = ""

    async def start(self) -> Self:
        """Open every socket and begin to move. Raises OSError when a port is taken; nothing stays open then."""
        opening = self._drive.opening()
        try:
            for venue, server in self._servers.items():
                server.venue.take([quote for quote in opening if quote.venue is venue])
                self.urls = {**self.urls, venue: await server.start(self._settings.ports.get(venue, 0))}
            self._control_server = await listen(_hang_up, self._answer, self._settings.control_port, 1024)
        except BaseException:
            await self.close()
            raise
        self.control_url = f"http://{HOST}:{port_of(self._control_server)}"
        self._pump = asyncio.create_task(self._run(), name="sandbox pump")
        return self

    @property
    def pump(self) -> asyncio.Task[None]:
        """The task that drives everything; it ends only by an error."""
        if self._pump is None:
            raise RuntimeError("the sandbox has not started")
        return self._pump

    def stats(self) -> dict[str, Any]:
        """Seconds since the start, quotes generated, and the counts of each venue."""
        return {
            "uptime_s": round((self._clock.monotonic_ns() - self._started_ns) / SECOND, 3),
            "quotes": self._quotes,
            "venues": {venue.value: server.stats() for venue, server in self._servers.items()},
        }

    async def close(self) -> None:
        """End everything; safe to call twice. Raises what ended the pump, if anything did."""
        pump, self._pump = self._pump, None
        if pump is not None:
            pump.cancel()
        for server in self._servers.values():
            await server.close()
        if self._control_server is not None:
            self._control_server.close()
            await self._control_server.wait_closed()
        if pump is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await pump

    async def _run(self) -> None:
        step_s = self._settings.step_ms / 1000
        changed: dict[Venue, list[Quote]] = {venue: [] for venue in self._servers}
        while True:
            await self._clock.sleep(step_s)
            now_ns = self._clock.monotonic_ns()
            begun = self.faults.advance(now_ns)
            quotes = self._drive.until(now_ns - self._started_ns)
            self._quotes += len(quotes)
            for quote in quotes:
                changed[quote.venue].append(quote)
            for venue, server in self._servers.items():
                server.step(changed[venue], [each for each in begun if each.fault.venue is venue])
                changed[venue].clear()

    async def _answer(self, connection: ServerConnection, request: HttpRequest) -> Response | None:
        now = moment(self._clock)
        return response(self._control.answer(parse_request(request.path), now), now)

    def _venues(self, table: AssetTable) -> Sequence[SandboxVenue]:
        kinds = (CoinbaseVenue, GeminiVenue, KrakenVenue, GateioVenue, CryptocomVenue, OkxVenue)
        return [
            kind(
                table=table,
                settings=self._settings,
                faults=self.faults,
                random=Random(f"{kind.venue} {self._settings.seed}"),  # noqa: S311 - ids of a simulation
            )
            for kind in kinds
        ]


async def serve_sandbox(
    *,
    settings: SandboxSettings,
    clock: Clock,
    table: AssetTable | None = None,
    drive: Drive | None = None,
    script: Sequence[Fault] = (),
) -> SandboxServers:
    """Start the sandbox. `close()` of what is returned ends it.

    `table` is the asset table (default: the package's own), `drive` where quotes come from (default: what the
    settings say), `script` further faults. Raises OSError for a port that is taken and TrinityError or
    ValueError for settings or files that make no sense.
    """
    table = load_assets() if table is None else table
    drive = make_drive(settings, table) if drive is None else drive
    return await SandboxServers(settings=settings, clock=clock, table=table, drive=drive, script=script).start()


async def _hang_up(connection: ServerConnection) -> None:
    """The control endpoint has no WebSocket: every handshake there is answered as a GET."""
