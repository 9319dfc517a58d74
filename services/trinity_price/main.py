"""Composition root of the price service: config, adapters, book, servicer, server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from trinity_admission.public_server import PublicServer, public_server
from trinity_core.assets import AssetTable, load_assets
from trinity_core.backoff import Backoff
from trinity_core.book import Book
from trinity_core.price_mirror import PriceMirror
from trinity_core.prices import Price
from trinity_mesh.clock import Clock, SystemClock, clock_id
from trinity_mesh.config import load
from trinity_mesh.identity import Identity
from trinity_mesh.process import Ready, run_process
from trinity_mesh.server import MeshServer, ServerLimits
from trinity_mesh.telemetry.readings import process_readings
from trinity_price.config import PriceConfig
from trinity_price.feed import Feed
from trinity_price.lookup import Lookup
from trinity_price.mirroring import Mirroring
from trinity_price.publication import Publication
from trinity_price.quick import QuickPrices
from trinity_price.quotes import Quotes
from trinity_price.readings import price_samples
from trinity_price.servicer import PriceServicer, service
from trinity_price.wall import AnchoredWall
from trinity_price.watching import Watching
from trinity_price.writer import Writer
from trinity_storage.price_mirror import ValkeyPriceMirror

log = logging.getLogger(__name__)

SECTION = "price"
"""Configuration section of this part; its environment variables begin with TRINITY_PRICE_."""


async def run(
    config: PriceConfig,
    *,
    clock: Clock,
    stopping: asyncio.Event,
    ready: Ready,
    assets: AssetTable | None = None,
) -> None:
    """Serve prices until `stopping` is set, then end every stream and drain.

    `ready` is told {"address", "remote", "public", "epoch"} once the service says SERVING: when every feed's
    snapshot is in the book, or `ready_wait_ms` have passed. `assets` defaults to the table of
    trinity_core. Raises TrinityError when the address cannot be bound.
    """
    table = assets or load_assets()
    part = PricePart(config, clock=clock, assets=table)
    with process_readings().reading(lambda: price_samples(part, assets=table, clock=clock)):
        await _serve(part, stopping, ready)


async def _serve(part: PricePart, stopping: asyncio.Event, ready: Ready) -> None:
    async with part.serving() as server, part.public() as public:
        await _either(part.synced.wait(), stopping.wait())
        for each in (server, public):
            await each.set_serving(serving=not stopping.is_set())
        ready(
            {
                "address": server.address,
                "remote": server.remote_address,
                "public": public.address,
                "epoch": part.publication.epoch,
            }
        )
        await stopping.wait()
        for each in (server, public):
            await each.set_serving(serving=False)
        part.watching.close()


async def _either(*waits: Coroutine[Any, Any, object]) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def main(*, values: Mapping[str, Any], environ: Mapping[str, str], ready_file: Path | None = None) -> int:
    """Run the price service as this process; returns its exit code.

    `values` is the section `price` of the configuration, which `environ` overrides.
    """

    async def part(stopping: asyncio.Event, ready: Ready) -> None:
        config = load(PriceConfig, section=SECTION, values=values, environ=environ)
        await run(config, clock=SystemClock(), stopping=stopping, ready=ready)

    return run_process(part, name=SECTION, ready_file=ready_file)


class PricePart:
    """The parts of one price service, put together."""

    def __init__(self, config: PriceConfig, *, clock: Clock, assets: AssetTable, clock_name: str | None = None) -> None:
        """`clock_name` names the clock that `clock` reads; this host's by default."""
        name = clock_name or clock_id()
        self._config = config
        self._clock = clock
        self._identity = Identity(config.tls, service=SECTION, clock=clock)
        self.synced = asyncio.Event()
        """Every feed's snapshot is in the book, or was waited for long enough."""
        self.wall = AnchoredWall(clock=clock, step_ms=config.wall_step_ms)
        # A later run has a greater epoch as long as the wall clock is not set back between the two;
        # replicas therefore only ask whether it differs.
        self.publication = Publication(clock=clock, clock_id=name, wall=self.wall, epoch=clock.unix_ns())
        self.watching = Watching(
            clock=clock,
            publication=self.publication,
            flush_ms=config.flush_ms,
            streams_max=config.streams_max,
            snapshot_prices_max=config.snapshot_prices_max,
        )
        self.mirror: PriceMirror | None = None
        self.mirroring: Mirroring | None = None
        if config.mirror.url:
            self.mirror = ValkeyPriceMirror(
                url=config.mirror.url, ttl_ms=config.mirror.ttl_ms, timeout_ms=config.mirror.timeout_ms
            )
            self.mirroring = Mirroring(
                mirror=self.mirror,
                publication=self.publication,
                clock=clock,
                flush_ms=config.mirror.flush_ms,
                batch_max=config.mirror.batch_max,
                backoff=Backoff(first_ms=250, cap_ms=5_000),
            )
        self.writer = Writer(
            book=Book(assets=assets, settings=config.book),
            publication=self.publication,
            wall=self.wall,
            clock=clock,
            changed=self._changed,
        )
        self.feeds = [
            Feed(
                address=address,
                sink=self.writer,
                clock=clock,
                clock_id=name,
                silence_ms=config.feed_silence_ms,
                backoff=Backoff(),
                identity=self._identity,
            )
            for address in config.feeds
        ]
        self.quotes = Quotes(
            feeds=self.feeds,
            assets=assets,
            apply=self.writer.take,
            clock=clock,
            timeout_ms=config.live.timeout_ms,
            again_after_ms=config.live.again_after_ms,
            remembered_max=config.live.remembered_max,
        )
        self.lookup = Lookup(
            writer=self.writer,
            publication=self.publication,
            wall=self.wall,
            clock=clock,
            clock_id=name,
            mirror=self.mirror,
            mirror_pause_ms=config.mirror.pause_ms,
            quotes=self.quotes,
            live_ms_max=config.live.wait_ms,
        )
        self.quick = QuickPrices(assets=assets, publication=self.publication, clock=clock)
        self.servicer = PriceServicer(
            assets=assets,
            writer=self.writer,
            lookup=self.lookup,
            publication=self.publication,
            watching=self.watching,
            wall=self.wall,
            clock=clock,
            synced=self.synced,
            lookups_max=config.lookups_max,
        )

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[MeshServer]:
        """Follow the feeds and listen; streams end first when it is over, then calls are drained."""
        server = MeshServer(
            address=self._config.listen,
            services=[service(self.servicer, self.quick)],
            limits=ServerLimits(drain_ms=self._config.drain_ms),
            security=self._identity,
        )
        # Listening comes first: an address that is taken is told as it is, not as a group of errors.
        async with self._identity, server, asyncio.TaskGroup() as group:
            jobs = [self.writer.run(), self.watching.run(), self._sync(), *(feed.run() for feed in self.feeds)]
            if self.mirroring is not None:
                jobs.append(self.mirroring.run())
            tasks = [group.create_task(job) for job in jobs]
            try:
                yield server
            finally:
                self.watching.close()
                await self.quotes.close()
                for task in tasks:
                    task.cancel()
        if self.mirror is not None:
            await self.mirror.close()

    def public(self) -> AbstractAsyncContextManager[PublicServer]:
        """Serve callers that bring a key of their own, if the settings say so."""
        return public_server(
            self._config.public,
            services=[service(self.servicer, self.quick)],
            clock=self._clock,
            drain_ms=self._config.drain_ms,
            identity=self._identity,
        )

    def _changed(self, prices: Sequence[Price]) -> None:
        self.watching.changed()
        if self.mirroring is not None:
            self.mirroring.changed(prices)

    async def _sync(self) -> None:
        """Wait for every feed's snapshot, but not for ever."""
        await _either(self._feeds_synced(), self._clock.sleep(self._config.ready_wait_ms / 1_000))
        missing = [feed.address for feed in self.feeds if not feed.synced.is_set()]
        if missing:
            log.warning("serving without the snapshots of %s", ", ".join(missing))
        self.synced.set()

    async def _feeds_synced(self) -> None:
        for feed in self.feeds:
            await feed.synced.wait()
