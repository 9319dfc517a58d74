"""What channels and servers do beyond one attempt a call is told, and a call is one call whatever it took."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from mesh.price_backends import SERVICE, Named, backend
from price.virtual_clock import VirtualClock, until
from telemetry.told import Told, until_grown
from trinity.price.v1 import price_pb2, price_service_pb2_grpc
from trinity_core.errors import Reason, TrinityError
from trinity_mesh.balancing import BalancingSettings
from trinity_mesh.breaker import BreakerSettings
from trinity_mesh.channels import call, open_channel
from trinity_mesh.clock import SystemClock
from trinity_mesh.deadline_budget import for_everybody, serve_within
from trinity_mesh.deadlines import Deadlines
from trinity_mesh.ejection import EjectionSettings
from trinity_mesh.hedging import HedgeSettings
from trinity_mesh.mesh_channel import CallSettings
from trinity_mesh.retrying import RetrySettings
from trinity_mesh.server import MeshServer, Service
from trinity_mesh.shedding import Shedding, SheddingSettings
from trinity_mesh.telemetry import catalogue, channel_figures
from trinity_mesh.telemetry.metrics import Sample
from trinity_mesh.telemetry.passing import Passing
from trinity_mesh.telemetry.server_calls import ServerTelemetry
from trinity_mesh.telemetry.server_figures import server_source

GET = "trinity.price.v1.PriceService/GetPrice"
WATCH = "trinity.price.v1.PriceService/WatchPrices"
BTC = price_pb2.GetPriceRequest(asset="BTC")
CALLS = "grpc_client_call_duration_seconds_count"
ATTEMPTS = "grpc_client_attempt_duration_seconds_count"
SERVED = "grpc_server_call_duration_seconds_count"
FOREVER_MS = 3_600_000


class Fitful(Named):
    """Says that it stops, as often as it is told to, before it answers."""

    def __init__(self, name: str, refusals: int) -> None:
        super().__init__(name)
        self.refusals = refusals

    async def GetPrice(self, request: price_pb2.GetPriceRequest, context: Any) -> price_pb2.GetPriceResponse:
        if self.asked < self.refusals:
            self.asked += 1
            raise TrinityError(Reason.STOPPING, "not now")
        return await super().GetPrice(request, context)


class Lost(Named):
    """Ends its calls as a broken connection does."""

    async def GetPrice(self, request: price_pb2.GetPriceRequest, context: Any) -> price_pb2.GetPriceResponse:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        raise AssertionError


class Lasting(Named):
    """Takes an hour by its clock, and answers."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__("lasting")
        self._clock = clock

    async def GetPrice(self, request: price_pb2.GetPriceRequest, context: Any) -> price_pb2.GetPriceResponse:
        self._clock.move(3_600)
        return await super().GetPrice(request, context)


async def get(channel: grpc.aio.Channel, timeout: float = 60) -> str:
    answer = await call(price_service_pb2_grpc.PriceServiceStub(channel).GetPrice(BTC, timeout=timeout))
    return str(answer.price.sources[0])


@pytest.fixture
async def silent(tmp_path: Path) -> AsyncIterator[tuple[Named, MeshServer]]:
    """A backend that keeps its answers to itself."""
    servicer = Named("silent")
    servicer.open.clear()
    async with backend(f"unix:{tmp_path}/silent.sock", servicer) as server:
        await server.set_serving(serving=True)
        yield servicer, server
        servicer.open.set()


async def test_a_call_that_is_made_again_is_one_call_of_several_attempts(tmp_path: Path) -> None:
    async with backend(f"unix:{tmp_path}/a.sock", Fitful("a", 2)) as server, open_channel(server.address) as channel:
        told, target = Told(), {"grpc_target": server.address}
        assert await get(channel) == "a"
        assert told.grown(CALLS, grpc_method=GET, grpc_status="OK", **target) == 1
        assert told.grown(CALLS, grpc_method=GET, grpc_status="UNAVAILABLE", **target) == 0
        assert told.grown(ATTEMPTS, grpc_method=GET, grpc_status="UNAVAILABLE", **target) == 2
        assert told.grown(ATTEMPTS, grpc_method=GET, grpc_status="OK", **target) == 1
        assert told.grown("trinity_call_retries_total", **target) == 2
        assert told.grown("trinity_call_unrepeated_total", **target) == 0


