"""gRPC calls are counted by the names of A66, at the server and at the client, whatever becomes of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from telemetry.told import Told, until_grown
from trinity.price.v1 import price_pb2, price_service_pb2, price_service_pb2_grpc
from trinity_core.errors import Reason, TrinityError
from trinity_mesh.channels import call, open_channel
from trinity_mesh.server import MeshServer, Service
from trinity_mesh.telemetry.client_calls import CountedChannel

SERVICE = price_service_pb2.DESCRIPTOR.services_by_name["PriceService"]
GET = "trinity.price.v1.PriceService/GetPrice"
WATCH = "trinity.price.v1.PriceService/WatchPrices"
BTC = price_pb2.GetPriceRequest(asset="BTC")
QUICK = price_pb2.GetPriceRequest(asset="QUICK").SerializeToString()
PRICED = price_pb2.GetPriceResponse(price=price_pb2.Price(asset="BTC", price="1"))


class Servicer(price_service_pb2_grpc.PriceServiceServicer):
    """Answers BTC, never answers SLOW, refuses the rest."""

    async def GetPrice(self, request: price_pb2.GetPriceRequest, context: Any) -> price_pb2.GetPriceResponse:
        if request.asset == "SLOW":
            await asyncio.Event().wait()
        if request.asset != "BTC":
            raise TrinityError(Reason.UNKNOWN_ASSET, "no such asset")
        return PRICED

    async def WatchPrices(self, request: price_pb2.WatchPricesRequest, context: Any) -> AsyncIterator[Any]:
        yield price_pb2.WatchPricesResponse(sequence=1).SerializeToString()
        if request.assets:
            await asyncio.Event().wait()


def quick(request: bytes) -> bytes | None:
    return PRICED.SerializeToString() if request == QUICK else None


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[MeshServer]:
    service = Service(
        SERVICE,
        lambda server: price_service_pb2_grpc.add_PriceServiceServicer_to_server(Servicer(), server),
        raw_responses=frozenset({"WatchPrices"}),
        quick={"GetPrice": quick},
    )
    async with MeshServer(address=f"unix:{tmp_path}/price.sock", services=[service]) as running:
        await running.set_serving(serving=True)
        yield running


@pytest.fixture
async def channel(server: MeshServer) -> AsyncIterator[grpc.aio.Channel]:
    async with open_channel(server.address) as opened:
        yield opened


async def test_a_call_is_counted_with_its_status_its_time_and_its_bytes_on_both_sides(
    server: MeshServer, channel: grpc.aio.Channel
) -> None:
    told = Told()
    await call(price_service_pb2_grpc.PriceServiceStub(channel).GetPrice(BTC))
    ok = {"grpc_method": GET, "grpc_status": "OK"}
    target = {"grpc_target": server.address}
    await until_grown(told, "grpc_server_call_duration_seconds_count", **ok)
    assert told.grown("grpc_server_call_started_total", grpc_method=GET) == 1
    assert told.grown("grpc_server_call_rcvd_total_compressed_message_size_bytes_sum", **ok) == BTC.ByteSize()
    assert told.grown("grpc_server_call_sent_total_compressed_message_size_bytes_sum", **ok) == PRICED.ByteSize()
    assert told.grown("grpc_client_attempt_started_total", grpc_method=GET, **target) == 1
    assert told.grown("grpc_client_attempt_duration_seconds_count", **ok, **target) == 1
    assert (
        told.grown("grpc_client_attempt_sent_total_compressed_message_size_bytes_sum", **ok, **target) == BTC.ByteSize()
    )
    assert (
        told.grown("grpc_client_attempt_rcvd_total_compressed_message_size_bytes_sum", **ok, **target)
        == PRICED.ByteSize()
    )
    assert told.grown("grpc_client_call_duration_seconds_count", **ok, **target) == 1
    assert told.grown("grpc_server_call_duration_seconds_bucket", le="+Inf", **ok) == 1


async def test_a_refusal_is_counted_by_its_status(server: MeshServer, channel: grpc.aio.Channel) -> None:
    told = Told()
    with pytest.raises(TrinityError):
        await call(price_service_pb2_grpc.PriceServiceStub(channel).GetPrice(price_pb2.GetPriceRequest(asset="NOPE")))
    refused = {"grpc_method": GET, "grpc_status": "NOT_FOUND"}
    await until_grown(told, "grpc_server_call_duration_seconds_count", **refused)
    assert told.grown("grpc_client_attempt_duration_seconds_count", grpc_target=server.address, **refused) == 1
    assert told.grown("grpc_client_call_duration_seconds_count", grpc_target=server.address, **refused) == 1


async def test_a_quick_answer_is_counted_like_any_other(channel: grpc.aio.Channel) -> None:
    told = Told()
    answer = await call(
        price_service_pb2_grpc.PriceServiceStub(channel).GetPrice(price_pb2.GetPriceRequest(asset="QUICK"))
    )
    assert answer == PRICED
    ok = {"grpc_method": GET, "grpc_status": "OK"}
    await until_grown(told, "grpc_server_call_duration_seconds_count", **ok)
    assert told.grown("grpc_server_call_started_total", grpc_method=GET) == 1
    assert told.grown("grpc_server_call_rcvd_total_compressed_message_size_bytes_sum", **ok) == len(QUICK)


async def test_a_call_that_its_client_gives_up_is_counted_as_cancelled(
    server: MeshServer, channel: grpc.aio.Channel
) -> None:
    told = Told()
    slow = price_service_pb2_grpc.PriceServiceStub(channel).GetPrice(price_pb2.GetPriceRequest(asset="SLOW"))
    await until_grown(told, "grpc_server_call_started_total", grpc_method=GET)
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow
    cancelled = {"grpc_method": GET, "grpc_status": "CANCELLED"}
    await until_grown(told, "grpc_server_call_duration_seconds_count", **cancelled)
    await until_grown(told, "grpc_client_call_duration_seconds_count", grpc_target=server.address, **cancelled)
    assert told.grown("grpc_client_attempt_duration_seconds_count", grpc_target=server.address, **cancelled) == 1


async def test_a_call_that_takes_too_long_is_counted_as_such(server: MeshServer, channel: grpc.aio.Channel) -> None:
    told = Told()
    stub = price_service_pb2_grpc.PriceServiceStub(channel)
    with pytest.raises(TrinityError):
        await call(stub.GetPrice(price_pb2.GetPriceRequest(asset="SLOW"), timeout=0.05))
    late = {"grpc_method": GET, "grpc_status": "DEADLINE_EXCEEDED", "grpc_target": server.address}
    await until_grown(told, "grpc_client_call_duration_seconds_count", **late)
    assert told.grown("grpc_client_attempt_duration_seconds_count", **late) == 1


async def test_a_stream_is_counted_when_it_ends(server: MeshServer, channel: grpc.aio.Channel) -> None:
    told = Told()
    stub = price_service_pb2_grpc.PriceServiceStub(channel)
    batches = [batch async for batch in stub.WatchPrices(price_pb2.WatchPricesRequest())]
    ok = {"grpc_method": WATCH, "grpc_status": "OK"}
    await until_grown(told, "grpc_server_call_duration_seconds_count", **ok)
    await until_grown(told, "grpc_client_attempt_duration_seconds_count", grpc_target=server.address, **ok)
    assert told.grown("grpc_client_call_duration_seconds_count", grpc_target=server.address, **ok) == 1
    assert told.grown("grpc_server_call_sent_total_compressed_message_size_bytes_sum", **ok) == batches[0].ByteSize()


async def test_a_stream_that_its_reader_leaves_is_counted_as_cancelled(
    server: MeshServer, channel: grpc.aio.Channel
) -> None:
    told = Told()
    watching = price_service_pb2_grpc.PriceServiceStub(channel).WatchPrices(
        price_pb2.WatchPricesRequest(assets=["BTC"])
    )
    assert (await watching.read()).sequence == 1
    watching.cancel()
    cancelled = {"grpc_method": WATCH, "grpc_status": "CANCELLED"}
    await until_grown(told, "grpc_server_call_duration_seconds_count", **cancelled)
    await until_grown(told, "grpc_client_call_duration_seconds_count", grpc_target=server.address, **cancelled)


async def test_methods_that_a_server_does_not_have_are_counted_as_one(
    server: MeshServer, channel: grpc.aio.Channel
) -> None:
    told = Told()
    methods = told.methods()
    for number in range(20):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(f"/trinity.price.v1.PriceService/Made{number}Up")(b"", timeout=30)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert told.methods() <= methods | {"other"}
    await until_grown(told, "grpc_server_call_started_total", grpc_method="other")
    assert told.grown("grpc_server_call_duration_seconds_count", grpc_method="other", grpc_status="UNIMPLEMENTED") == 20


async def test_a_channel_to_one_backend_counts_attempts_and_no_calls(server: MeshServer) -> None:
    told = Told()
    async with CountedChannel(grpc.aio.insecure_channel(server.address), server.address) as channel:
        invoke = channel.unary_unary(f"/{GET}")
        assert await invoke(BTC.SerializeToString(), timeout=30) == PRICED.SerializeToString()
    ok = {"grpc_method": GET, "grpc_status": "OK", "grpc_target": server.address}
    assert told.grown("grpc_client_attempt_started_total", grpc_method=GET, grpc_target=server.address) == 1
    assert told.grown("grpc_client_attempt_duration_seconds_count", **ok) == 1
    assert told.grown("grpc_client_call_duration_seconds_count", **ok) == 0
