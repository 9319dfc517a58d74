"""The book: what it publishes, when, and under which sequence."""

from __future__ import annotations

import random
from decimal import Decimal

import msgspec
import pytest

from core.stage import COINBASE, CRYPTOCOM, GATEIO, GEMINI, KRAKEN, OKX, SIX, Stage, at, make_tick
from trinity_core.book import GRID_NS, Book, BookSettings, Refusal
from trinity_core.prices import State
from trinity_core.venues import Venue

USD = {COINBASE: "100", KRAKEN: "100.1", CRYPTOCOM: "100.2", GEMINI: "100.3"}


def test_a_first_quote_makes_a_price_with_its_evidence() -> None:
    stage = Stage()
    (price,) = stage.quote(KRAKEN, "100", venue_time_ns=5, received=0)
    assert (price.asset, price.price, price.state, price.sources, price.sequence) == (
        "BTC",
        Decimal(100),
        State.FRESH,
        (KRAKEN,),
        1,
    )
    assert (price.receive_mono_ns, price.fresh_until_mono_ns, price.stale_at_mono_ns) == (at(0), at(10), at(60))
    assert stage.current() is price


def test_sources_stand_in_the_order_of_their_ids() -> None:
    stage = Stage()
    stage.quotes(USD)
    assert stage.current().sources == (COINBASE, CRYPTOCOM, GEMINI, KRAKEN)
    assert list(stage.current().sources) == sorted(stage.current().sources)


def test_a_quote_that_changes_nothing_is_not_published() -> None:
    stage = Stage()
    stage.quotes(USD)
    stage.now = 1
    assert stage.quotes(USD) == []
    assert stage.quote(COINBASE, "99.95") != []


def test_a_price_that_only_lives_on_is_published_when_it_has_gained_a_quarter_of_fresh_ms() -> None:
    stage = Stage()
    stage.quotes(USD)
    published = []
    for tenth in range(1, 100):
        stage.now = tenth / 10
        for venue, value in USD.items():
            published += [(stage.now, price.fresh_until_mono_ns) for price in stage.quote(venue, value)]
    assert published == [(2.5, at(12.5)), (5.0, at(15)), (7.5, at(17.5))]


def test_signs_of_life_alone_are_passed_on_in_time() -> None:
    """A replica that hears nothing for 6 s still shows the live price as fresh."""
    stage = Stage()
    stage.quotes(USD)
    for tenth in range(1, 590):
        stage.now = tenth / 10
        stage.until(stage.now)
        if tenth % 10 == 0:
            stage.alive(*USD)
        assert stage.current().state is State.FRESH
        assert stage.current().fresh_until_mono_ns >= at(stage.now + 6)
        assert stage.current().fresh_until_mono_ns <= at(stage.now + 10)
    assert stage.book.sequence < 4 + 59 / 2.5


def test_a_price_turns_delayed_then_stale_and_comes_back() -> None:
    stage = Stage()
    stage.quotes(USD)
    before = stage.current()
    assert stage.until(10) == []
    (delayed,) = stage.until(10.1)
    assert (delayed.state, delayed.price, delayed.sources) == (State.DELAYED, before.price, before.sources)
    assert (delayed.fresh_until_mono_ns, delayed.stale_at_mono_ns) == (at(10), at(60))
    assert delayed.sequence == before.sequence + 1
    assert stage.until(59.9) == []
    (stale,) = stage.until(60)
    assert (stale.state, stale.price) == (State.STALE, before.price)
    assert stage.book.next_due_ns() is None
    stage.now = 1_000
    (fresh,) = stage.quote(KRAKEN, "90")
    assert (fresh.state, fresh.price, fresh.sources) == (State.FRESH, Decimal(90), (KRAKEN,))


