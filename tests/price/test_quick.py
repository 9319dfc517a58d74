"""Plain questions for a price, answered in bytes, and everything else, which is not."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import pytest

from price.small_price import SmallPrice
from trinity.price.v1 import price_pb2, price_service_pb2_grpc
from trinity_core.venues import Venue


@pytest.fixture
async def small() -> AsyncIterator[SmallPrice]:
    with tempfile.TemporaryDirectory() as name:
        made = SmallPrice(Path(name))
        async with made.running():
            venues = [Venue.COINBASE, Venue.KRAKEN, Venue.GEMINI]
            await made.say([made.tick(venue, "BTC", "100") for venue in venues], alive=venues)
            yield made


async def asked(small: SmallPrice, **fields: object) -> price_pb2.Price:
    async with grpc.aio.insecure_channel(small.address) as channel:
        stub = price_service_pb2_grpc.PriceServiceStub(channel)
        return (await stub.GetPrice(price_pb2.GetPriceRequest(**fields))).price  # type: ignore[arg-type]


async def test_a_plain_question_is_answered_as_the_long_way_would(small: SmallPrice) -> None:
    quick = small.part.quick
    for number, fields in enumerate(({"asset": "BTC"}, {"asset": "btc"}, {"asset": "BTC", "method": 1}), start=1):
        short = await asked(small, **fields)
        assert quick.answered == number
        # min_sources asks for no more than there is, but is no plain question.
        long = await asked(small, **fields, min_sources=1)
        assert quick.answered == number
        assert short == long


@pytest.mark.parametrize(
    "fields",
    [
        {"asset": "BTC", "method": price_pb2.METHOD_VWAP},
        {"asset": "BTC", "source": "kraken"},
        {"asset": "BTC", "min_sources": 2},
        {"asset": "BTC", "max_age": {"seconds": 5}},
    ],
)
async def test_any_other_question_goes_the_long_way(small: SmallPrice, fields: dict[str, object]) -> None:
    assert (await asked(small, **fields)).asset == "BTC"
    assert small.part.quick.answered == 0


@pytest.mark.parametrize(
    ("request_bytes", "code"),
    [
        (price_pb2.GetPriceRequest(asset="B!").SerializeToString(), grpc.StatusCode.INVALID_ARGUMENT),
        (price_pb2.GetPriceRequest(asset="NOPE").SerializeToString(), grpc.StatusCode.NOT_FOUND),
        (b"", grpc.StatusCode.INVALID_ARGUMENT),
        (b"\xff\xff\xff", grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_what_is_wrong_is_refused_as_ever(small: SmallPrice, request_bytes: bytes, code: grpc.StatusCode) -> None:
    async with grpc.aio.insecure_channel(small.address) as channel:
        call = channel.unary_unary("/trinity.price.v1.PriceService/GetPrice")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(request_bytes)
    assert caught.value.code() is code
    assert small.part.quick.answered == 0


async def test_a_price_whose_state_has_turned_is_judged_anew(small: SmallPrice) -> None:
    assert (await asked(small, asset="BTC")).state == price_pb2.STATE_FRESH
    assert small.part.quick(price_pb2.GetPriceRequest(asset="BTC").SerializeToString()) is not None
    small.clock.move(3_600)
    assert small.part.quick(price_pb2.GetPriceRequest(asset="BTC").SerializeToString()) is None


async def test_plans_are_bounded(small: SmallPrice) -> None:
    quick = small.part.quick
    for number in range(5_000):
        # An unknown field makes other bytes of the same question.
        quick(price_pb2.GetPriceRequest(asset="BTC").SerializeToString() + bytes([0xF8, 0x07, number % 128]))
        quick(bytes([0xF8, 0x07, number % 128]) + price_pb2.GetPriceRequest(asset="BTC").SerializeToString())
    assert len(quick._plans) <= 4_096
