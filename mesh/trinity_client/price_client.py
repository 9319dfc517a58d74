"""Typed calls to the price service, for what a replica does not answer.

    async with PriceClient("127.0.0.1:50051") as client:
        price = await client.get("BTC", max_age_ms=2_000, min_sources=3)
        print(price.price, price.sources)

What fails is raised as TrinityError, whose `reason` says why and whose `retry_after_ms`
says when a repetition makes sense.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from typing import Any, Self, TypeVar

import grpc.aio
from google.protobuf.duration_pb2 import Duration

from trinity.price.v1 import price_pb2, price_service_pb2_grpc
from trinity_core.errors import TrinityError
from trinity_core.prices import Method
from trinity_core.venues import Venue
from trinity_mesh.channels import call, open_channel, stream
from trinity_mesh.status import from_status

T = TypeVar("T")


class PriceClient:
    """One channel to the price service. Use it as `async with`."""

    def __init__(
        self,
        target: str | grpc.aio.Channel,
        *,
        timeout_ms: int = 5_000,
        metadata: Sequence[tuple[str, str]] = (),
    ) -> None:
        """`target` is "unix:/path", "host:port", several of them with commas, "dns:name:port", or a channel.

        A channel stays the caller's to close.

        `timeout_ms` bounds each call; `metadata` goes with each, such as an API key.
        """
        self._target = target
        self._timeout_s = timeout_ms / 1_000
        self._metadata = tuple(metadata)
        self._owned: grpc.aio.Channel | None = None
        self._opened: price_service_pb2_grpc.PriceServiceAsyncStub | None = None

    async def __aenter__(self) -> Self:
        channel: Any = self._target
        if isinstance(self._target, str):
            channel = self._owned = open_channel(self._target)
        self._opened = price_service_pb2_grpc.PriceServiceStub(channel)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._opened = None
        if self._owned is not None:
            await self._owned.close()
            self._owned = None

    async def get(
        self,
        asset: str,
        *,
        source: Venue | str = "",
        method: Method | None = None,
        max_age_ms: int | None = None,
        min_sources: int = 0,
    ) -> price_pb2.Price:
        """One asset's price; the fields are those of GetPriceRequest.

        Raises TrinityError: INVALID_FIELD, UNKNOWN_ASSET with the nearest ids in its metadata,
        NO_PRICE, STALE_PRICE or TOO_FEW_SOURCES when the price asked for is not to be had,
        BACKEND_UNAVAILABLE when the service is not reached.
        """
        request = price_pb2.GetPriceRequest(
            asset=asset,
            source=source,
            method=_method(method),
            max_age=_duration(max_age_ms),
            min_sources=min_sources,
        )
        return (await self._call(self._stub.GetPrice(request, **self._options()))).price

    async def batch(
        self,
        assets: Iterable[str],
        *,
        source: Venue | str = "",
        method: Method | None = None,
        max_age_ms: int | None = None,
        min_sources: int = 0,
    ) -> list[price_pb2.Price | TrinityError]:
        """Up to 200 assets' prices in the order asked; where there is none, the error instead.

        Raises TrinityError only when the whole batch fails.
        """
        request = price_pb2.BatchGetPricesRequest(
            assets=assets,
            source=source,
            method=_method(method),
            max_age=_duration(max_age_ms),
            min_sources=min_sources,
        )
        response = await self._call(self._stub.BatchGetPrices(request, **self._options()))
        return [
            from_status(result.error) if result.WhichOneof("outcome") == "error" else result.price
            for result in response.results
        ]

    async def explain(self, asset: str, *, method: Method | None = None) -> price_pb2.ExplainPriceResponse:
        """Every input of a price, its age, its weight, who was left out and why. Raises TrinityError as `get` does."""
        request = price_pb2.ExplainPriceRequest(asset=asset, method=_method(method))
        return await self._call(self._stub.ExplainPrice(request, **self._options()))

    async def assets(self, *, page_size: int = 200) -> AsyncIterator[price_pb2.Asset]:
        """Iterate over every asset that has a price; pages are fetched as they are needed."""
        token = ""
        while True:
            request = price_pb2.ListAssetsRequest(page_size=page_size, page_token=token)
            page = await self._call(self._stub.ListAssets(request, **self._options()))
            for asset in page.assets:
                yield asset
            token = page.next_page_token
            if not token:
                return

    async def watch(
        self, assets: Iterable[str] = (), *, heartbeat_ms: int = 1_000, interval_ms: int = 0
    ) -> AsyncIterator[price_pb2.WatchPricesResponse]:
        """Iterate over the raw batches of one stream; `PriceBook` is what keeps a replica of them.

        Raises TrinityError when the stream is lost; it is not opened again.
        """
        request = price_pb2.WatchPricesRequest(assets=assets, heartbeat_ms=heartbeat_ms, interval_ms=interval_ms)
        responses = self._stub.WatchPrices(request, metadata=self._metadata)
        try:
            async for batch in stream(aiter(responses)):
                yield batch
        finally:
            responses.cancel()

    @property
    def _stub(self) -> price_service_pb2_grpc.PriceServiceAsyncStub:
        if self._opened is None:
            raise RuntimeError("use PriceClient as `async with PriceClient(...) as client:`")
        return self._opened

    def _options(self) -> dict[str, Any]:
        return {"timeout": self._timeout_s, "metadata": self._metadata}

    @staticmethod
    async def _call(awaitable: Awaitable[T]) -> T:
        return await call(awaitable)


def _method(method: Method | None) -> Any:
    return 0 if method is None else method.value


def _duration(milliseconds: int | None) -> Duration | None:
    if milliseconds is None:
        return None
    return Duration(seconds=milliseconds // 1_000, nanos=milliseconds % 1_000 * 1_000_000)
