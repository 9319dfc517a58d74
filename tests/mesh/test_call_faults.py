"""Calls to real servers that stop, stall, flap and die, over connections that break: reads go on while one lives."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from fault_proxy import FINE, Fault, FaultProxy
from mesh.price_backends import Named, Process, backend
from price.virtual_clock import until
from trinity.price.v1 import price_pb2, price_service_pb2_grpc
from trinity_core.errors import Reason, TrinityError
from trinity_mesh.channels import call, open_channel
from trinity_mesh.mesh_channel import MeshChannel

BTC = price_pb2.GetPriceRequest(asset="BTC")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: Unix sockets take about a hundred characters."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as entered:
        yield entered


class Pair:
    """Two servers, each behind a proxy, and one channel to both."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.servicers = [Named("a"), Named("b")]
        self.proxies: list[FaultProxy] = []

    async def start(self, stack: AsyncExitStack) -> None:
        self.servers = []
        for servicer in self.servicers:
            address = f"unix:{self.folder}/{servicer.name}.sock"
            self.servers.append(await stack.enter_async_context(backend(address, servicer)))
            await self.servers[-1].set_serving(serving=True)
            proxy = FaultProxy(address, listen=f"unix:{self.folder}/{servicer.name}-faulty.sock", seed=11)
            self.proxies.append(await stack.enter_async_context(proxy))
        opened = open_channel(",".join(proxy.address for proxy in self.proxies))
        self.channel: Any = await stack.enter_async_context(opened)
        self.stub = price_service_pb2_grpc.PriceServiceStub(self.channel)
        await self.known()

    async def known(self) -> None:
        """Both backends are known to be well."""
        await until(lambda: all(each.healthy for each in self.channel.balancer.backends))

    async def reads(self, count: int) -> list[str]:
        """Who answered each read; none may fail."""
        return [(await call(self.stub.GetPrice(BTC))).price.sources[0] for _ in range(count)]


@pytest.fixture
async def pair(folder: Path, stack: AsyncExitStack) -> Pair:
    pair = Pair(folder)
    await pair.start(stack)
    return pair


async def test_reads_are_spread_over_all_backends(pair: Pair) -> None:
    assert (await pair.reads(20)).count("a") == 10


async def test_a_backend_whose_connections_break_costs_no_read(pair: Pair) -> None:
    for _ in range(5):
        pair.proxies[0].cut()
        assert len(await pair.reads(10)) == 10
    pair.proxies[0].fault = Fault(refuse=True)
    pair.proxies[0].cut()
    assert len(await pair.reads(50)) == 50
    pair.proxies[0].fault = FINE
    await pair.known()
    assert "a" in await pair.reads(50)


async def test_a_backend_that_swallows_everything_costs_no_read(pair: Pair) -> None:
    pair.proxies[0].fault = Fault(swallow=True)
    assert set(await pair.reads(100)) == {"b"}
    assert pair.servicers[0].asked <= 10


async def test_a_backend_that_answers_slowly_costs_no_read(pair: Pair) -> None:
    pair.proxies[0].fault = Fault(delay_s=0.5)
    assert len(await pair.reads(50)) == 50


async def test_answers_lost_before_and_after_the_work_cost_no_read(pair: Pair) -> None:
    pair.proxies[0].fault = Fault(cut_before=0.3, cut_after=0.3)
    assert len(await pair.reads(100)) == 100


async def test_a_server_that_stops_is_left_by_its_clients_first_and_no_call_fails(pair: Pair) -> None:
    stopped = asyncio.create_task(pair.servers[0].stop())
    answered = []
    while not stopped.done():
        answered += await pair.reads(1)
    assert answered[-1] == "b"
    assert pair.channel.tally.retries == 0, "they moved away before it closed"
    assert pair.channel.balancer.backends[0].healthy is False


async def test_a_backend_that_says_it_is_not_serving_is_not_asked(pair: Pair) -> None:
    await pair.servers[1].set_serving(serving=False)
    await until(lambda: pair.channel.balancer.backends[1].healthy is False)
    assert set(await pair.reads(10)) == {"a"}
    await pair.servers[1].set_serving(serving=True)
    await pair.known()
    assert set(await pair.reads(10)) == {"a", "b"}


async def test_a_stream_goes_to_a_backend_that_is_well(pair: Pair) -> None:
    await pair.servers[0].set_serving(serving=False)
    await until(lambda: pair.channel.balancer.backends[0].healthy is False)
    for _ in range(3):
        streaming = pair.stub.WatchPrices(price_pb2.WatchPricesRequest())
        assert (await anext(aiter(streaming))).epoch == 2
        streaming.cancel()


async def test_with_every_backend_gone_a_read_fails_within_its_deadline(pair: Pair) -> None:
    for proxy in pair.proxies:
        proxy.fault = Fault(refuse=True)
        proxy.cut()
    with pytest.raises(TrinityError) as caught:
        await call(pair.stub.GetPrice(BTC, timeout=0.5))
    assert caught.value.reason in (Reason.BACKEND_UNAVAILABLE, Reason.DEADLINE_EXCEEDED)


