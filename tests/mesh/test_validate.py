"""Rules that stand in the contracts are kept, and what breaks them is named."""

from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from trinity.account.v1 import account_pb2
from trinity.feed.v1 import feed_pb2
from trinity.price.v1 import price_pb2
from trinity_core.errors import Reason, TrinityError
from trinity_mesh.validate import validate

GOOD: list[Message] = [
    price_pb2.GetPriceRequest(asset="BTC"),
    price_pb2.GetPriceRequest(asset="btc", quote="usd", source="kraken", min_sources=6),
    price_pb2.GetPriceRequest(asset="BTC", method=price_pb2.METHOD_VWAP, max_age=Duration(nanos=1_000_000)),
    price_pb2.GetPriceRequest(asset="BTC", max_age=Duration(seconds=86_400)),
    price_pb2.BatchGetPricesRequest(assets=["BTC"] * 200),
    price_pb2.WatchPricesRequest(),
    feed_pb2.StreamTicksRequest(venues=["okx", "kraken"]),
    feed_pb2.ListVenuesRequest(),
    account_pb2.UpdateAssociateRequest(associate=account_pb2.Associate(associate="acme", suspended=True)),
    account_pb2.UpdatePlanRequest(plan=account_pb2.Plan(plan="gold", name="Gold")),
    account_pb2.UpdatePlanRequest(plan=account_pb2.Plan(plan="gold", burst=5), update_mask=FieldMask(paths=["burst"])),
]

BAD: list[tuple[Message, str]] = [
    (price_pb2.GetPriceRequest(), "asset"),
    (price_pb2.GetPriceRequest(asset="B T"), "asset"),
    (price_pb2.GetPriceRequest(asset="BTC\n"), "asset"),
    (price_pb2.GetPriceRequest(asset="A" * 17), "asset"),
    (price_pb2.GetPriceRequest(asset="BTC", quote="EUR"), "quote"),
    (price_pb2.GetPriceRequest(asset="BTC", source="binance"), "source"),
    (price_pb2.GetPriceRequest(asset="BTC", method=99), "method"),  # type: ignore[arg-type]
    (price_pb2.GetPriceRequest(asset="BTC", min_sources=7), "min_sources"),
    (price_pb2.GetPriceRequest(asset="BTC", max_age=Duration()), "max_age"),
    (price_pb2.GetPriceRequest(asset="BTC", max_age=Duration(nanos=999_999)), "max_age"),
    (price_pb2.GetPriceRequest(asset="BTC", max_age=Duration(seconds=86_400, nanos=1)), "max_age"),
    (price_pb2.GetPriceRequest(asset="BTC", max_age=Duration(seconds=-1)), "max_age"),
    (price_pb2.BatchGetPricesRequest(), "assets"),
    (price_pb2.BatchGetPricesRequest(assets=["BTC"] * 201), "assets"),
    (price_pb2.BatchGetPricesRequest(assets=["BTC", "E-H"]), "assets[1]"),
    (price_pb2.ListAssetsRequest(page_size=1_001), "page_size"),
    (price_pb2.ListAssetsRequest(page_token="x" * 257), "page_token"),
    (feed_pb2.StreamTicksRequest(venues=["okx", "okx"]), "venues"),
    (feed_pb2.FetchQuoteRequest(asset="BTC", venue="O K"), "venue"),
    (account_pb2.CreatePlanRequest(plan=account_pb2.Plan(plan="gold", burst=5)), "plan.rate_per_s"),
    (account_pb2.UpdatePlanRequest(), "plan"),
    (account_pb2.UpdatePlanRequest(plan=account_pb2.Plan(plan="GOLD")), "plan.plan"),
    (
        account_pb2.UpdatePlanRequest(plan=account_pb2.Plan(plan="gold"), update_mask=FieldMask(paths=["burst"])),
        "plan.burst",
    ),
    (
        account_pb2.UpdateAssociateRequest(
            associate=account_pb2.Associate(associate="acme"), update_mask=FieldMask(paths=["name", "plan"])
        ),
        "associate.plan",
    ),
]


@pytest.mark.parametrize("message", GOOD, ids=str)
def test_a_request_within_its_rules_passes(message: Message) -> None:
    validate(message)


@pytest.mark.parametrize(("message", "field"), BAD, ids=lambda value: str(value)[:60])
def test_a_broken_rule_names_its_field_and_says_what_to_do(message: Message, field: str) -> None:
    with pytest.raises(TrinityError) as caught:
        validate(message)
    assert caught.value.reason is Reason.INVALID_FIELD
    assert caught.value.violations[0].field == field
    assert ";" in caught.value.violations[0].description, "the description ends with a hint"


def test_every_rule_of_the_contracts_can_be_compiled() -> None:
    for file in (price_pb2.DESCRIPTOR, feed_pb2.DESCRIPTOR):
        for name in file.message_types_by_name:
            module = price_pb2 if file is price_pb2.DESCRIPTOR else feed_pb2
            message = getattr(module, name)()
            try:
                validate(message)
            except TrinityError as error:
                assert error.reason is Reason.INVALID_FIELD