async def test_the_time_of_a_call_holds_all_its_attempts(tmp_path: Path) -> None:
    async with backend(f"unix:{tmp_path}/a.sock", Fitful("a", 2)) as server, open_channel(server.address) as channel:
        await get(channel)
        told = Told()
        of = {"grpc_method": GET, "grpc_target": server.address}
        whole = told.now("grpc_client_call_duration_seconds_sum", grpc_status="OK", **of)
        parts = [
            told.now("grpc_client_attempt_duration_seconds_sum", grpc_status=status, **of)
            for status in ("OK", "UNAVAILABLE")
        ]
        assert whole is not None
        assert whole > sum(part for part in parts if part is not None) > 0


async def test_a_call_whose_attempts_all_fail_is_counted_once_with_what_its_caller_saw(tmp_path: Path) -> None:
    async with backend(f"unix:{tmp_path}/a.sock", Fitful("a", 9)) as server, open_channel(server.address) as channel:
        told, of = Told(), {"grpc_method": GET, "grpc_status": "UNAVAILABLE", "grpc_target": server.address}
        with pytest.raises(TrinityError, match="not now"):
            await get(channel)
        assert told.grown(CALLS, **of) == 1
        assert told.grown(ATTEMPTS, **of) == 3
        assert told.grown("trinity_call_retries_total", grpc_target=server.address) == 2


async def test_what_the_budget_does_not_allow_is_counted(tmp_path: Path) -> None:
    settings = CallSettings(retry=RetrySettings(tokens_max=2))
    async with (
        backend(f"unix:{tmp_path}/a.sock", Fitful("a", 9)) as server,
        open_channel(server.address, settings=settings) as channel,
    ):
        told, target = Told(), {"grpc_target": server.address}
        with pytest.raises(TrinityError, match="not now"):
            await get(channel)
        assert told.grown("trinity_call_unrepeated_total", **target) == 1
        assert told.grown("trinity_call_retries_total", **target) == 0


async def test_a_hedged_read_is_one_call_and_its_loser_a_cancelled_attempt(
    tmp_path: Path, silent: tuple[Named, MeshServer]
) -> None:
    _, first = silent
    async with backend(f"unix:{tmp_path}/b.sock", Named("b")) as second:
        await second.set_serving(serving=True)
        both = f"{first.address},{second.address}"
        async with open_channel(both, settings=CallSettings(hedge=HedgeSettings(after_ms=50))) as channel:
            told = Told()
            while not told.grown("trinity_call_overtaken_total", grpc_target=both):
                assert await get(channel) == "b"
            hedges = told.grown("trinity_call_hedges_total", grpc_target=both)
            assert hedges >= 1
            ok = {"grpc_method": GET, "grpc_status": "OK"}
            cancelled = {"grpc_method": GET, "grpc_status": "CANCELLED"}
            assert told.grown(CALLS, grpc_target=both, **cancelled) == 0
            started = [
                told.grown("grpc_client_attempt_started_total", grpc_method=GET, grpc_target=each.address)
                for each in (first, second)
            ]
            assert told.grown(ATTEMPTS, grpc_target=first.address, **cancelled) == started[0]
            assert told.grown(ATTEMPTS, grpc_target=second.address, **ok) == started[1]
            assert told.grown(CALLS, grpc_target=both, **ok) == sum(started) - hedges