def test_a_price_whose_venue_comes_back_to_life_is_fresh_at_the_next_grid_point() -> None:
    stage = Stage()
    stage.alive(KRAKEN)
    stage.quote(KRAKEN, "100")
    stage.until(15)
    assert stage.current().state is State.DELAYED
    stage.now = 15.03
    assert stage.alive(KRAKEN) == []
    (price,) = stage.until(15.1)
    assert (price.state, price.fresh_until_mono_ns) == (State.FRESH, at(25.03))


def test_each_quote_that_ends_leaves_the_price_to_the_rest() -> None:
    stage = Stage()
    for second, (venue, value) in enumerate(USD.items()):
        stage.now = second
        stage.quote(venue, value)
    assert [price.price for price in stage.until(12.9)] == [Decimal("100.2"), Decimal("100.25"), Decimal("100.3")]
    assert stage.current().sources == (GEMINI,)


def test_a_late_quote_is_as_old_as_its_receipt() -> None:
    stage = Stage()
    stage.now = 100
    (price,) = stage.quote(KRAKEN, "100", received=95)
    assert (price.state, price.fresh_until_mono_ns) == (State.FRESH, at(105))
    stage = Stage()
    stage.now = 100
    assert stage.quote(KRAKEN, "100", received=80) == []
    assert stage.book.current("BTC") is None


def test_a_quote_from_the_future_counts_as_of_its_arrival() -> None:
    stage = Stage()
    (price,) = stage.quote(KRAKEN, "100", received=50)
    assert (price.receive_mono_ns, price.fresh_until_mono_ns) == (at(0), at(10))


def test_a_refused_quote_enters_nothing_and_is_counted() -> None:
    stage = Stage()
    stage.quotes(USD)
    before = stage.current()
    stage.quote(KRAKEN, "100", bid=Decimal(102), ask=Decimal(101))
    stage.quote(KRAKEN, "-5")
    stage.quote(KRAKEN, "NaN")
    stage.quote(KRAKEN, "100", quote="EUR")
    stage.book.apply(make_tick(GATEIO, "1"), at(0))
    assert stage.book.apply(make_tick(KRAKEN, "1", asset="XYZ", table=SIX), at(0)) == []
    assert stage.current() is before
    assert dict(stage.book.refusals) == {
        (KRAKEN, Refusal.CROSSED): 1,
        (KRAKEN, Refusal.NOT_POSITIVE): 1,
        (KRAKEN, Refusal.NOT_FINITE): 1,
        (KRAKEN, Refusal.WRONG_QUOTE): 1,
        (KRAKEN, Refusal.UNKNOWN_ASSET): 1,
    }


def test_a_venue_that_does_not_list_the_asset_is_refused() -> None:
    stage = Stage(asset="USDT")
    tick = msgspec.structs.replace(make_tick(GATEIO, "1"), asset="USDT")
    assert stage.book.apply(tick, at(0)) == []
    assert dict(stage.book.refusals) == {(GATEIO, Refusal.NOT_LISTED): 1}


def test_a_venue_that_sends_garbage_over_a_live_connection_grows_old() -> None:
    stage = Stage()
    stage.alive(KRAKEN)
    stage.quote(KRAKEN, "100")
    for second in range(1, 20):
        stage.now = second
        stage.alive(KRAKEN)
        stage.quote(KRAKEN, "100", bid=Decimal(102), ask=Decimal(101))
    assert stage.current().state is State.DELAYED
    assert stage.current().fresh_until_mono_ns == at(11)


def test_an_outlier_is_set_aside_and_comes_back_by_itself() -> None:
    stage = Stage()
    stage.quotes(USD)
    stage.quote(GEMINI, "101.9")
    assert GEMINI not in stage.current().sources
    stage.quote(GEMINI, "100.3")
    assert GEMINI in stage.current().sources


