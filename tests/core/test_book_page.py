"""Jumps: one venue alone is not believed at once."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from core.stage import COINBASE, CRYPTOCOM, GEMINI, KRAKEN, OKX, SIX, Stage, at
from trinity_core.book_page import judge
from trinity_core.prices import State
from trinity_core.venues import Venue

USD = {COINBASE: "100", KRAKEN: "100", CRYPTOCOM: "100", GEMINI: "100"}


def opened(**settings: Any) -> Stage:
    stage = Stage(**settings)
    stage.quotes(USD)
    stage.now = 1
    return stage


def own(stage: Stage, venue: Venue) -> Decimal:
    return stage.value(source=venue)


def test_a_jump_of_one_venue_waits_and_its_value_before_stands_in() -> None:
    stage = opened()
    stage.quote(KRAKEN, "103")
    assert own(stage, KRAKEN) == 100
    assert stage.current().sources == tuple(sorted(USD))
    assert stage.book.held == {KRAKEN: 1}


@pytest.mark.parametrize(("value", "waits"), [("102", False), ("98", False), ("102.01", True), ("97.99", True)])
def test_only_a_move_of_more_than_jump_bps_waits(value: str, *, waits: bool) -> None:
    stage = opened()
    stage.quote(KRAKEN, value)
    assert own(stage, KRAKEN) == (100 if waits else Decimal(value))


def test_a_jump_that_stands_for_confirm_ms_is_believed_at_the_next_grid_point() -> None:
    stage = opened()
    stage.quote(KRAKEN, "103")
    stage.now = 2
    stage.quote(KRAKEN, "104")
    stage.until(2.9)
    assert own(stage, KRAKEN) == 100
    stage.until(3)
    assert own(stage, KRAKEN) == 104


def test_a_jump_back_was_never_one() -> None:
    stage = opened()
    stage.quote(KRAKEN, "103")
    stage.quote(KRAKEN, "100.5")
    assert own(stage, KRAKEN) == Decimal("100.5")
    assert stage.until(5) == []
    assert own(stage, KRAKEN) == Decimal("100.5")


def test_a_jump_to_the_other_side_waits_anew() -> None:
    stage = opened()
    stage.quote(KRAKEN, "103")
    stage.until(2.5)
    stage.quote(KRAKEN, "97")
    stage.until(3.5)
    assert own(stage, KRAKEN) == 100
    stage.until(4.5)
    assert own(stage, KRAKEN) == 97


def test_garbage_ends_the_wait_of_the_quote_before_it() -> None:
    stage = opened()
    stage.quote(KRAKEN, "103")
    stage.now = 1.5
    stage.quote(KRAKEN, "103", bid=Decimal(104), ask=Decimal(102))
    stage.until(5)
    assert own(stage, KRAKEN) == 100
    assert [entry.venue for entry in stage.book.explain("BTC", at(5)).inputs].count(KRAKEN) == 1
    stage.quote(KRAKEN, "103")
    stage.until(7)
    assert own(stage, KRAKEN) == 103


def test_two_venues_that_jump_to_the_same_place_confirm_each_other() -> None:
    stage = opened()
    assert stage.quote(KRAKEN, "104") == []
    stage.quote(COINBASE, "104.5")
    assert own(stage, KRAKEN) == 104
    assert own(stage, COINBASE) == Decimal("104.5")


def test_two_venues_that_jump_apart_do_not() -> None:
    stage = opened()
    stage.quote(KRAKEN, "104")
    stage.quote(COINBASE, "96")
    assert own(stage, KRAKEN) == own(stage, COINBASE) == 100


def test_a_venue_that_returns_to_where_the_others_are_is_believed_at_once() -> None:
    stage = opened()
    stage.quote(KRAKEN, "150")
    stage.until(4)
    assert KRAKEN not in stage.current().sources
    stage.quote(KRAKEN, "100.2")
    assert own(stage, KRAKEN) == Decimal("100.2")
    assert KRAKEN in stage.current().sources


def test_a_venue_that_drifts_to_a_waiting_quote_confirms_it() -> None:
    stage = opened()
    stage.quote(KRAKEN, "102.5")
    stage.quote(COINBASE, "101.4")
    assert own(stage, KRAKEN) == 100
    stage.quote(COINBASE, "101.6")
    assert own(stage, KRAKEN) == Decimal("102.5")


def test_a_stale_quote_confirms_nothing() -> None:
    stage = Stage()
    stage.quote(COINBASE, "104")
    stage.now = 8
    stage.quote(KRAKEN, "100")
    stage.until(11)
    stage.quote(KRAKEN, "104")
    assert own(stage, KRAKEN) == 100


def test_a_converted_quote_confirms_by_its_value_in_usd() -> None:
    stage = opened()
    stage.quotes({COINBASE: "0.95", KRAKEN: "0.95"}, asset="USDT")
    stage.quote(OKX, "110")
    stage.quote(KRAKEN, "104.4")
    assert own(stage, KRAKEN) == Decimal("104.4")


def test_a_venue_whose_quote_had_ended_is_believed_at_once() -> None:
    stage = opened()
    stage.until(20)
    stage.quote(KRAKEN, "150")
    assert own(stage, KRAKEN) == 150


def test_a_quote_that_waits_is_believed_when_the_one_that_stands_in_for_it_ends() -> None:
    stage = Stage(confirm_ms=10_000)
    stage.quote(KRAKEN, "100")
    stage.now = 8
    stage.quote(KRAKEN, "150")
    stage.until(10)
    assert own(stage, KRAKEN) == 100
    (price,) = stage.until(10.1)
    assert (price.price, price.state) == (Decimal(150), State.FRESH)


def test_the_value_that_stands_in_grows_old_on_a_live_connection() -> None:
    stage = Stage(confirm_ms=10_000, table=SIX, asset="XYZ")
    stage.alive(KRAKEN)
    stage.quote(KRAKEN, "100")
    stage.now = 5
    stage.alive(KRAKEN)
    stage.quote(KRAKEN, "150")
    for tenth in range(51, 151):
        stage.until(tenth / 10)
        stage.alive(KRAKEN)
        stage.quote(KRAKEN, str(150 if tenth % 2 else 50))
        assert own(stage, KRAKEN) == 100
    stage.until(15.1)
    assert own(stage, KRAKEN) == 50


def test_a_real_move_passes_with_the_second_venue() -> None:
    stage = opened()
    moved = [stage.quote(venue, "90") for venue in USD]
    assert [len(prices) for prices in moved] == [0, 1, 1, 1]
    assert [price.price for price in stage.published[-3:]] == [95, 90, 90]


def test_a_published_price_is_judged_by_its_own_times() -> None:
    stage = opened()
    price = stage.current()
    assert [judge(price, at(second)) for second in (0, 10, 10.001, 59.999, 60)] == [
        State.FRESH,
        State.FRESH,
        State.DELAYED,
        State.DELAYED,
        State.STALE,
    ]
