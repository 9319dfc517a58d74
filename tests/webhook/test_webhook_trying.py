"""The dry run: what a rule would have sent for prices of one's own."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from trinity.price.v1 import price_pb2
from trinity.webhook.v1 import webhook_pb2
from trinity_core.assets import load_assets
from trinity_core.errors import TrinityError
from trinity_mesh.wire import stamp, unstamp
from trinity_webhook.trying import try_rule

T = 1_790_000_000
ASSETS = load_assets()


def tried(prices: list[tuple[float, str]], *, asset: str = "BTC", state: int = 0, **rule: Any) -> Any:
    samples = [
        webhook_pb2.PriceSample(asset=asset, time=stamp(round((T + at) * 10**9)), price=price, state=state)
        for at, price in prices
    ]
    request = webhook_pb2.EvaluateRuleRequest(subscription=webhook_pb2.Subscription(name="x", **rule), samples=samples)
    return try_rule(request, ASSETS)


def shown(answer: Any) -> list[tuple[float, str, str]]:
    found = []
    for preview in answer.previews:
        data = json.loads(preview.body)["data"]
        price = data["price"] if "price" in data else data["prices"][0]
        found.append(((unstamp(preview.time) - T * 10**9) / 10**9, preview.type, price["price"]))
    return found


def test_a_crossing_is_shown_as_it_would_be_sent() -> None:
    rule = webhook_pb2.Crossing(direction=webhook_pb2.DIRECTION_UP, threshold="100", cooldown=Duration(seconds=60))
    answer = tried([(0, "99"), (1, "100"), (2, "99"), (3, "101"), (90, "102")], crossing=rule)
    assert shown(answer) == [(1, "alert.crossing", "100"), (61, "alert.crossing", "101")]
    assert answer.waiting == 0


def test_what_waits_for_its_cooldown_still_is_counted() -> None:
    rule = webhook_pb2.Crossing(direction=webhook_pb2.DIRECTION_UP, threshold="100", cooldown=Duration(seconds=60))
    answer = tried([(0, "99"), (1, "100"), (2, "99"), (3, "101")], crossing=rule)
    assert (len(answer.previews), answer.waiting) == (1, 1)


def test_ticks_by_interval_fold_what_comes_between() -> None:
    rule = webhook_pb2.Interval(interval=Duration(seconds=10))
    answer = tried([(0, "1"), (1, "2"), (2, "3"), (15, "4")], interval=rule)
    assert shown(answer) == [(0, "price.tick", "1"), (10, "price.tick", "3")]
    assert json.loads(answer.previews[1].body)["data"]["prices"][0]["skipped"] == 1
    assert answer.waiting == 1


def test_staleness_is_told_when_it_has_lasted() -> None:
    rule = webhook_pb2.Staleness(after=Duration(seconds=5))
    answer = tried([(0, "1"), (9, "1")], state=price_pb2.STATE_STALE, staleness=rule)
    assert shown(answer) == [(5, "alert.staleness", "1")]


def test_other_assets_are_left_out() -> None:
    answer = tried([(0, "1")], asset="ETH", assets=["BTC"], every_change=webhook_pb2.EveryChange())
    assert (len(answer.previews), answer.waiting) == (0, 0)


@pytest.mark.parametrize(
    ("prices", "asset", "field"),
    [
        ([(1, "1"), (0, "1")], "BTC", "samples[1].time"),
        ([(0, "0")], "BTC", "samples[0].price"),
        ([(0, "99999999999999999")], "BTC", "samples[0].price"),
        ([(0, "1")], "BTCC", "samples[0].asset"),
    ],
)
def test_a_sample_that_makes_no_sense_is_refused(prices: list[tuple[float, str]], asset: str, field: str) -> None:
    with pytest.raises(TrinityError) as caught:
        tried(prices, asset=asset, every_change=webhook_pb2.EveryChange())
    assert caught.value.metadata["field"] == field
