"""Decimal arithmetic: exact or an error, and never the thread's context."""

from __future__ import annotations

import decimal
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trinity_core import exact

PRICES = st.decimals(min_value="1e-20", max_value="9e15", allow_nan=False, allow_infinity=False).filter(
    lambda value: exact.fit_price(value) is not None
)


@given(one=PRICES, other=PRICES)
def test_a_half_sum_is_the_rational_mean(one: Decimal, other: Decimal) -> None:
    assert Fraction(exact.half_sum(one, other)) == (Fraction(one) + Fraction(other)) / 2


@given(values=st.lists(PRICES, min_size=1, max_size=6))
def test_a_median_is_the_rational_median(values: list[Decimal]) -> None:
    ascending = sorted(map(Fraction, values))
    middle = len(ascending) // 2
    rational = ascending[middle] if len(ascending) % 2 else (ascending[middle - 1] + ascending[middle]) / 2
    assert Fraction(exact.median(sorted(values))) == rational


@given(distance=PRICES, of=PRICES)
def test_basis_points_are_rounded_once_half_to_even(distance: Decimal, of: Decimal) -> None:
    found = Fraction(exact.in_bps(distance, of)) * 100
    assert found == round(Fraction(distance) * 1_000_000 / Fraction(of))


def test_a_mean_by_weight_has_18_digits_rounded_half_to_even() -> None:
    assert exact.weighted_mean([Decimal(1), Decimal(2)], [Decimal(1), Decimal(2)]) == Decimal("1.66666666666666667")


def test_a_result_that_would_be_rounded_is_an_error() -> None:
    with pytest.raises(decimal.Inexact):
        exact.EXACT.divide(Decimal(1), Decimal(3))


def test_the_threads_context_changes_nothing() -> None:
    values = [Decimal("65000.123456789"), Decimal("65000.987654321")]

    def results() -> list[str]:
        return [
            str(result)
            for result in (
                exact.median(values),
                exact.in_bps(exact.subtract(values[1], values[0]), values[0]),
                exact.weighted_mean(values, values),
                exact.shares(values),
                exact.part(values[0]),
                exact.fit_price(values[0]),
            )
        ]

    plain = results()
    with decimal.localcontext() as context:
        context.prec = 3
        context.rounding = decimal.ROUND_UP
        assert results() == plain


def test_shares_add_up_to_one_within_their_rounding() -> None:
    assert exact.shares([Decimal(1), Decimal(1), Decimal(2)]) == (Decimal("0.25"), Decimal("0.25"), Decimal("0.5"))


@pytest.mark.parametrize("text", ["1e-24", "9.99e15", "0." + "0" * 20 + "1234", "123456789012345.123456789012345"])
def test_a_price_within_bounds_fits_unchanged(text: str) -> None:
    assert str(exact.fit_price(Decimal(text))) == str(Decimal(text))


@pytest.mark.parametrize("text", ["9e-25", "1e16", "1e999999", "1e-999999", "1." + "0" * 30, "1." + "3" * 30])
def test_a_price_out_of_bounds_does_not_fit(text: str) -> None:
    assert exact.fit_price(Decimal(text)) is None


@pytest.mark.parametrize("text", ["0", "-1", "NaN", "sNaN", "Infinity", "1e25", "1e999999"])
def test_a_volume_that_cannot_weigh_is_no_volume(text: str) -> None:
    assert exact.fit_volume(Decimal(text)) is None


def test_the_widest_conversions_and_weights_stay_exact() -> None:
    high, low = Decimal("9.99999999999999999999999999999e15"), Decimal("1.00000000000000000000000000001e-24")
    for value in (high, low):
        usdt = exact.half_sum(exact.half_sum(high, low), low)
        usdc = exact.half_sum(exact.multiply(value, usdt), low)
        asset = exact.half_sum(exact.multiply(value, usdc), low)
        assert exact.weighted_mean([asset, low], [Decimal("9e24"), Decimal("1e-24")]) > 0
        assert exact.in_bps(exact.subtract(asset, low), low).is_finite()
