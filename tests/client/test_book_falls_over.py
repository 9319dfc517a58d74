"""A book with two price services: it follows the other one when its own ends, with that one's epoch."""

from __future__ import annotations

import tempfile
from pathlib import Path

from client.batches import CLOCK, price, snapshot
from client.scripted import ScriptedPrices, server
from price.virtual_clock import VirtualClock, until, until_moving
from trinity.price.v1 import price_pb2
from trinity_client import PriceBook, PriceClient


async def test_a_book_falls_over_to_another_price_service_when_one_ends() -> None:
    clock = VirtualClock()
    now = clock.monotonic_ns()
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        services = [ScriptedPrices(), ScriptedPrices()]
        servers = [server(service, Path(folder)) for service, folder in zip(services, (one, two), strict=True)]
        for each in servers:
            await each.start()
            await each.set_serving(serving=True)
        target = ",".join(each.address for each in servers)
        try:
            async with PriceBook(target, clock=clock, clock_name=CLOCK) as book:
                await until(lambda: any(service.streams for service in services))
                first = 0 if services[0].streams else 1
                told = snapshot([price("BTC", 7, at_ns=now, epoch=100)], sequence=7, at_ns=now, epoch=100)
                services[first].streams[0].say(told)
                await book.ready()
                assert book.connection.epoch == 100
                other = services[1 - first]
                await servers[first].stop()
                await until_moving(clock, lambda: other.streams)
                assert other.streams[0].request.resume_epoch == 100, "it says where it was; the other knows better"
                now = clock.monotonic_ns()
                newer = price("BTC", 3, at_ns=now, value="101", epoch=200)
                other.streams[0].say(snapshot([newer], sequence=3, at_ns=now, epoch=200))
                await until(lambda: book.connection.epoch == 200)
                view = book.get("BTC")
                assert view is not None
                assert str(view.price) == "101"
        finally:
            for each in servers:
                await each.stop()


async def test_a_client_with_two_price_services_asks_the_one_that_is_left() -> None:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        services = [ScriptedPrices(), ScriptedPrices()]
        for service in services:
            service.answers["GetPrice"] = lambda request: _answer(request)
        first, second = (server(service, Path(folder)) for service, folder in zip(services, (one, two), strict=True))
        async with first, second, PriceClient(f"{first.address},{second.address}") as client:
            await first.set_serving(serving=True)
            await second.set_serving(serving=True)
            assert [(await client.get("BTC")).asset for _ in range(4)] == ["BTC"] * 4
            await first.stop()
            asked = len(services[1].requests)
            assert [(await client.get("BTC")).asset for _ in range(4)] == ["BTC"] * 4
            assert len(services[1].requests) == asked + 4


def _answer(request: object) -> object:
    assert isinstance(request, price_pb2.GetPriceRequest)
    return price_pb2.GetPriceResponse(price=price_pb2.Price(asset=request.asset, price="1"))
