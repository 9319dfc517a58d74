"""Shedding: a limit that falls when work is wasted and grows when it is not, and refusals before any work."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mesh.price_backends import Named, backend
from price.virtual_clock import until
from trinity.price.v1 import price_pb2, price_service_pb2_grpc
from trinity_core.errors import Reason, TrinityError
from trinity_mesh.channels import call, open_channel
from trinity_mesh.mesh_channel import CallSettings
from trinity_mesh.ordering import OrderError
from trinity_mesh.retrying import RetrySettings
from trinity_mesh.server import MeshServer
from trinity_mesh.shedding import Limit, Shedding, SheddingSettings, Takes
from trinity_mesh.standard import standard

BTC = price_pb2.GetPriceRequest(asset="BTC")
ONCE = CallSettings(retry=RetrySettings(attempts_max=1))
MS = 1_000_000


def test_a_limit_falls_when_work_ends_too_late_but_once_for_all_that_was_begun_before() -> None:
    limit = Limit(SheddingSettings(calls_min=4, calls_max=100))
    for _ in range(80):
        assert limit.begin()
    for now in range(10):
        limit.late(0, (100 + now) * MS)
    assert limit.limit == 60
    limit.late(200 * MS, 300 * MS)
    assert limit.limit == 45


def test_a_limit_never_falls_below_its_least_and_grows_again_with_answers_in_time() -> None:
    limit = Limit(SheddingSettings(calls_min=4, calls_max=8))
    for step in range(20):
        assert limit.begin()
        limit.late((2 * step + 1) * MS, (2 * step + 2) * MS)
    assert limit.limit == 4
    assert [limit.begin() for _ in range(5)] == [True] * 4 + [False]
    assert limit.refused == 1
    for _ in range(200):
        limit.ended()
        while limit.begin():
            pass
    assert limit.limit == 8


def test_an_idle_server_learns_nothing_from_quick_answers() -> None:
    limit = Limit(SheddingSettings(calls_min=4, calls_max=100))
    limit.begin()
    limit.late(1, 2)
    for _ in range(1_000):
        limit.begin()
        limit.ended()
    assert limit.limit == 4


def test_what_takes_longer_than_is_left_is_hopeless_until_it_is_found_to_be_faster() -> None:
    takes = Takes()
    assert not takes.hopeless(0.001)
    for _ in range(100):
        takes.took(0.1)
    assert not takes.hopeless(0.21)
    refused = 0
    while takes.hopeless(0.05):
        refused += 1
    assert 10 < refused < 100


@pytest.mark.parametrize("bad", [{"calls_min": 0}, {"calls_min": 10, "calls_max": 9}])
def test_settings_out_of_their_bounds_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="calls_min"):
        SheddingSettings(**bad)


async def test_calls_beyond_the_limit_are_refused_before_any_work_and_health_is_not(tmp_path: Path) -> None:
    servicer = Named("a")
    servicer.open.clear()
    full = SheddingSettings(calls_min=2, calls_max=2)
    async with (
        backend(f"unix:{tmp_path}/a.sock", servicer, shedding=full) as server,
        open_channel(server.address, settings=ONCE) as channel,
    ):
        await server.set_serving(serving=True)
        stub = price_service_pb2_grpc.PriceServiceStub(channel)
        waiting = [asyncio.ensure_future(call(stub.GetPrice(BTC, timeout=60))) for _ in range(2)]
        await until(lambda: servicer.asked == 2)
        with pytest.raises(TrinityError) as caught:
            await call(stub.GetPrice(BTC, timeout=60))
        assert (caught.value.reason, caught.value.retry_after_ms) == (Reason.OVERLOADED, 200)
        health = health_pb2_grpc.HealthStub(channel)
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING
        watching = stub.WatchPrices(price_pb2.WatchPricesRequest())
        assert (await anext(aiter(watching))).sequence == 1
        watching.cancel()
        servicer.open.set()
        await asyncio.gather(*waiting)
        assert (await call(stub.GetPrice(BTC))).price.sources == ["a"]
        assert servicer.asked == 3


async def test_a_refused_read_is_made_again_when_the_server_says_so(tmp_path: Path) -> None:
    servicer = Named("a")
    servicer.open.clear()
    full = SheddingSettings(calls_min=1, calls_max=1)
    async with (
        backend(f"unix:{tmp_path}/a.sock", servicer, shedding=full) as server,
        open_channel(server.address) as channel,
    ):
        stub = price_service_pb2_grpc.PriceServiceStub(channel)
        first = asyncio.ensure_future(call(stub.GetPrice(BTC, timeout=60)))
        await until(lambda: servicer.asked == 1)
        second = asyncio.ensure_future(call(stub.GetPrice(BTC, timeout=60)))
        mesh_channel: Any = channel
        await until(lambda: mesh_channel.tally.retries > 0)
        servicer.open.set()
        await asyncio.gather(first, second)
        assert servicer.asked == 2, "what was refused did not reach it"


async def test_a_call_that_arrives_with_too_little_time_does_no_work(tmp_path: Path) -> None:
    servicer = Named("a")
    shedding = Shedding()
    handler = grpc.unary_unary_rpc_method_handler(servicer.GetPrice)
    takes_long = shedding.around("/x/y", handler)

    class Context:
        left = 10.0
        aborted: tuple[Any, ...] = ()

        def time_remaining(self) -> float:
            return self.left

        def invocation_metadata(self) -> tuple[()]:
            return ()

        async def abort(self, *how: Any) -> None:
            self.aborted = how
            raise grpc.aio.AbortError

    context = Context()
    servicer.open.clear()
    asking = asyncio.ensure_future(takes_long.unary_unary(BTC, context))
    await until(lambda: shedding.limit.under_way == 1)
    await asyncio.sleep(0.05)
    servicer.open.set()
    await asking
    context.left = 0.003
    with pytest.raises(grpc.aio.AbortError):
        await takes_long.unary_unary(BTC, context)
    assert context.aborted[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    assert servicer.asked == 1


def test_a_server_with_its_interceptors_in_a_wrong_order_does_not_start(tmp_path: Path) -> None:
    ordered = standard()
    with pytest.raises(OrderError, match="belong as"):
        MeshServer(address=f"unix:{tmp_path}/a.sock", services=(), interceptors=ordered[::-1])
    with pytest.raises(OrderError, match="twice"):
        standard(Shedding())
