"""What a caller is told: a price that meets every wish, or an error that says why not."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from core.stage import COINBASE, CRYPTOCOM, GATEIO, GEMINI, KRAKEN, OKX, SIX, Stage, at
from trinity_core.errors import Reason, TrinityError
from trinity_core.prices import Method, State

USD = {COINBASE: "100", KRAKEN: "100.1", CRYPTOCOM: "100.2", GEMINI: "100.3"}


def opened(**settings: Any) -> Stage:
    stage = Stage(**settings)
    stage.quotes(USD)
    return stage


def refusal(stage: Stage, **question: Any) -> TrinityError:
    with pytest.raises(TrinityError) as caught:
        stage.price(**question)
    return caught.value


def test_the_plain_answer_is_the_published_price_itself() -> None:
    stage = opened()
    assert stage.price() is stage.current()
    assert stage.price(min_sources=4, max_age_ms=5_000) == stage.current()


def test_the_plain_answer_is_judged_as_a_replica_judges_it_between_grid_points() -> None:
    stage = opened()
    stage.now = 10.05
    price = stage.price()
    assert price.state is State.DELAYED
    assert (price.sequence, price.price) == (stage.current().sequence, stage.current().price)


def test_asking_changes_nothing() -> None:
    asked, left = opened(), opened()
    for second in range(1, 100):
        asked.now = second
        for question in ({}, {"method": Method.VWAP}, {"source": KRAKEN}, {"max_age_ms": 80_000}):
            try:
                asked.price(**question)
            except TrinityError:
                continue
        asked.book.explain("BTC", at(second))
    assert asked.until(200) == left.until(200)


def test_an_asset_that_does_not_exist_names_its_neighbours() -> None:
    with pytest.raises(TrinityError) as caught:
        Stage().book.price("BTCC", at(0))
    assert caught.value.reason is Reason.UNKNOWN_ASSET
    assert caught.value.metadata["nearest"].startswith("BTC")


def test_an_id_is_found_in_either_case() -> None:
    stage = opened()
    assert stage.book.price("btc", at(0)) is stage.current()


def test_before_the_first_quote_there_is_no_price() -> None:
    error = refusal(Stage())
    assert (error.reason, error.metadata["asset"], error.retry_after_ms) == (Reason.NO_PRICE, "BTC", 1_000)


def test_a_delayed_price_is_answered_with_its_last_value() -> None:
    stage = opened()
    stage.now = 30
    price = stage.price()
    assert (price.state, price.price, price.sources) == (State.DELAYED, Decimal("100.15"), tuple(sorted(USD)))


@pytest.mark.parametrize("method", list(Method))
def test_a_stale_price_is_an_error_unless_such_an_age_is_asked_for(method: Method) -> None:
    stage = opened()
    stage.until(75)
    error = refusal(stage, method=method)
    assert error.reason is Reason.STALE_PRICE
    assert (error.metadata["age_ms"], error.metadata["max_age_ms"]) == ("75000", "60000")
    assert refusal(stage, method=method, max_age_ms=74_999).reason is Reason.STALE_PRICE
    price = stage.price(method=method, max_age_ms=75_000)
    assert (price.state, price.method) == (State.STALE, method)


def test_a_stale_source_is_an_error_unless_such_an_age_is_asked_for() -> None:
    stage = opened()
    stage.now = 59.999
    assert stage.price(source=KRAKEN).state is State.DELAYED
    stage.now = 60
    assert refusal(stage, source=KRAKEN).reason is Reason.STALE_PRICE
    assert refusal(stage, source=KRAKEN, max_age_ms=59_999).reason is Reason.STALE_PRICE
    price = stage.price(source=KRAKEN, max_age_ms=60_000)
    assert (price.state, price.price) == (State.STALE, Decimal("100.1"))


def test_every_quote_that_counts_is_within_the_age_asked_for() -> None:
    stage = Stage()
    stage.alive(*USD)
    for second, (venue, value) in enumerate(USD.items()):
        stage.now = second * 10
        stage.quote(venue, value)
        stage.alive(*USD)
    assert stage.price().sources == tuple(sorted(USD))
    young = stage.price(max_age_ms=10_000)
    assert (young.price, young.sources) == (Decimal("100.25"), (CRYPTOCOM, GEMINI))
    assert stage.price(max_age_ms=9_999).sources == (GEMINI,)
    stage.now = 31
    error = refusal(stage, max_age_ms=999)
    assert (error.reason, error.metadata["age_ms"]) == (Reason.STALE_PRICE, "1000")


def test_outliers_are_judged_among_all_fresh_quotes_not_only_the_young() -> None:
    stage = opened()
    stage.now = 5
    stage.quotes({COINBASE: "101.9", KRAKEN: "100.1"})
    price = stage.price(max_age_ms=1_000)
    assert (price.price, price.sources) == (Decimal("100.1"), (KRAKEN,))


def test_too_few_sources_are_an_error() -> None:
    stage = opened()
    error = refusal(stage, min_sources=5)
    assert (error.reason, error.metadata["sources"], error.metadata["min_sources"]) == (
        Reason.TOO_FEW_SOURCES,
        "4",
        "5",
    )
    assert error.retry_after_ms == 1_000
    assert refusal(stage_of_usdt(), min_sources=6).retry_after_ms is None
    assert refusal(stage, source=KRAKEN, min_sources=2).reason is Reason.TOO_FEW_SOURCES
    assert refusal(stage, method=Method.PRIMARY, min_sources=2).reason is Reason.TOO_FEW_SOURCES
    assert stage.price(min_sources=4).sources == tuple(sorted(USD))


def stage_of_usdt() -> Stage:
    stage = Stage(asset="USDT")
    stage.quote(KRAKEN, "1")
    return stage


def test_the_mean_by_volume_weighs_by_volume() -> None:
    stage = Stage()
    stage.quote(COINBASE, "100", volume_24h=Decimal(3))
    stage.quote(KRAKEN, "100.2", volume_24h=Decimal(1))
    stage.quote(CRYPTOCOM, "100.4", volume_24h=None)
    price = stage.price(method=Method.VWAP)
    assert (price.price, price.sources, price.method) == (Decimal("100.05"), (COINBASE, KRAKEN), Method.VWAP)
    assert price.confidence == Decimal("0.15")


def test_without_any_volume_there_is_no_mean_by_volume() -> None:
    stage = Stage()
    stage.quote(COINBASE, "100", volume_24h=None)
    stage.quote(KRAKEN, "100", volume_24h=Decimal(0))
    error = refusal(stage, method=Method.VWAP)
    assert (error.reason, error.metadata["method"]) == (Reason.NO_PRICE, "vwap")


def test_the_primary_is_the_first_kept_quote_in_the_assets_priority() -> None:
    stage = opened()
    price = stage.price(method=Method.PRIMARY)
    assert (price.price, price.sources, price.failover) == (Decimal(100), (COINBASE,), False)
    stage.quote(COINBASE, "98.5")
    assert stage.price(method=Method.PRIMARY).sources == (KRAKEN,)


def test_a_source_answers_with_its_own_quote_even_when_it_is_an_outlier() -> None:
    stage = opened()
    stage.quote(KRAKEN, "98.5")
    assert KRAKEN not in stage.current().sources
    price = stage.price(source=KRAKEN)
    assert (price.price, price.sources, price.failover, price.state) == (
        Decimal("98.5"),
        (KRAKEN,),
        False,
        State.FRESH,
    )
    assert (price.confidence, price.spread_bps) == (Decimal(0), Decimal("0.00"))


def test_a_source_in_another_currency_answers_in_usd() -> None:
    stage = opened()
    stage.quote(KRAKEN, "0.5", asset="USDT")
    stage.quote(OKX, "200")
    assert stage.value(source=OKX) == 100


def test_when_a_source_is_not_fresh_the_next_in_priority_answers_and_says_so() -> None:
    stage = opened()
    stage.now = 8
    stage.quotes({CRYPTOCOM: "100.2", GEMINI: "100.3"})
    stage.now = 11
    price = stage.price(source=KRAKEN)
    assert (price.sources, price.failover, price.state) == ((CRYPTOCOM,), True, State.FRESH)
    assert stage.price(source=GEMINI).failover is False
    assert stage.price(source=OKX).failover is True


def test_when_no_source_is_fresh_its_own_older_quote_answers() -> None:
    stage = opened()
    stage.now = 20
    price = stage.price(source=GEMINI)
    assert (price.sources, price.failover, price.state) == ((GEMINI,), False, State.DELAYED)
    other = stage.price(source=GATEIO)
    assert (other.sources, other.failover, other.state) == ((COINBASE,), True, State.DELAYED)


def test_a_source_obeys_the_age_asked_for() -> None:
    stage = Stage()
    stage.alive(COINBASE, KRAKEN)
    stage.quote(KRAKEN, "100")
    stage.now = 5
    stage.quote(COINBASE, "100.5")
    stage.alive(COINBASE, KRAKEN)
    assert stage.price(source=KRAKEN).sources == (KRAKEN,)
    price = stage.price(source=KRAKEN, max_age_ms=4_999)
    assert (price.sources, price.failover) == ((COINBASE,), True)


def test_a_source_that_does_not_list_the_asset_is_an_error() -> None:
    stage = stage_of_usdt()
    error = refusal(stage, source=GATEIO)
    assert error.reason is Reason.NOT_LISTED
    assert "kraken" in error.metadata["venues"]


def test_prices_of_other_methods_carry_the_sequence_published_last() -> None:
    stage = opened()
    for question in ({"method": Method.VWAP}, {"method": Method.PRIMARY}, {"source": KRAKEN}, {"max_age_ms": 50}):
        assert stage.price(**question).sequence == stage.current().sequence


def test_a_divergent_price_says_so_by_every_method() -> None:
    stage = Stage(table=SIX, asset="XYZ")
    stage.quotes({COINBASE: "100", KRAKEN: "103"})
    for method in Method:
        assert stage.price(method=method).state is State.DIVERGENT
    assert stage.price(source=KRAKEN).state is State.FRESH


def test_a_delayed_price_is_answered_by_every_method_from_its_last_quotes() -> None:
    stage = opened()
    before = {method: stage.value(method=method) for method in Method}
    stage.until(30)
    for method in Method:
        price = stage.price(method=method)
        assert (price.price, price.state) == (before[method], State.DELAYED)


def test_quotes_that_lost_their_rate_leave_a_delayed_price() -> None:
    stage = Stage()
    stage.quote(KRAKEN, "1", asset="USDT")
    stage.now = 5
    stage.quote(OKX, "100")
    stage.until(12)
    assert stage.price().state is State.DELAYED
    assert stage.price(method=Method.VWAP).state is State.DELAYED
    assert refusal(stage, source=OKX).reason is Reason.STALE_PRICE
