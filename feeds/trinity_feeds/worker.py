"""One feed worker, put together: sessions, connections, hub, quotes and the service they feed."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Mapping
from functools import partial
from typing import Final

from trinity_core.assets import AssetTable
from trinity_core.venues import Venue
from trinity_feeds.backoff import Backoff
from trinity_feeds.config import FeedsConfig, Mode
from trinity_feeds.connection import Connection
from trinity_feeds.hub import Hub
from trinity_feeds.quotes import Quotes
from trinity_feeds.servicer import FeedServicer
from trinity_feeds.session import Session
from trinity_feeds.venue_quotes import VenueQuotes
from trinity_mesh.clock import Clock

_MS_PER_S: Final = 1_000


class Worker:
    """The parts of one worker; `run` keeps its connections until cancelled."""

    def __init__(
        self,
        *,
        config: FeedsConfig,
        worker: str,
        clock: Clock,
        clock_id: str,
        assets: AssetTable,
        sessions: Mapping[Venue, type[Session]],
        random_source: random.Random,
    ) -> None:
        """`worker` is the id of this start; `random_source` spreads waits, and repeats them when seeded."""
        self._config = config
        self._clock = clock
        sandbox = config.mode is Mode.SANDBOX
        tls = ssl.create_default_context()
        self.hub = Hub(
            clock=clock,
            clock_id=clock_id,
            worker=worker,
            sandbox=sandbox,
            venues=config.venues,
            assets=assets,
            flush_ms=config.flush_ms,
            heartbeat_ms=config.heartbeat_ms,
            streams_max=config.streams_max,
        )
        self.connections: Mapping[Venue, Connection] = {
            venue: Connection(
                make_session=partial(
                    sessions[venue],
                    listings=[(asset.asset, found) for asset in assets.assets if (found := asset.listing(venue))],
                    settings=config.session,
                ),
                url=config.ws_urls.get(venue, sessions[venue].connect_url_default),
                sink=self.hub,
                backoff=Backoff(limit=sessions[venue].connect_limit, settings=config.backoff, rng=random_source),
                clock=clock,
                settings=config.socket,
                tls=tls,
            )
            for venue in config.venues
        }
        self.quotes = Quotes(
            assets=assets,
            venues={
                venue: VenueQuotes(
                    session=sessions[venue],
                    url=config.rest_urls.get(venue, sessions[venue].rest_url_default),
                    clock=clock,
                    settings=config.quotes,
                    random_source=random_source,
                    tls=tls,
                )
                for venue in config.venues
            },
        )
        self.servicer = FeedServicer(
            worker=worker,
            sandbox=sandbox,
            clock=clock,
            clock_id=clock_id,
            hub=self.hub,
            quotes=self.quotes,
            connections=self.connections,
            call_ms=config.call_ms,
        )

    async def run(self) -> None:
        """Keep every venue connected until cancelled; the first connections are made one after another."""
        async with asyncio.TaskGroup() as tasks:
            for place, connection in enumerate(self.connections.values()):
                tasks.create_task(self._keep(connection, place), name=f"{connection.venue} connection")

    async def _keep(self, connection: Connection, place: int) -> None:
        await self._clock.sleep(place * self._config.stagger_ms / _MS_PER_S)
        await connection.run()