async def test_a_call_that_is_refused_before_it_leaves_is_counted_and_makes_no_attempt(tmp_path: Path) -> None:
    async with backend(f"unix:{tmp_path}/a.sock", Named("a")) as server, open_channel(server.address) as channel:
        told, target = Told(), {"grpc_target": server.address}
        stub = price_service_pb2_grpc.PriceServiceStub(channel)
        with for_everybody():
            serve_within(0, SystemClock())
            with pytest.raises(TrinityError, match="no time left"):
                await get(channel)
            with pytest.raises(grpc.aio.AioRpcError, match="no time left"):
                await stub.WatchPrices(price_pb2.WatchPricesRequest()).read()
        late = {"grpc_status": "DEADLINE_EXCEEDED", **target}
        assert told.grown(CALLS, grpc_method=GET, **late) == 1
        assert told.grown(CALLS, grpc_method=WATCH, **late) == 1
        assert told.grown("grpc_client_attempt_started_total", grpc_method=GET, **target) == 0
        assert told.grown("trinity_deadline_refusals_total", side="client") == 2


async def test_a_backend_that_leaves_its_calls_unanswered_is_told_as_an_open_circuit_and_so_are_refusals(
    silent: tuple[Named, MeshServer],
) -> None:
    _, server = silent
    breaker = BreakerSettings(failures=1, open_ms=FOREVER_MS, open_ms_max=FOREVER_MS)
    settings = CallSettings(balancing=BalancingSettings(timeouts_from_ms=1, breaker=breaker))
    async with open_channel(server.address, settings=settings) as channel:
        told, target = Told(), {"grpc_target": server.address}
        assert states(told, server.address) == {"unknown": 1}
        with pytest.raises(TrinityError):
            await get(channel, timeout=0.05)
        assert states(told, server.address) == {"circuit_open": 1}
        with pytest.raises(TrinityError, match="not answered"):
            await get(channel)
        assert told.grown(CALLS, grpc_method=GET, grpc_status="UNAVAILABLE", **target) == 1
        assert told.grown("grpc_client_attempt_started_total", grpc_method=GET, **target) == 1


async def test_backends_are_told_by_what_their_health_says(tmp_path: Path) -> None:
    async with (
        backend(f"unix:{tmp_path}/a.sock", Named("a")) as well,
        backend(f"unix:{tmp_path}/b.sock", Named("b")) as unwell,
    ):
        await well.set_serving(serving=True)
        both, told = f"{well.address},{unwell.address}", Told()
        async with open_channel(both):
            await until(lambda: states(told, both) == {"healthy": 1, "unwell": 1})


async def test_a_backend_that_fails_too_often_is_told_as_ejected(tmp_path: Path) -> None:
    ejection = EjectionSettings(interval_ms=1, calls_min=1, base_ms=FOREVER_MS, max_ms=FOREVER_MS)
    balancing = BalancingSettings(breaker=BreakerSettings(failures=1_000), ejection=ejection)
    settings = CallSettings(hedge=HedgeSettings(enabled=False), balancing=balancing)
    async with (
        backend(f"unix:{tmp_path}/a.sock", Lost("a")) as first,
        backend(f"unix:{tmp_path}/b.sock", Named("b")) as second,
    ):
        for each in (first, second):
            await each.set_serving(serving=True)
        both, told = f"{first.address},{second.address}", Told()
        async with open_channel(both, settings=settings) as channel:
            await until(lambda: states(told, both) == {"healthy": 2})
            while not told.grown("trinity_call_ejections_total", grpc_target=both):
                assert await get(channel) == "b"
            assert states(told, both) == {"healthy": 1, "ejected": 1}


async def test_a_channel_that_is_closed_leaves_its_counters_and_no_backends(tmp_path: Path) -> None:
    async with backend(f"unix:{tmp_path}/a.sock", Fitful("a", 1)) as server:
        told, target = Told(), {"grpc_target": server.address}
        async with open_channel(server.address) as channel:
            await get(channel)
            assert states(told, server.address) == {"unknown": 1}
        assert told.now("trinity_call_backends", state="unknown", **target) is None
        assert told.grown("trinity_call_retries_total", **target) == 1
        async with open_channel(server.address):
            assert told.grown("trinity_call_retries_total", **target) == 1


async def test_targets_beyond_a_bound_are_told_as_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(channel_figures, "_TARGETS_MAX", 0)
    told, address = Told(), f"unix:{tmp_path}/a.sock"
    async with open_channel(address):
        assert states(told, address) == {}
        assert states(told, "other") == {"unknown": 1}


