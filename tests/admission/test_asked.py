"""What a request asks for and how an answer counts, whichever descriptor pool the messages come from."""

from __future__ import annotations

import importlib.resources
from typing import Any

import pytest
from google.protobuf import message_factory

from trinity.feed.v1 import feed_pb2
from trinity.price.v1 import price_pb2
from trinity.report.v1 import report_pb2
from trinity_admission.asked import assets_of, outcome_of_code, outcome_of_response
from trinity_core.errors import Code
from trinity_core.usage import Outcome
from trinity_http.contract import pool_of


@pytest.mark.parametrize(
    ("request_", "assets"),
    [
        (price_pb2.GetPriceRequest(asset="btc"), ("BTC",)),
        (price_pb2.ExplainPriceRequest(asset="ETH"), ("ETH",)),
        (price_pb2.BatchGetPricesRequest(assets=["btc", "ETH"]), ("BTC", "ETH")),
        (price_pb2.WatchPricesRequest(), ()),
        (price_pb2.WatchPricesRequest(assets=["sol"]), ("SOL",)),
        (price_pb2.ListAssetsRequest(), None),
        (feed_pb2.FetchQuoteRequest(asset="btc"), ("BTC",)),
        (feed_pb2.StreamTicksRequest(), ()),
        (feed_pb2.ListVenuesRequest(), None),
        (report_pb2.ListUsageRequest(assets=["BTC"]), None),
    ],
)
def test_a_request_is_about_the_assets_it_names(request_: Any, assets: tuple[str, ...] | None) -> None:
    assert assets_of(request_) == assets


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        (price_pb2.GetPriceResponse(price=price_pb2.Price(tier=price_pb2.TIER_LOCAL)), Outcome.LOCAL),
        (price_pb2.GetPriceResponse(price=price_pb2.Price(tier=price_pb2.TIER_CACHE)), Outcome.CACHE),
        (price_pb2.GetPriceResponse(price=price_pb2.Price(tier=price_pb2.TIER_LIVE)), Outcome.LIVE),
        (price_pb2.GetPriceResponse(), Outcome.SERVED),
        (price_pb2.BatchGetPricesResponse(), Outcome.SERVED),
        (feed_pb2.FetchQuoteResponse(), Outcome.LIVE),
        (price_pb2.ListAssetsResponse(), Outcome.SERVED),
        (None, Outcome.SERVED),
    ],
)
def test_an_answer_counts_as_the_tier_it_came_from(response: Any, outcome: Outcome) -> None:
    assert outcome_of_response(response) is outcome


def test_a_batch_counts_as_its_dearest_price() -> None:
    results = [
        price_pb2.PriceResult(price=price_pb2.Price(tier=price_pb2.TIER_LOCAL)),
        price_pb2.PriceResult(price=price_pb2.Price(tier=price_pb2.TIER_LIVE)),
        price_pb2.PriceResult(asset="NOPE"),
    ]
    assert outcome_of_response(price_pb2.BatchGetPricesResponse(results=results)) is Outcome.LIVE
    assert outcome_of_response(price_pb2.BatchGetPricesResponse(results=results[2:])) is Outcome.SERVED


def test_messages_of_a_bridges_own_pool_are_read_alike() -> None:
    pool = pool_of(importlib.resources.files("trinity").joinpath("api.binpb").read_bytes())
    request = message_factory.GetMessageClass(pool.FindMessageTypeByName("trinity.price.v1.GetPriceRequest"))
    response = message_factory.GetMessageClass(pool.FindMessageTypeByName("trinity.price.v1.GetPriceResponse"))
    assert assets_of(request(asset="btc")) == ("BTC",)
    assert outcome_of_response(response(price={"tier": 3})) is Outcome.LIVE


def test_only_failures_of_ours_count_as_failed() -> None:
    failed = {code for code in Code if outcome_of_code(code) is Outcome.FAILED}
    assert {code for code in Code if outcome_of_code(code) is Outcome.REFUSED} == set(Code) - failed
    assert Code.INVALID_ARGUMENT not in failed
    assert Code.RESOURCE_EXHAUSTED not in failed
    assert {Code.INTERNAL, Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED} <= failed
