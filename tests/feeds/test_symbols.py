"""Symbols: what a spelling tells of base and quote."""

from __future__ import annotations

import pytest

from trinity_feeds.symbols import split, unglue


@pytest.mark.parametrize(
    "symbol", ["", "-", "BTC", "BTC-", "-USD", "BTC-USD-SWAP", "btc-usd", "BTC USD", "Ä-USD", "B" * 99 + "-USD"]
)
def test_what_is_not_two_plain_parts_is_nothing(symbol: str) -> None:
    assert split(symbol, "-") is None


def test_two_parts_are_base_and_quote() -> None:
    assert split("1INCH-USD", "-") == ("1INCH", "USD")
    assert split("NEO_BTC", "_") == ("NEO", "BTC")


def test_the_first_quote_that_fits_wins_unless_a_base_is_known() -> None:
    quotes = ("GUSD", "USD")
    assert unglue("BTCGUSD", quotes) == ("BTC", "GUSD")
    assert unglue("PAXGUSD", quotes, frozenset({"PAXG"})) == ("PAXG", "USD")
    assert unglue("GUSD", quotes) == ("G", "USD")
    assert unglue("USD", quotes) is None
    assert unglue("BTC-USD", quotes) is None