def test_a_part_that_is_gone_without_a_word_is_read_no_more() -> None:
    class Part:
        pass

    passing, part = Passing(), Part()
    passing.follow(
        part,
        lambda: (
            Sample(catalogue.CALL_RETRIES, ("a",), 3),
            Sample(catalogue.BACKENDS, ("a", "healthy"), 1),
        ),
    )
    assert [value for *_, value in passing.samples()] == [3, 1]
    del part
    gc.collect()
    assert [value for *_, value in passing.samples()] == [3]


async def test_what_shedding_refuses_for_want_of_room_is_a_call_with_its_status(tmp_path: Path) -> None:
    servicer = Named("a")
    servicer.open.clear()
    once = CallSettings(retry=RetrySettings(attempts_max=1))
    full, told = SheddingSettings(calls_min=1, calls_max=1), Told()
    async with (
        backend(f"unix:{tmp_path}/a.sock", servicer, shedding=full) as server,
        open_channel(server.address, settings=once) as channel,
    ):
        first = asyncio.ensure_future(get(channel))
        await until(lambda: servicer.asked == 1)
        assert told.grown("trinity_shedding_limit") == 1
        assert told.grown("trinity_shedding_under_way") == 1
        with pytest.raises(TrinityError) as caught:
            await get(channel)
        assert caught.value.reason is Reason.OVERLOADED
        servicer.open.set()
        await first
        await until_grown(told, SERVED, grpc_method=GET, grpc_status="OK")
        assert told.grown(SERVED, grpc_method=GET, grpc_status="RESOURCE_EXHAUSTED") == 1
        assert told.grown("grpc_server_call_started_total", grpc_method=GET) == 2
        assert told.grown("trinity_shedding_refusals_total", reason="full") == 1
        assert told.grown("trinity_shedding_refusals_total", reason="hopeless") == 0
    assert told.grown("trinity_shedding_refusals_total", reason="full") == 1


async def test_what_shedding_refuses_as_hopeless_is_a_call_with_its_status(tmp_path: Path) -> None:
    clock = VirtualClock()
    servicer = Lasting(clock)
    server = MeshServer(
        address=f"unix:{tmp_path}/a.sock",
        services=[
            Service(SERVICE, lambda server: price_service_pb2_grpc.add_PriceServiceServicer_to_server(servicer, server))
        ],
        interceptors=(ServerTelemetry(), Shedding(clock=clock)),
    )
    async with server, open_channel(server.address) as channel:
        told = Told()
        assert await get(channel) == "lasting"
        with pytest.raises(TrinityError, match="less time left than its answer takes"):
            await get(channel)
        assert servicer.asked == 1
        await until_grown(told, SERVED, grpc_method=GET, grpc_status="DEADLINE_EXCEEDED")
        assert told.grown("trinity_shedding_refusals_total", reason="hopeless") == 1
        assert told.grown("trinity_shedding_refusals_total", reason="full") == 0


async def test_what_a_server_does_not_begin_for_want_of_time_is_counted() -> None:
    class Context:
        def time_remaining(self) -> float:
            return 0.001

    deadlines, servicer = Deadlines(), Named("a")
    bounded = deadlines.around("/x/y", grpc.unary_unary_rpc_method_handler(servicer.GetPrice))
    with pytest.raises(TrinityError, match="no time left"):
        await bounded.unary_unary(BTC, Context())
    told = [tuple(sample) for sample in server_source([deadlines])()]
    assert told == [(catalogue.DEADLINE_REFUSALS, ("server",), 1)]
    assert servicer.asked == 0


def states(told: Told, target: str) -> dict[str, float]:
    """How many backends of a target are in each state that any is in."""
    every = ("healthy", "unknown", "unwell", "ejected", "circuit_open")
    found = {state: told.now("trinity_call_backends", grpc_target=target, state=state) for state in every}
    return {state: count for state, count in found.items() if count}
