"""The words around a price are the contract's."""

from __future__ import annotations

from decimal import Decimal
from enum import IntEnum

import pytest

from trinity.price.v1 import price_pb2
from trinity_core.prices import Exclusion, Method, State, Tier, plain


@pytest.mark.parametrize(
    ("ours", "theirs", "prefix"),
    [
        (State, price_pb2.State, "STATE_"),
        (Tier, price_pb2.Tier, "TIER_"),
        (Method, price_pb2.Method, "METHOD_"),
        (Exclusion, price_pb2.Exclusion, "EXCLUSION_"),
    ],
)
def test_numbers_are_those_of_the_contract(ours: type[IntEnum], theirs: object, prefix: str) -> None:
    contract = {name.removeprefix(prefix): number for name, number in theirs.items()}  # type: ignore[attr-defined]
    unspecified = contract.pop("UNSPECIFIED")
    if ours is Exclusion:
        contract["NONE"] = unspecified
    assert {word.name: word.value for word in ours} == contract


def test_every_state_has_its_own_letter() -> None:
    assert [state.letter for state in State] == ["F", "D", "S", "V", "H"]


@pytest.mark.parametrize(
    ("value", "text"),
    [("1E+3", "1000"), ("1E-20", "0.00000000000000000001"), ("65000.10", "65000.10"), ("0", "0"), ("0.00", "0.00")],
)
def test_a_decimal_is_shown_with_every_digit_and_no_exponent(value: str, text: str) -> None:
    assert plain(Decimal(value)) == text
