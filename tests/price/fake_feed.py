"""A real FeedService server whose ticks and quotes a test decides."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

from trinity.feed.v1 import feed_pb2, feed_service_pb2, feed_service_pb2_grpc
from trinity_core.assets import load_assets
from trinity_core.errors import Reason, TrinityError
from trinity_core.ticks import Liveness, Tick
from trinity_core.venues import Venue
from trinity_mesh.server import MeshServer, ServerLimits, Service
from trinity_mesh.wire import liveness_to_message, tick_to_message

ASSETS = load_assets()


def made_tick(venue: Venue, asset: str, value: str, *, at_ns: int, live: bool = False, unix_ns: int = 1) -> Tick:
    """A tick of one of the table's markets, received at `at_ns`; last, bid and ask close together."""
    listing = ASSETS.get(asset).listing(venue)
    assert listing is not None, f"{venue} does not list {asset}"
    price = Decimal(value)
    return Tick(
        venue=venue,
        asset=asset,
        symbol=listing.symbol,
        quote=listing.quote,
        price=price,
        bid=price,
        ask=price,
        volume_24h=Decimal(10),
        venue_time_ns=None,
        sequence=None,
        receive_time_ns=unix_ns,
        receive_mono_ns=at_ns,
        live=live,
    )


class FakeFeed(feed_service_pb2_grpc.FeedServiceServicer):
    """Streams what `push` says to every open stream; answers FetchQuote by `quote`, once `gate` is open."""

    def __init__(self, *, worker: str = "w1", clock_id: str = "the-clock", sandbox: bool = False) -> None:
        self.worker = worker
        self.clock_id = clock_id
        self.sandbox = sandbox
        self.streams: list[asyncio.Queue[feed_pb2.StreamTicksResponse]] = []
        self.snapshot: Callable[[], feed_pb2.StreamTicksResponse] | None = None
        self.fetches: list[feed_pb2.FetchQuoteRequest] = []
        self.quote: Callable[[feed_pb2.FetchQuoteRequest], Tick | TrinityError] = lambda request: TrinityError(
            Reason.VENUE_UNAVAILABLE, "no venue answers"
        )
        self.gate = asyncio.Event()
        self.gate.set()
        self.hold_snapshot = asyncio.Event()
        self.hold_snapshot.set()

    def batch(
        self, ticks: Iterable[Tick] = (), liveness: Iterable[Liveness] = (), *, sent_ns: int, snapshot: bool = False
    ) -> feed_pb2.StreamTicksResponse:
        return feed_pb2.StreamTicksResponse(
            ticks=[tick_to_message(tick) for tick in ticks],
            liveness=[liveness_to_message(sign) for sign in liveness],
            sent_monotonic_ns=sent_ns,
            clock_id=self.clock_id,
            worker=self.worker,
            sandbox=self.sandbox,
            snapshot=snapshot,
        )

    def push(self, batch: feed_pb2.StreamTicksResponse) -> None:
        for queue in self.streams:
            queue.put_nowait(batch)

    async def StreamTicks(self, request: Any, context: Any) -> AsyncIterator[Any]:
        await self.hold_snapshot.wait()
        queue: asyncio.Queue[feed_pb2.StreamTicksResponse] = asyncio.Queue()
        self.streams.append(queue)
        try:
            if self.snapshot is not None:
                yield self.snapshot()
            while True:
                yield await queue.get()
        finally:
            self.streams.remove(queue)

    async def FetchQuote(self, request: Any, context: Any) -> Any:
        self.fetches.append(request)
        await self.gate.wait()
        answer = self.quote(request)
        if isinstance(answer, TrinityError):
            raise answer
        return feed_pb2.FetchQuoteResponse(
            tick=tick_to_message(answer),
            clock_id=self.clock_id,
            sent_monotonic_ns=answer.receive_mono_ns,
            sandbox=self.sandbox,
        )

    def server(self, folder: Path, name: str = "feed") -> MeshServer:
        return MeshServer(
            address=f"unix:{folder}/{name}.sock",
            services=[
                Service(
                    descriptor=feed_service_pb2.DESCRIPTOR.services_by_name["FeedService"],
                    add=lambda server: feed_service_pb2_grpc.add_FeedServiceServicer_to_server(self, server),
                )
            ],
            limits=ServerLimits(drain_ms=50),
        )


class Notebook:
    """A sink that writes down what it is told."""

    def __init__(self) -> None:
        self.ticks: list[Tick] = []
        self.slices: list[int] = []
        self.signs: list[Liveness] = []
        self.sandbox = False
        self.raises: Exception | None = None

    def take(self, ticks: Iterable[Tick]) -> None:
        taken = list(ticks)
        if self.raises is not None:
            error, self.raises = self.raises, None
            raise error
        self.ticks += taken
        self.slices.append(len(taken))

    def hear(self, signs: Iterable[Liveness]) -> None:
        self.signs += signs

    def mark_sandbox(self) -> None:
        self.sandbox = True