def test_a_suspect_venue_time_is_counted_and_not_shown_as_the_prices() -> None:
    stage = Stage()
    stage.quote(KRAKEN, "100", venue_time_ns=make_tick(KRAKEN, "1").receive_time_ns)
    stage.quote(COINBASE, "100", venue_time_ns=make_tick(KRAKEN, "1").receive_time_ns + 10**12)
    assert stage.current().venue_time_ns == make_tick(KRAKEN, "1").receive_time_ns
    assert dict(stage.book.suspects) == {COINBASE: 1}


def test_sequences_count_what_was_published_and_a_snapshot_is_in_their_order() -> None:
    stage = Stage()
    stage.quote(KRAKEN, "1", asset="USDT")
    stage.quotes(USD)
    stage.quote(KRAKEN, "2000", asset="ETH")
    stage.until(300)
    assert [price.sequence for price in stage.published] == list(range(1, stage.book.sequence + 1))
    snapshot = stage.book.snapshot()
    assert {price.asset for price in snapshot} == {"USDT", "BTC", "ETH"}
    assert [price.sequence for price in snapshot] == sorted(price.sequence for price in snapshot)
    assert all(stage.book.current(price.asset) is price for price in snapshot)


def test_time_never_goes_back() -> None:
    stage = Stage()
    stage.quotes(USD)
    stage.until(30)
    assert stage.current().state is State.DELAYED
    assert stage.until(5) == []
    stage.quote(KRAKEN, "100", received=29)
    assert stage.current().state is State.FRESH


def test_what_is_due_is_told() -> None:
    stage = Stage()
    assert stage.book.next_due_ns() is None
    stage.quote(KRAKEN, "100")
    due = stage.book.next_due_ns()
    assert due is not None
    assert due % GRID_NS == 0
    assert at(0) < due <= at(10.1)


def storm(seed: int) -> list[tuple[float, Venue, str]]:
    dice = random.Random(seed)
    found, now = [], 0.0
    for _ in range(400):
        now += dice.choice([0.0, 0.01, 0.05, 0.3, 1.0, 7.0, 13.0])
        found.append((round(now, 3), dice.choice([*USD, OKX, GATEIO]), f"{dice.gauss(100, 1.2):.2f}"))
    return found


@pytest.mark.parametrize("seed", range(4))
def test_it_does_not_matter_whether_a_timer_or_the_next_quote_drives_the_clock(seed: int) -> None:
    lazy, busy = Stage(), Stage()
    for stage in (lazy, busy):
        stage.quotes({COINBASE: "0.999", KRAKEN: "1.001"}, asset="USDT")
    for now, venue, value in storm(seed):
        while stage is busy and (due := busy.book.next_due_ns()) is not None and due <= at(now):
            busy.published += busy.book.advance(due)
        for stage in (lazy, busy):
            stage.now = now
            if venue is GATEIO:
                stage.quote(KRAKEN, f"{Decimal(value) / 100:.4f}", asset="USDT")
            stage.alive(venue)
            stage.quote(venue, value)
    for stage in (lazy, busy):
        stage.until(10_000)
    assert lazy.published == busy.published
    assert len(lazy.published) > 300


def test_many_timers_between_grid_points_change_nothing() -> None:
    lazy, busy = Stage(), Stage()
    for now, venue, value in storm(9):
        for tick in range(20):
            busy.until(busy.now + (now - busy.now) * tick / 20)
        for stage in (lazy, busy):
            stage.now = now
            stage.quote(venue, value)
    assert lazy.published == busy.published


def test_memory_is_bounded_by_assets_and_venues() -> None:
    book = Book(assets=SIX, settings=BookSettings())
    dice = random.Random(1)
    for n in range(5_000):
        venue = dice.choice(list(Venue))
        tick = make_tick(venue, f"{dice.uniform(50, 150):.2f}", asset="XYZ", table=SIX, received=n / 20)
        book.apply(tick, at(n / 20))
    assert len(book._grid._heap) <= 4 * 1 + 16
    assert all(len(page.sources) <= 64 for page in book._board.pages)