async def test_a_process_that_is_stopped_killed_and_started_again_costs_no_read(
    folder: Path, stack: AsyncExitStack
) -> None:
    processes = [Process(f"unix:{folder}/{name}.sock", name) for name in ("a", "b")]
    for process in processes:
        await process.start()
        stack.push_async_callback(process.kill)
    channel: Any = await stack.enter_async_context(open_channel(",".join(each.address for each in processes)))
    stub = price_service_pb2_grpc.PriceServiceStub(channel)
    await until(lambda: all(each.healthy for each in channel.balancer.backends))

    async def reads(count: int) -> set[str]:
        return {(await call(stub.GetPrice(BTC))).price.sources[0] for _ in range(count)}

    processes[0].signal(signal.SIGSTOP)
    assert await reads(100) == {"b"}
    processes[0].signal(signal.SIGCONT)
    for _ in range(3):
        await processes[0].kill()
        assert await reads(20) == {"b"}
        await processes[0].start()
        assert "b" in await reads(20)
    await until(lambda: all(each.healthy for each in channel.balancer.backends))
    async with asyncio.timeout(20):
        while await reads(2) != {"a", "b"}:
            pass


async def test_a_name_leads_to_all_of_its_addresses_and_follows_them(
    stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = []
    for name in ("a", "b"):
        servers.append(await stack.enter_async_context(backend("127.0.0.1:0", Named(name))))
        await servers[-1].set_serving(serving=True)
    stands_for = [servers[0].address]

    async def resolved(_: object) -> tuple[str, ...]:
        return tuple(stands_for)

    monkeypatch.setattr("trinity_mesh.mesh_channel.resolve", resolved)
    monkeypatch.setattr("trinity_mesh.mesh_channel.RESOLVE_EVERY_S", 0.01)
    port = servers[0].address.rpartition(":")[2]
    channel = await stack.enter_async_context(open_channel(f"dns:localhost:{port}"))
    assert isinstance(channel, MeshChannel)
    stub = price_service_pb2_grpc.PriceServiceStub(channel)
    assert (await call(stub.GetPrice(BTC))).price.sources == ["a"]
    stands_for.append(servers[1].address)
    await until(lambda: len([each for each in channel.balancer.backends if each.healthy]) == 2)
    assert {(await call(stub.GetPrice(BTC))).price.sources[0] for _ in range(4)} == {"a", "b"}
    del stands_for[0]
    await until(lambda: len(channel.balancer.backends) == 1)
    assert (await call(stub.GetPrice(BTC))).price.sources == ["b"]


async def test_a_name_of_this_host_is_resolved(stack: AsyncExitStack) -> None:
    server = await stack.enter_async_context(backend("127.0.0.1:0", Named("a")))
    await server.set_serving(serving=True)
    port = server.address.rpartition(":")[2]
    channel: Any = await stack.enter_async_context(open_channel(f"dns:localhost:{port}"))
    stub = price_service_pb2_grpc.PriceServiceStub(channel)
    assert (await call(stub.GetPrice(BTC))).price.sources == ["a"]
    await until(lambda: any(each.address == server.address for each in channel.balancer.backends))


async def test_the_deadline_of_a_served_call_bounds_those_it_makes(folder: Path, stack: AsyncExitStack) -> None:
    below = Named("below")
    address = f"unix:{folder}/below.sock"
    await stack.enter_async_context(backend(address, below))
    to_below = await stack.enter_async_context(open_channel(address))

    class Above(price_service_pb2_grpc.PriceServiceServicer):
        async def GetPrice(self, request: Any, context: Any) -> Any:
            return await call(price_service_pb2_grpc.PriceServiceStub(to_below).GetPrice(request))

    await stack.enter_async_context(backend(f"unix:{folder}/above.sock", Above()))
    channel = await stack.enter_async_context(open_channel(f"unix:{folder}/above.sock"))
    stub = price_service_pb2_grpc.PriceServiceStub(channel)
    await call(stub.GetPrice(BTC, timeout=2))
    left = below.left_s[0]
    assert left is not None
    assert left < 2, "and not the five seconds that a call gets whose caller names no deadline"
    below.open.clear()
    with pytest.raises(TrinityError) as caught:
        await call(stub.GetPrice(BTC, timeout=0.2))
    assert caught.value.reason is Reason.DEADLINE_EXCEEDED


async def test_work_with_no_time_left_is_refused_without_a_call(pair: Pair) -> None:
    with pytest.raises(TrinityError, match="no time left") as caught:
        await call(pair.stub.GetPrice(BTC, timeout=0.001))
    assert caught.value.reason is Reason.DEADLINE_EXCEEDED
    assert [each.asked for each in pair.servicers] == [0, 0]
