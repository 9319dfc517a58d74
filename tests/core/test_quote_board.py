"""Quote currencies are converted by their own fresh price, or left out."""

from __future__ import annotations

from decimal import Decimal

from core.stage import COINBASE, GATEIO, GEMINI, KRAKEN, OKX, SIX, Stage, at
from trinity_core.assets import Asset, AssetTable, Listing
from trinity_core.book import GRID_NS
from trinity_core.prices import State

CIRCLE = AssetTable(
    [
        Asset("AAA", "Aaa", (Listing(KRAKEN, "AAA/USDC", "USDC"), Listing(OKX, "AAA-USDT", "USDT"))),
        Asset("BBB", "Bbb", (Listing(KRAKEN, "BBB/USDC", "USDC"),)),
        Asset("USDC", "Usdc", (Listing(KRAKEN, "USDC/USD", "USD"), Listing(OKX, "USDC-USDT", "USDT"))),
        Asset("USDT", "Usdt", (Listing(KRAKEN, "USDT/USD", "USD"), Listing(OKX, "USDT-USDC", "USDC"))),
    ]
)


def test_a_quote_in_usdt_is_converted_exactly() -> None:
    stage = Stage()
    stage.quote(KRAKEN, "0.99987", asset="USDT")
    stage.quote(OKX, "65000.1")
    assert stage.value() == Decimal("65000.1") * Decimal("0.99987")
    assert str(stage.value()) == "64991.649987"


def test_without_a_fresh_rate_the_quote_is_left_out() -> None:
    stage = Stage()
    assert stage.quote(OKX, "65000") == []
    assert stage.book.current("BTC") is None
    stage.quote(KRAKEN, "65000")
    assert stage.current().sources == (KRAKEN,)


def test_a_first_rate_brings_quotes_in_at_the_next_grid_point() -> None:
    stage = Stage()
    stage.quote(OKX, "65000")
    stage.now = 0.33
    (rate,) = stage.quote(KRAKEN, "0.5", asset="USDT")
    assert rate.asset == "USDT"
    assert stage.until(0.399) == []
    (price,) = stage.until(0.4)
    assert (price.asset, price.price) == ("BTC", Decimal(32500))


def test_a_moving_rate_is_passed_on_once_a_grid_point() -> None:
    stage = Stage()
    stage.quote(KRAKEN, "1", asset="USDT")
    stage.quote(OKX, "100")
    stage.quote(OKX, "10", asset="ETH")
    for n in range(1, 10):
        stage.now = n / 100
        stage.quote(KRAKEN, f"1.000{n}", asset="USDT")
    changed = stage.until(0.1)
    assert sorted((price.asset, str(price.price)) for price in changed) == [("BTC", "100.0900"), ("ETH", "10.0090")]
    assert stage.until(5) == []


def test_a_rate_that_ends_takes_its_quotes_out() -> None:
    stage = Stage()
    stage.quote(KRAKEN, "1", asset="USDT")
    stage.now = 5
    stage.quotes({COINBASE: "99", OKX: "100", GATEIO: "100"})
    assert stage.current().price == 100
    stage.until(10.2)
    assert (stage.current().price, stage.current().sources) == (Decimal(99), (COINBASE,))


def test_a_price_made_of_converted_quotes_alone_is_no_fresher_than_the_rate() -> None:
    stage = Stage()
    stage.quote(KRAKEN, "1", asset="USDT")
    stage.now = 5
    stage.quote(OKX, "100")
    assert stage.current().fresh_until_mono_ns == at(10)
    stage.until(10.2)
    assert stage.current().state is State.DELAYED


def test_signs_of_life_on_the_rates_venue_keep_converted_quotes_fresh() -> None:
    stage = Stage()
    stage.alive(KRAKEN, OKX)
    stage.quote(KRAKEN, "1", asset="USDT")
    stage.quote(OKX, "100")
    for tenth in range(1, 590):
        stage.until(tenth / 10)
        if tenth % 10 == 0:
            stage.alive(KRAKEN, OKX)
        assert stage.price().state is State.FRESH
        assert stage.current().fresh_until_mono_ns >= at(stage.now + 3)


def test_venues_that_disagree_on_the_rate_are_no_rate() -> None:
    stage = Stage()
    stage.quotes({COINBASE: "1", KRAKEN: "1"}, asset="USDT")
    stage.quotes({COINBASE: "100", OKX: "100"})
    assert stage.current().sources == (COINBASE, OKX)
    stage.quote(KRAKEN, "0.9", asset="USDT")
    stage.until(2.2)
    assert stage.book.current("USDT").state is State.DIVERGENT  # type: ignore[union-attr]
    assert stage.current().sources == (COINBASE,)


def test_usdc_may_be_made_of_usdt_and_usdt_of_neither() -> None:
    stage = Stage(table=CIRCLE, asset="AAA")
    stage.quote(OKX, "1.01", asset="USDT")
    assert stage.book.current("USDT") is None
    stage.quote(KRAKEN, "1.02", asset="USDT")
    stage.quote(OKX, "0.99", asset="USDC")
    stage.quote(KRAKEN, "50")
    assert stage.book.current("USDT").price == Decimal("1.02")  # type: ignore[union-attr]
    assert stage.book.current("USDC").price == Decimal("1.02") * Decimal("0.99")  # type: ignore[union-attr]
    assert stage.value() == Decimal("1.02") * Decimal("0.99") * 50


def test_a_rate_reaches_what_is_twice_converted_grid_point_by_grid_point() -> None:
    stage = Stage(table=CIRCLE, asset="AAA")
    stage.quote(KRAKEN, "1", asset="USDT")
    stage.quote(OKX, "1", asset="USDC")
    stage.quotes({KRAKEN: "50", OKX: "50"})
    stage.quote(KRAKEN, "50", asset="BBB")
    stage.until(1)
    stage.now = 1.01
    stage.quote(KRAKEN, "0.99", asset="USDT")
    assert [price.asset for price in stage.until(1.1)] == ["USDC", "AAA"]
    assert [price.asset for price in stage.until(1.2)] == ["BBB"]
    assert stage.value() == Decimal("49.50")


def test_a_table_without_quote_currencies_is_a_table_too() -> None:
    stage = Stage(table=SIX, asset="XYZ")
    stage.quote(KRAKEN, "1")
    assert stage.value() == 1


def test_conversions_stay_off_the_tick_path() -> None:
    """One quote of USDT does not turn the pages of all that it converts before the grid point."""
    stage = Stage()
    stage.quote(GEMINI, "1", asset="USDT")
    for asset in ("BTC", "ETH", "SOL", "XRP", "DOGE"):
        stage.quote(OKX, "10", asset=asset)
    stage.now = 0.05
    assert [price.asset for price in stage.quote(GEMINI, "1.001", asset="USDT")] == ["USDT"]
    assert stage.book.next_due_ns() == at(0.1)
    assert at(0.1) % GRID_NS == 0
    assert len(stage.until(0.1)) == 5
