"""Literals: decimals exactly as written, what is no number, times to the nanosecond."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trinity_feeds.literals import DIGITS_MAX, Prices, Times, Volumes, number, price_of, unquoted, volume_of


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("0.99980", "0.99980"),
        ("1", "1"),
        ("0", "0"),
        ("0.000000454", "0.000000454"),
        ("1e-8", "0.00000001"),
        ("1.50E+3", "1500"),
        ("123456789012345678901234567890.12", "123456789012345678901234567890.12"),
        ("10.0000000000000000000000000001", "10.0000000000000000000000000001"),
    ],
)
def test_a_number_keeps_every_digit(text: str, plain: str) -> None:
    value = number(text)
    assert value is not None
    assert format(value, "f") == plain


NO_NUMBERS = (
    *(
        "",
        ".",
        "-1",
        "-0",
        "+1",
        " 1",
        "1 ",
        "1_0",
        "١",
        "1.2.3",
        "NaN",
        "sNaN",
        "Infinity",
        "-Infinity",
        "0x1",
        "1e",
        "e5",
    ),
    *("1e33", "1e-40", "1e999999", "1e9999999999", "1e-999999", "9" * 49, "9" * 100_000, "\x00", "null", "true", "1\n"),
)


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_everything_else_is_no_number(text: str) -> None:
    assert number(text) is None
    assert price_of(text) is None


def test_zero_is_a_volume_but_no_price() -> None:
    for zero in ("0", "0.0", "0.000000000", "0e5"):
        assert volume_of(zero) == 0
        assert price_of(zero) is None
    assert price_of(None) is volume_of(None) is None


def test_a_json_value_is_read_with_and_without_quotes() -> None:
    assert price_of(b'"1.50"') == price_of(b"1.50") == price_of("1.50") == Decimal("1.50")
    assert unquoted(b'"a"') == unquoted(b"a") == "a"
    for literal in (b"null", b"true", b"[]", b'{"a":1}', b'"', b'""', b'"\\u0031"', b"\xff", b'"1', b"NaN"):
        assert price_of(literal) is None or literal == b'"1'


@given(
    st.decimals(min_value=Decimal("1e-12"), max_value=Decimal("1e12"), allow_nan=False, allow_infinity=False, places=12)
)
def test_any_price_comes_back_as_it_was_written(value: Decimal) -> None:
    text = format(value, "f")
    found = price_of(text)
    assert found is not None
    assert format(found, "f") == text


@given(st.text(max_size=60) | st.binary(max_size=60))
def test_no_text_fails(literal: str | bytes) -> None:
    price, volume = price_of(literal), volume_of(literal)
    assert price is None or (price > 0 and price.is_finite())
    assert volume is None or (volume >= 0 and volume.is_finite())


def test_remembered_literals_are_bounded() -> None:
    for memory in (Prices(), Volumes()):
        for count in range(3 * memory.MAX):
            assert memory[str(count + 1)] == count + 1
            assert len(memory) <= memory.MAX
        assert memory["9" * (DIGITS_MAX + 1)] is None
        assert "9" * (DIGITS_MAX + 1) not in memory
        assert memory[None] is None


def test_remembered_prices_and_volumes_agree_with_the_first_look() -> None:
    prices, volumes = Prices(), Volumes()
    for literal in ("0", "1.50", b"1.50", b'"1.50"', b"null", "", None, "-1"):
        assert prices[literal] == prices[literal] == price_of(literal)
        assert volumes[literal] == volumes[literal] == volume_of(literal)


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("2026-08-09T21:05:48.228568804Z", 1_786_309_548_228_568_804),
        ("2026-08-09T21:05:48.228568Z", 1_786_309_548_228_568_000),
        ("2026-08-09T21:05:48.2Z", 1_786_309_548_200_000_000),
        ("2026-08-09T21:05:48Z", 1_786_309_548_000_000_000),
        ("2026-08-09T21:05:48+00:00", 1_786_309_548_000_000_000),
        ("2026-08-09 21:05:48.5Z", 1_786_309_548_500_000_000),
        ("2026-08-09T21:05:48.228568804999Z", 1_786_309_548_228_568_804),
        ("2015-04-08T20:49:06.506997Z", 1_428_526_146_506_997_000),
    ],
)
def test_a_time_is_read_to_the_nanosecond(text: str, ns: int) -> None:
    times = Times()
    assert [times.ns(text), times.ns(text)] == [ns, ns]


NO_TIMES = (
    *(None, "", "0001-01-01T00:00:00.000000Z", "1970-01-01T00:00:00.000000Z", "9999-12-31T23:59:59Z"),
    *("2026-02-30T00:00:00Z", "2026-08-09T25:00:00Z", "2026-08-09", "2026-08-09T21:05:48", "2026-08-09T21:05:48+02:00"),
    *("yesterday", "1786309548", "2026-08-09T21:05:48.Z", "2026-08-09T21:05:48.22856880٤Z", "٢026-08-09T21:05:48Z"),
    "2026-08-09T21:05:48.1234567891234567891Z",
)


@pytest.mark.parametrize("text", NO_TIMES)
def test_what_is_no_market_time_is_none(text: str | None) -> None:
    times = Times()
    assert times.ns("2026-08-09T21:05:48.228568804Z") is not None
    assert times.ns(text) is None


def test_the_remembered_second_never_serves_another() -> None:
    times = Times()
    first = times.ns("2026-08-09T21:05:48.000000001Z")
    assert times.ns("2026-08-09T21:05:49.000000001Z") == (first or 0) + 1_000_000_000
    assert times.ns("2026-08-09T21:05:48.000000002Z") == (first or 0) + 1
