"""Servers of the mesh: errors with details, validation, health, reflection, raw responses, a graceful end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from trinity.price.v1 import price_pb2, price_service_pb2, price_service_pb2_grpc
from trinity_core.errors import Reason, TrinityError
from trinity_mesh.channels import call, open_channel, stream
from trinity_mesh.server import MeshServer, Service

SERVICE = price_service_pb2.DESCRIPTOR.services_by_name["PriceService"]


class Servicer(price_service_pb2_grpc.PriceServiceServicer):
    """Answers BTC, refuses the rest, breaks on BUG."""

    async def GetPrice(self, request: price_pb2.GetPriceRequest, context: Any) -> price_pb2.GetPriceResponse:
        if request.asset == "BUG":
            raise RuntimeError("secret detail")
        if request.asset != "BTC":
            raise TrinityError(Reason.UNKNOWN_ASSET, "no such asset", metadata={"nearest": "BTC"}, retry_after_ms=1_500)
        return price_pb2.GetPriceResponse(price=price_pb2.Price(asset="BTC", price="1"))

    async def WatchPrices(self, request: price_pb2.WatchPricesRequest, context: Any) -> AsyncIterator[Any]:
        for number in range(3):
            message = price_pb2.WatchPricesResponse(sequence=number)
            yield message.SerializeToString()
        raise TrinityError(Reason.STOPPING, "the service is stopping")


def add(server: Any) -> None:
    price_service_pb2_grpc.add_PriceServiceServicer_to_server(Servicer(), server)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[MeshServer]:
    service = Service(SERVICE, add, raw_responses=frozenset({"WatchPrices"}))
    async with MeshServer(address=f"unix:{tmp_path}/price.sock", services=[service]) as running:
        await running.set_serving(serving=True)
        yield running


@pytest.fixture
async def stub(server: MeshServer) -> AsyncIterator[Any]:
    async with open_channel(server.address) as channel:
        yield price_service_pb2_grpc.PriceServiceStub(channel)


async def test_a_call_is_answered(stub: Any) -> None:
    answer = await call(stub.GetPrice(price_pb2.GetPriceRequest(asset="BTC")))
    assert answer.price.price == "1"


async def test_an_error_keeps_its_reason_metadata_and_retry_time_across_the_wire(stub: Any) -> None:
    with pytest.raises(TrinityError) as caught:
        await call(stub.GetPrice(price_pb2.GetPriceRequest(asset="NOPE")))
    assert caught.value.reason is Reason.UNKNOWN_ASSET
    assert caught.value.metadata == {"nearest": "BTC"}
    assert caught.value.retry_after_ms == 1_500


async def test_an_unforeseen_error_tells_the_caller_nothing_but_internal(stub: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetPrice(price_pb2.GetPriceRequest(asset="BUG"))
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in str(caught.value)


async def test_a_request_that_breaks_its_contract_never_reaches_the_servicer(stub: Any) -> None:
    with pytest.raises(TrinityError) as caught:
        await call(stub.GetPrice(price_pb2.GetPriceRequest(asset="B!")))
    assert caught.value.reason is Reason.INVALID_FIELD
    assert [violation.field for violation in caught.value.violations] == ["asset"]


async def test_the_request_id_of_the_caller_comes_back_with_an_error(stub: Any) -> None:
    pending = stub.GetPrice(price_pb2.GetPriceRequest(asset="NOPE"), metadata=(("x-request-id", "abc-1"),))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await pending
    assert ("x-request-id", "abc-1") in tuple(caught.value.trailing_metadata() or ())


async def test_a_raw_stream_is_parsed_like_any_other_and_its_error_is_seen(stub: Any) -> None:
    seen = []
    with pytest.raises(TrinityError) as caught:
        async for message in stream(stub.WatchPrices(price_pb2.WatchPricesRequest())):
            seen.append(message.sequence)
    assert seen == [0, 1, 2]
    assert caught.value.reason is Reason.STOPPING


async def test_a_stream_request_is_validated_too(stub: Any) -> None:
    with pytest.raises(TrinityError) as caught:
        async for _ in stream(stub.WatchPrices(price_pb2.WatchPricesRequest(heartbeat_ms=60_001))):
            pass
    assert caught.value.violations[0].field == "heartbeat_ms"


async def test_health_follows_what_the_part_says(server: MeshServer) -> None:
    async with open_channel(server.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service=SERVICE.full_name)
        assert (await health.Check(request)).status == health_pb2.HealthCheckResponse.SERVING
        await server.set_serving(serving=False)
        assert (await health.Check(request)).status == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_reflection_lists_the_services(server: MeshServer) -> None:
    async with open_channel(server.address) as channel:
        reflect = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        async for answer in reflect.ServerReflectionInfo(iter([asked])):
            names = {service.name for service in answer.list_services_response.service}
            assert {SERVICE.full_name, "grpc.health.v1.Health"} <= names


async def test_a_taken_tcp_address_is_an_error_that_names_it() -> None:
    async with MeshServer(address="127.0.0.1:0", services=[Service(SERVICE, add)]) as first:
        with pytest.raises(TrinityError, match=first.address.replace(".", r"\.")):
            await MeshServer(address=first.address, services=[Service(SERVICE, add)]).start()


async def test_a_unix_socket_is_ours_alone_and_gone_after_the_end(tmp_path: Path) -> None:
    path = tmp_path / "run" / "price.sock"
    async with MeshServer(address=f"unix:{path}", services=[Service(SERVICE, add)]):
        assert path.stat().st_mode & 0o777 == 0o600
    assert not path.exists()


async def test_a_call_without_a_deadline_gets_the_default_one(tmp_path: Path) -> None:
    async with open_channel(f"unix:{tmp_path}/nobody.sock", deadline_ms=50) as channel:
        stub = price_service_pb2_grpc.PriceServiceStub(channel)
        with pytest.raises(TrinityError) as caught:
            await call(stub.GetPrice(price_pb2.GetPriceRequest(asset="BTC"), wait_for_ready=True))
    assert caught.value.reason is Reason.DEADLINE_EXCEEDED
