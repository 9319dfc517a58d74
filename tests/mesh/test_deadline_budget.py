"""The deadline that a served call leaves for those it makes, on a clock that stands still until it is moved."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest

from price.virtual_clock import VirtualClock
from trinity_mesh.calling import CallDetails, Method, RefusedCall
from trinity_mesh.deadline_budget import DeadlineBudget, for_everybody, left_s, serve_within

UNARY = Method("/trinity.price.v1.PriceService/GetPrice", "unary_unary")
STREAM = Method("/trinity.price.v1.PriceService/WatchPrices", "unary_stream")


def sent(clock: VirtualClock, timeout: float | None, method: Method = UNARY) -> Any:
    """The timeout that a call leaves with; or the refusal."""
    send = DeadlineBudget(default_ms=5_000, clock=clock).around(method, lambda _, details: details.timeout)
    return send("?", CallDetails(timeout))


async def test_a_call_outside_of_any_has_its_own_deadline_or_the_default() -> None:
    clock = VirtualClock()
    assert (sent(clock, None), sent(clock, 9)) == (5, 9)
    assert sent(clock, None, STREAM) is None


async def test_a_served_call_leaves_less_and_less_and_then_nothing() -> None:
    clock = VirtualClock()
    serve_within(1.0, clock)
    assert sent(clock, None) == pytest.approx(0.99)
    assert sent(clock, 0.5) == 0.5
    assert sent(clock, None, STREAM) == pytest.approx(0.99)
    clock.move(0.9)
    assert sent(clock, 0.5) == pytest.approx(0.09)
    clock.move(0.089)
    refused = sent(clock, None)
    assert isinstance(refused, RefusedCall)
    assert await refused.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    with pytest.raises(grpc.aio.AioRpcError, match="no time left"):
        await refused


@pytest.mark.parametrize(("given", "left"), [(0.01, 0.009), (0.1, 0.095), (10.0, 9.9)])
async def test_the_reserve_is_a_little_of_a_little_and_a_hundredth_of_much(given: float, left: float) -> None:
    clock = VirtualClock()
    serve_within(given, clock)
    assert left_s(clock) == pytest.approx(left)


async def test_work_for_everybody_has_nobodys_deadline() -> None:
    clock = VirtualClock()
    serve_within(1.0, clock)

    async def shared() -> float | None:
        return left_s(clock)

    with for_everybody():
        for_all = asyncio.create_task(shared())
    own = asyncio.create_task(shared())
    assert await for_all is None
    assert await own == pytest.approx(0.99)
    assert left_s(clock) == pytest.approx(0.99)
    serve_within(None, clock)
    assert left_s(clock) is None
