"""Typed calls say what was asked, and raise what was refused."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from client.batches import EPOCH, batch, price, snapshot
from client.scripted import ScriptedPrices, server
from price.virtual_clock import until
from trinity.price.v1 import price_pb2
from trinity_client import PriceClient
from trinity_core.errors import Reason, TrinityError
from trinity_core.prices import Method
from trinity_core.venues import Venue
from trinity_mesh.status import to_status


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture
async def prices(folder: Path) -> AsyncIterator[ScriptedPrices]:
    servicer = ScriptedPrices()
    async with server(servicer, folder):
        yield servicer


@pytest.fixture
async def client(folder: Path, prices: ScriptedPrices) -> AsyncIterator[PriceClient]:
    async with PriceClient(f"unix:{folder}/price.sock", metadata=[("authorization", "Bearer x")]) as opened:
        yield opened


async def test_get_says_all_that_the_caller_wants(client: PriceClient, prices: ScriptedPrices) -> None:
    prices.answers["GetPrice"] = price_pb2.GetPriceResponse(price=price("BTC", 1, at_ns=10**9))
    answer = await client.get("btc", source=Venue.KRAKEN, max_age_ms=2_500, min_sources=3)
    assert answer.asset == "BTC"
    (request,) = prices.requests
    assert (request.asset, request.source, request.min_sources) == ("btc", "kraken", 3)
    assert request.max_age.ToMilliseconds() == 2_500
    await client.get("btc", method=Method.VWAP)
    assert prices.requests[1].method == price_pb2.METHOD_VWAP
    assert not prices.requests[1].HasField("max_age")


async def test_a_refusal_is_raised_with_its_reason_and_retry(client: PriceClient, prices: ScriptedPrices) -> None:
    prices.answers["GetPrice"] = TrinityError(Reason.STALE_PRICE, "too old", {"age_ms": "93"}, retry_after_ms=400)
    with pytest.raises(TrinityError, match="too old") as raised:
        await client.get("BTC")
    assert raised.value.reason is Reason.STALE_PRICE
    assert raised.value.retry_after_ms == 400
    assert raised.value.metadata["age_ms"] == "93"


async def test_a_request_that_breaks_a_rule_is_refused_by_the_contract(client: PriceClient) -> None:
    with pytest.raises(TrinityError) as raised:
        await client.get("B T C")
    assert raised.value.reason is Reason.INVALID_FIELD
    assert raised.value.violations[0].field == "asset"


async def test_a_batch_gives_each_asset_its_own_outcome(client: PriceClient, prices: ScriptedPrices) -> None:
    refused = to_status(TrinityError(Reason.UNKNOWN_ASSET, "no asset 'XX'"))
    prices.answers["BatchGetPrices"] = price_pb2.BatchGetPricesResponse(
        results=[
            price_pb2.PriceResult(asset="btc", price=price("BTC", 1, at_ns=10**9)),
            price_pb2.PriceResult(asset="xx", error=refused),
        ]
    )
    first, second = await client.batch(["btc", "xx"], min_sources=2)
    assert isinstance(first, price_pb2.Price)
    assert isinstance(second, TrinityError)
    assert second.reason is Reason.UNKNOWN_ASSET


async def test_assets_are_read_page_by_page(client: PriceClient, prices: ScriptedPrices) -> None:
    names = [f"A{number}" for number in range(7)]

    def page(request: Any) -> price_pb2.ListAssetsResponse:
        start = int(request.page_token or 0)
        end = start + request.page_size
        return price_pb2.ListAssetsResponse(
            assets=[price_pb2.Asset(asset=name) for name in names[start:end]],
            next_page_token=str(end) if end < len(names) else "",
        )

    prices.answers["ListAssets"] = page
    assert [asset.asset async for asset in client.assets(page_size=3)] == names
    assert len(prices.requests) == 3


async def test_explain_asks_for_the_method(client: PriceClient, prices: ScriptedPrices) -> None:
    prices.answers["ExplainPrice"] = price_pb2.ExplainPriceResponse(detail="all is well")
    assert (await client.explain("BTC", method=Method.PRIMARY)).detail == "all is well"
    assert prices.requests[0].method == price_pb2.METHOD_PRIMARY


async def test_watch_gives_the_batches_as_they_come_and_raises_when_the_stream_is_lost(
    client: PriceClient, prices: ScriptedPrices
) -> None:
    batches = client.watch(["BTC"], heartbeat_ms=100)
    reading = anext(batches)

    async def tell() -> None:
        await until(lambda: prices.streams)
        prices.streams[0].say(snapshot([price("BTC", 1, at_ns=10**9)], sequence=1, at_ns=10**9))

    told = asyncio.create_task(tell())
    first = await reading
    await told
    assert first.snapshot_complete
    assert first.epoch == EPOCH
    prices.streams[0].say(batch(sequence=2, at_ns=10**9))
    assert (await anext(batches)).sequence == 2
    prices.streams[0].fail(TrinityError(Reason.STOPPING, "stopping"))
    with pytest.raises(TrinityError, match="stopping"):
        await anext(batches)


async def test_a_client_that_is_not_open_says_so() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await PriceClient("unix:/nowhere").get("BTC")


async def test_a_service_that_is_not_there_is_named_unavailable(folder: Path) -> None:
    async with PriceClient(f"unix:{folder}/nobody.sock") as opened:
        with pytest.raises(TrinityError) as raised:
            await opened.get("BTC")
    assert raised.value.reason is Reason.BACKEND_UNAVAILABLE
