"""PriceService: each RPC in a few lines; what they say is decided in lookup, watching and the book."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

import grpc.aio

from trinity.price.v1 import price_pb2, price_service_pb2, price_service_pb2_grpc
from trinity_core.assets import Asset, AssetTable
from trinity_core.errors import TrinityError, invalid_field
from trinity_core.prices import Method
from trinity_core.venues import Venue
from trinity_mesh.clock import Clock
from trinity_mesh.interceptors import request_id
from trinity_mesh.server import Service
from trinity_mesh.status import to_status
from trinity_price.explaining import explanation_to_message
from trinity_price.lookup import Ask, Lookup
from trinity_price.pages import PageTokens
from trinity_price.publication import Publication
from trinity_price.quick import QuickPrices
from trinity_price.wall import AnchoredWall
from trinity_price.watching import Watch, Watching
from trinity_price.writer import Writer

_PAGE_SIZE: Final = 200
_HEARTBEAT_MS: Final = 1_000
DESCRIPTOR: Final = price_service_pb2.DESCRIPTOR.services_by_name["PriceService"]
Context = grpc.aio.ServicerContext[Any, Any]


class PriceServicer(price_service_pb2_grpc.PriceServiceServicer):
    """The RPCs. Requests were judged by their contract's rules before they come here."""

    def __init__(
        self,
        *,
        assets: AssetTable,
        writer: Writer,
        lookup: Lookup,
        publication: Publication,
        watching: Watching,
        wall: AnchoredWall,
        clock: Clock,
        synced: asyncio.Event,
        lookups_max: int,
    ) -> None:
        """`synced` is set once the feeds' snapshots are in the book, or were waited for long enough.

        `lookups_max` bounds the prices of one batch that are looked for beyond the book at once.
        """
        self._assets = assets
        self._writer = writer
        self._lookup = lookup
        self._publication = publication
        self._watching = watching
        self._wall = wall
        self._clock = clock
        self._synced = synced
        self._lookups_max = lookups_max
        self._tokens = PageTokens(method=f"{DESCRIPTOR.full_name}/ListAssets", items=assets.ids)

    async def GetPrice(  # noqa: N802 - named by the contract
        self, request: price_pb2.GetPriceRequest, context: Context
    ) -> price_pb2.GetPriceResponse:
        """See price_service.proto."""
        ask = _ask(self._assets.get(request.asset), request)
        return price_pb2.GetPriceResponse(price=await self._lookup.find(ask, within_s=context.time_remaining()))

    async def BatchGetPrices(  # noqa: N802 - named by the contract
        self, request: price_pb2.BatchGetPricesRequest, context: Context
    ) -> price_pb2.BatchGetPricesResponse:
        """See price_service.proto."""
        _check_method(request)
        gate = asyncio.Semaphore(self._lookups_max)

        async def outcome(name: str) -> price_pb2.PriceResult:
            try:
                ask = _ask(self._assets.get(name), request)
                async with gate:
                    price = await self._lookup.find(ask, within_s=context.time_remaining())
            except TrinityError as error:
                return price_pb2.PriceResult(asset=name, error=to_status(error, request_id=request_id.get()))
            return price_pb2.PriceResult(asset=name, price=price)

        return price_pb2.BatchGetPricesResponse(results=await asyncio.gather(*map(outcome, request.assets)))

    async def WatchPrices(  # type: ignore[override]  # noqa: N802 - bytes: see `service`
        self, request: price_pb2.WatchPricesRequest, context: Context
    ) -> AsyncIterator[bytes]:
        """See price_service.proto. Yields serialised responses."""
        assets = frozenset(self._assets.get(name).asset for name in request.assets) or None
        watch = Watch(
            assets=assets,
            heartbeat_ms=request.heartbeat_ms or _HEARTBEAT_MS,
            interval_ms=request.interval_ms,
            resume_epoch=request.resume_epoch,
            resume_sequence=request.resume_sequence,
        )
        # A snapshot of a book that is still being filled would take prices away from a replica that has them.
        await self._synced.wait()
        async for batch in self._watching.stream(watch):
            yield batch

    async def ListAssets(  # noqa: N802 - named by the contract
        self, request: price_pb2.ListAssetsRequest, context: Context
    ) -> price_pb2.ListAssetsResponse:
        """See price_service.proto."""
        start = self._tokens.read(request.page_token)
        end = start + (request.page_size or _PAGE_SIZE)
        assets = self._assets.assets
        return price_pb2.ListAssetsResponse(
            assets=self._described(assets[start:end]),
            next_page_token=self._tokens.make(end) if end < len(assets) else "",
            total_size=len(assets),
        )

    async def ExplainPrice(  # noqa: N802 - named by the contract
        self, request: price_pb2.ExplainPriceRequest, context: Context
    ) -> price_pb2.ExplainPriceResponse:
        """See price_service.proto."""
        asset = self._assets.get(request.asset).asset
        now_ns = self._clock.monotonic_ns()
        explanation = self._writer.book.explain(asset, now_ns, method=_method(request.method))
        return explanation_to_message(
            explanation,
            now_mono_ns=now_ns,
            epoch=self._publication.epoch,
            wall_offset_ns=self._wall.offset_ns,
            sandbox=self._publication.sandbox,
        )

    def _described(self, assets: Iterable[Asset]) -> list[price_pb2.Asset]:
        now_ns = self._clock.monotonic_ns()
        return [
            price_pb2.Asset(
                asset=asset.asset,
                name=asset.name,
                listings=[
                    price_pb2.Listing(venue=listing.venue, symbol=listing.symbol, quote=listing.quote)
                    for listing in asset.listings
                ],
                state=self._writer.state_of(asset.asset, now_ns).value,  # type: ignore[arg-type]
            )
            for asset in assets
        ]


def service(servicer: PriceServicer, quick: QuickPrices) -> Service:
    """The servicer as a server takes it: WatchPrices answers in bytes, and GetPrice where `quick` can."""
    return Service(
        descriptor=DESCRIPTOR,
        add=lambda server: price_service_pb2_grpc.add_PriceServiceServicer_to_server(servicer, server),
        raw_responses=frozenset({"WatchPrices"}),
        quick={"GetPrice": quick},
    )


def _ask(asset: Asset, request: price_pb2.GetPriceRequest | price_pb2.BatchGetPricesRequest) -> Ask:
    _check_method(request)
    return Ask(
        asset=asset.asset,
        method=_method(request.method),
        source=Venue(request.source) if request.source else None,
        # Rounded down: an age that the caller does not accept must not pass.
        max_age_ms=request.max_age.ToMilliseconds() if request.HasField("max_age") else None,
        min_sources=request.min_sources,
    )


def _check_method(request: price_pb2.GetPriceRequest | price_pb2.BatchGetPricesRequest) -> None:
    if request.source and request.method:
        raise invalid_field("method", "not allowed together with source, which names the one quote that is wanted")


def _method(number: int) -> Method:
    return Method(number) if number else Method.MEDIAN
