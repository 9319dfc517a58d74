"""The asset table: 150 assets, found by id or by a venue's symbol."""

from __future__ import annotations

import pytest

from trinity_core.assets import load_assets
from trinity_core.errors import Reason, TrinityError
from trinity_core.venues import Venue

TABLE = load_assets()


def test_there_are_150_assets_each_with_a_market() -> None:
    assert len(TABLE) == 150
    assert all(asset.listings for asset in TABLE.assets)


def test_an_id_is_found_in_either_case() -> None:
    assert TABLE.get("btc") is TABLE.get("BTC")


@pytest.mark.parametrize(
    ("wrong", "near"), [("BTCC", "BTC"), ("bitcoin", "BTC"), ("ETHH", "ETH"), ("DOGEE", "DOGE"), ("solanna", "SOL")]
)
def test_an_unknown_id_is_refused_with_the_nearest_names(wrong: str, near: str) -> None:
    with pytest.raises(TrinityError) as caught:
        TABLE.get(wrong)
    assert caught.value.reason is Reason.UNKNOWN_ASSET
    assert near in caught.value.metadata["nearest"].split(",")
    assert near in caught.value.message


def test_a_hostile_id_is_cut_in_the_error() -> None:
    with pytest.raises(TrinityError) as caught:
        TABLE.get("X" * 100_000)
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    ("venue", "symbol", "asset", "quote"),
    [
        (Venue.COINBASE, "MANTLE-USD", "MNT", "USD"),
        (Venue.GEMINI, "paxgusd", "PAXG", "USD"),
        (Venue.GATEIO, "USDC_USDT", "USDC", "USDT"),
        (Venue.OKX, "USDT-USD", "USDT", "USD"),
        (Venue.KRAKEN, "BTC/USD", "BTC", "USD"),
    ],
)
def test_a_venues_symbol_leads_to_asset_and_quote(venue: Venue, symbol: str, asset: str, quote: str) -> None:
    assert TABLE.symbols(venue)[symbol] == (asset, quote)


def test_dollar_markets_come_before_markets_that_need_a_conversion() -> None:
    for asset in TABLE.assets:
        converted = [listing.quote != "USD" for listing in asset.listings]
        assert converted == sorted(converted)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("asset,name,coinbase,gemini,kraken,gateio,cryptocom,okx\nA,A,A-USD,,,,,\nA,A,A-USD,,,,,\n", "twice"),
        ("asset,name,coinbase,gemini,kraken,gateio,cryptocom,okx\nA,A,,,,,,\n", "line 2.*no market"),
        ("asset,name,coinbase,gemini,kraken,gateio,cryptocom,okx\nA,A,A-EUR,,,,,\n", "line 2.*quote currency"),
        ("asset,name\nA,A\n", "line 2"),
        ("asset,name,coinbase,gemini,kraken,gateio,cryptocom,okx\nA,A,A-USD,,,,,\nB,B,A-USD,,,,,\n", "both"),
    ],
)
def test_a_broken_table_is_refused_with_the_place(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        load_assets(text)
