"""Every input of a price, and what became of it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from core.stage import COINBASE, CRYPTOCOM, GATEIO, GEMINI, KRAKEN, OKX, SIX, UNIX, S, Stage, at
from trinity_core.book_explain import Explanation, QuoteInput
from trinity_core.exact import median
from trinity_core.prices import Exclusion, Method, State
from trinity_core.venues import Venue

USD = {COINBASE: "100", KRAKEN: "100.1", CRYPTOCOM: "100.2", GEMINI: "100.3"}


def explained(stage: Stage, **other: Any) -> Explanation:
    return stage.book.explain(stage.asset, at(stage.now), **other)


def of(explanation: Explanation, venue: Venue) -> QuoteInput:
    (found,) = [entry for entry in explanation.inputs if entry.venue is venue]
    return found


def test_every_venue_that_lists_the_asset_is_there_in_priority() -> None:
    explanation = explained(Stage())
    assert [entry.venue for entry in explanation.inputs] == [COINBASE, KRAKEN, CRYPTOCOM, GEMINI, OKX, GATEIO]
    assert explanation.price is None
    assert "no venue has given a price of BTC" in explanation.detail
    assert {(entry.exclusion, entry.detail, entry.age_ms, entry.alive_ms) for entry in explanation.inputs} == {
        (Exclusion.NOT_FRESH, "no quote yet", -1, -1)
    }


def test_a_kept_quote_shows_all_its_figures() -> None:
    stage = Stage()
    stage.alive(KRAKEN)
    stage.quote(KRAKEN, "100", half_spread="0.5", sequence=7, venue_time_ns=UNIX + 5 * S, volume_24h=Decimal(12))
    stage.now = 2
    stage.alive(KRAKEN)
    stage.now = 3
    entry = of(explained(stage), KRAKEN)
    assert (entry.symbol, entry.quote) == ("BTC/USD", "USD")
    assert (entry.last, entry.bid, entry.ask, entry.value, entry.value_usd) == tuple(
        map(Decimal, ("100", "99.5", "100.5", "100", "100"))
    )
    assert (entry.volume_24h, entry.age_ms, entry.alive_ms, entry.fresh, entry.kept) == (
        Decimal(12),
        3_000,
        1_000,
        True,
        True,
    )
    assert (entry.weight, entry.deviation_bps, entry.venue_sequence) == (Decimal(1), Decimal("0.00"), 7)
    assert (entry.venue_time_ns, entry.receive_time_ns, entry.venue_time_suspect) == (UNIX + 5 * S, UNIX, False)
    assert entry.conversion is None


def test_an_outlier_says_how_far_it_lies_and_how_far_it_may() -> None:
    stage = Stage()
    stage.quotes({**USD, GEMINI: "150"})
    explanation = explained(stage)
    entry = of(explanation, GEMINI)
    assert (entry.exclusion, entry.kept, entry.fresh, entry.weight) == (
        Exclusion.OUTLIER,
        False,
        True,
        Decimal(0),
    )
    assert "49.85 USD from the median" in entry.detail
    assert entry.deviation_bps == Decimal("4977.53")
    assert explanation.median == Decimal("100.15")
    assert explanation.mad == Decimal("0.1")
    assert explanation.threshold == Decimal("0.1") * Decimal("5.1891")


def test_a_quote_that_ended_says_when() -> None:
    stage = Stage()
    stage.quotes(USD)
    stage.now = 8
    stage.quote(GEMINI, "100.3")
    stage.now = 12
    entry = of(explained(stage), KRAKEN)
    assert (entry.exclusion, entry.fresh, entry.detail) == (
        Exclusion.NOT_FRESH,
        False,
        "stopped being fresh 2000 ms ago",
    )


def test_a_quote_without_a_rate_says_so() -> None:
    stage = Stage()
    stage.quotes({KRAKEN: "100", OKX: "100"})
    entry = of(explained(stage), OKX)
    assert (entry.exclusion, entry.fresh, entry.value, entry.value_usd) == (
        Exclusion.NO_CONVERSION,
        True,
        Decimal(100),
        None,
    )
    assert entry.conversion is not None
    assert (entry.conversion.currency, entry.conversion.rate, entry.conversion.state, entry.conversion.sequence) == (
        "USDT",
        None,
        State.HALTED,
        0,
    )


def test_a_converted_quote_shows_its_rate() -> None:
    stage = Stage()
    stage.quote(KRAKEN, "0.999", asset="USDT")
    stage.quote(OKX, "100")
    entry = of(explained(stage), OKX)
    assert entry.conversion is not None
    assert (entry.conversion.rate, entry.conversion.state, entry.conversion.sequence) == (
        Decimal("0.999"),
        State.FRESH,
        1,
    )
    assert entry.value_usd == Decimal("99.9")
    stage.until(30)
    conversion = of(explained(stage), OKX).conversion
    assert conversion is not None
    assert (conversion.rate, conversion.state) == (None, State.DELAYED)


def test_a_quote_that_waits_stands_beside_the_one_that_counts() -> None:
    stage = Stage()
    stage.quotes(USD)
    stage.now = 0.5
    stage.quote(KRAKEN, "110")
    stage.now = 1
    counting, waiting = (entry for entry in explained(stage).inputs if entry.venue is KRAKEN)
    assert (counting.value, counting.kept, counting.exclusion) == (Decimal("100.1"), True, Exclusion.NONE)
    assert "stands in" in counting.detail
    assert (waiting.value, waiting.kept, waiting.exclusion) == (Decimal(110), False, Exclusion.UNCONFIRMED_JUMP)
    assert "989.01 bps" in waiting.detail
    assert "1500 ms" in waiting.detail


def test_a_connection_that_is_down_is_shown() -> None:
    stage = Stage()
    stage.alive(KRAKEN)
    stage.quote(KRAKEN, "100")
    stage.alive(KRAKEN, connected=False)
    assert of(explained(stage), KRAKEN).alive_ms == -1


def test_disagreement_is_put_into_words() -> None:
    stage = Stage(table=SIX, asset="XYZ")
    stage.quotes({COINBASE: "100", KRAKEN: "110"})
    assert explained(stage).detail == "venues disagree: 2 of 2 fresh quotes lie 952.38 bps apart, the bound is 200"


def test_a_last_price_says_that_it_is_one() -> None:
    stage = Stage()
    stage.quotes(USD)
    stage.now = 20
    explanation = explained(stage)
    assert explanation.price is not None
    assert explanation.price.state is State.DELAYED
    assert "last price" in explanation.detail
    assert not any(entry.kept for entry in explanation.inputs)
    stage.now = 70
    assert explained(stage).price is None
    assert "no quote within 60000 ms" in explained(stage).detail


def test_a_mean_by_volume_that_was_drawn_to_its_bound_says_so() -> None:
    stage = Stage(table=SIX, asset="XYZ")
    values = ("100", "100", "100.01", "100.02", "100.4", "100.4")
    for venue, value in zip(Venue, values, strict=True):
        stage.quote(venue, value, volume_24h=Decimal("1e20") if value == "100.4" else Decimal(1))
    explanation = explained(stage, method=Method.VWAP)
    assert "drawn to its bound" in explanation.detail
    assert explained(stage).detail == ""


@pytest.mark.parametrize("method", list(Method))
@pytest.mark.parametrize("count", range(1, 7))
def test_weights_and_kept_inputs_make_the_price(method: Method, count: int) -> None:
    stage = Stage(table=SIX, asset="XYZ")
    for n, venue in enumerate(list(Venue)[:count]):
        stage.quote(venue, f"{100 + n / 100:.2f}", volume_24h=None if n == 1 else Decimal(n + 1))
    explanation = explained(stage, method=method)
    kept = [entry for entry in explanation.inputs if entry.kept]
    assert explanation.price is not None
    assert tuple(sorted(entry.venue for entry in kept)) == explanation.price.sources
    assert abs(sum((entry.weight for entry in kept), Decimal(-1))) <= Decimal("0.000003")
    made = sum((entry.weight * entry.value_usd for entry in kept if entry.value_usd is not None), Decimal(0))
    assert abs(made - explanation.price.price) < Decimal("0.001")
    if method is Method.MEDIAN:
        assert explanation.price.price == median(sorted(entry.value_usd for entry in kept if entry.value_usd))
    left = [entry for entry in explanation.inputs if not entry.kept and entry.last is not None]
    assert all(entry.exclusion is Exclusion.NOT_ASKED and entry.weight == 0 and entry.detail for entry in left)


def test_the_bounds_are_shown() -> None:
    explanation = explained(Stage(fresh_ms=5_000, quiet_ms=7_000, stale_ms=9_000))
    assert (explanation.fresh_ms, explanation.quiet_ms, explanation.stale_ms) == (5_000, 7_000, 9_000)
