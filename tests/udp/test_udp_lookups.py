"""Look-ups: one call an asset however many ask, bounded, and never faster than agreed."""

from __future__ import annotations

import asyncio

from price.virtual_clock import VirtualClock, settle
from trinity.price.v1 import price_pb2
from trinity_core.errors import Reason, TrinityError
from trinity_udp.lookups import Lookups
from udp.counter import make_price

Outcome = price_pb2.Price | TrinityError


class Service:
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.answer: asyncio.Future[price_pb2.Price] = asyncio.get_running_loop().create_future()

    async def __call__(self, asset: str, /) -> price_pb2.Price:
        self.calls.append(asset)
        return await asyncio.shield(self.answer)


def lookups(service: Service, clock: VirtualClock, **bounds: int) -> Lookups[str, price_pb2.Price]:
    settings = {"timeout_ms": 5_000, "interval_ms": 250, "calls_max": 2, "waiters_max": 3, **bounds}
    return Lookups(lookup=service, clock=clock, **settings)


async def test_everyone_who_waits_for_an_asset_gets_the_answer_of_one_call() -> None:
    service, got = Service(), list[Outcome]()
    desk = lookups(service, VirtualClock())
    assert all(desk.submit("BTC", got.append) for _ in range(3))
    await settle()
    service.answer.set_result(make_price())
    await settle()
    assert service.calls == ["BTC"]
    assert got == [make_price()] * 3


async def test_who_waits_is_bounded_for_each_asset_and_in_number_of_assets() -> None:
    service, got = Service(), list[Outcome]()
    desk = lookups(service, VirtualClock())
    assert [desk.submit("BTC", got.append) for _ in range(4)] == [True, True, True, False]
    assert desk.submit("ETH", got.append)
    assert not desk.submit("SOL", got.append)
    service.answer.set_result(make_price())
    await settle()
    assert len(got) == 4
    assert desk.submit("SOL", got.append)
    await desk.close()


async def test_a_second_call_for_an_asset_waits_for_the_interval() -> None:
    clock, service, got = VirtualClock(), Service(), list[Outcome]()
    desk = lookups(service, clock)
    service.answer.set_result(make_price())
    desk.submit("BTC", got.append)
    await settle()
    desk.submit("BTC", got.append)
    await clock.advance(0.249)
    assert service.calls == ["BTC"]
    await clock.advance(0.002)
    assert service.calls == ["BTC", "BTC"]
    assert len(got) == 2


async def test_an_error_is_an_outcome_too() -> None:
    service, got = Service(), list[Outcome]()
    desk = lookups(service, VirtualClock())
    desk.submit("BTC", got.append)
    service.answer.set_exception(TrinityError(Reason.NO_PRICE, "no venue gives one"))
    await settle()
    assert [outcome.reason for outcome in got if isinstance(outcome, TrinityError)] == [Reason.NO_PRICE]


async def test_a_service_that_does_not_answer_costs_its_time_and_no_more() -> None:
    service, got = Service(), asyncio.Queue[Outcome]()
    desk = lookups(service, VirtualClock(), timeout_ms=1)
    desk.submit("BTC", got.put_nowait)
    outcome = await got.get()
    assert isinstance(outcome, TrinityError)
    assert outcome.reason is Reason.DEADLINE_EXCEEDED


async def test_an_unforeseen_failure_reaches_the_waiting_as_internal() -> None:
    service, got = Service(), list[Outcome]()
    desk = lookups(service, VirtualClock())
    desk.submit("BTC", got.append)
    service.answer.set_exception(ZeroDivisionError())
    await settle()
    assert [outcome.reason for outcome in got if isinstance(outcome, TrinityError)] == [Reason.INTERNAL]


async def test_closing_answers_nobody_and_leaves_no_task() -> None:
    service, got = Service(), list[Outcome]()
    desk = lookups(service, VirtualClock())
    desk.submit("BTC", got.append)
    await settle()
    await desk.close()
    assert got == []
    assert len(asyncio.all_tasks()) == 1
