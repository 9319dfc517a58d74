"""Which quote is newest, and until when it is fresh."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from core.stage import KRAKEN, at, make_tick
from trinity_core.assets import Listing
from trinity_core.book_settings import BookSettings
from trinity_core.freshness import NEVER, Life, Market
from trinity_core.quote_values import Refusal
from trinity_core.ticks import Liveness

SETTINGS = BookSettings(fresh_ms=10_000, quiet_ms=60_000, stale_ms=60_000, live_lag_ms=2_000, workers_max=2)


class Post:
    """One market and its venue's connections."""

    def __init__(self) -> None:
        self.life = Life(settings=SETTINGS)
        self.market = Market(listing=Listing(KRAKEN, "BTC/USD", "USD"), rank=0, life=self.life, settings=SETTINGS)

    def alive(self, seconds: float, *, worker: str = "w1", connected: bool = True, now: float | None = None) -> None:
        liveness = Liveness(KRAKEN, worker, at(seconds), connected)
        if self.life.hear(liveness, at(seconds if now is None else now)):
            self.market.cut_off()

    def quote(self, seconds: float, value: str = "100", **other: Any) -> Refusal | None:
        tick = make_tick(KRAKEN, value, received=seconds, **other)
        misplaced = self.market.misplaced(tick, Decimal(value), at(seconds))
        if misplaced is None:
            self.market.note(tick, at(seconds))
            self.market.take(tick, Decimal(value), at(seconds), suspect=False)
        return misplaced

    def refused(self, seconds: float, **other: Any) -> Refusal | None:
        tick = make_tick(KRAKEN, "100", received=seconds, **other)
        misplaced = self.market.misplaced(tick, None, at(seconds))
        if misplaced is None:
            self.market.note(tick, at(seconds))
            self.market.supersede(at(seconds))
        return misplaced

    @property
    def until(self) -> int:
        return self.market.until()


def test_a_quote_is_fresh_for_fresh_ms_after_its_receipt() -> None:
    post = Post()
    assert post.until < at(-1_000)
    post.quote(0)
    assert post.until == at(10)


def test_a_live_connection_stands_by_a_quiet_pair_until_quiet_ms() -> None:
    post = Post()
    post.alive(-1)
    post.quote(0)
    for second in range(1, 100):
        post.alive(second)
        assert post.until == at(min(second, 60) + 10)


def test_a_silent_connection_stands_by_nothing() -> None:
    post = Post()
    post.quote(0)
    post.alive(5)
    assert post.until == at(15)
    post.alive(5, now=30)
    assert post.until == at(15)


def test_a_sign_of_life_from_the_future_counts_as_of_its_arrival() -> None:
    post = Post()
    post.quote(0)
    post.alive(50, now=7)
    assert post.until == at(17)


def test_the_end_of_a_connection_extends_nothing_and_shortens_nothing() -> None:
    post = Post()
    post.quote(0)
    post.alive(5)
    post.alive(8, connected=False)
    assert not post.life.connected
    assert post.until == at(15)


def test_a_new_connection_does_not_stand_by_quotes_of_the_one_before() -> None:
    post = Post()
    post.quote(0)
    post.alive(5)
    post.alive(6, connected=False)
    post.alive(9)
    post.alive(12)
    assert post.until == at(15)
    post.quote(13)
    post.alive(30)
    assert post.until == at(40)


def test_a_quote_that_came_over_the_new_connection_before_its_first_sign_of_life_has_its_benefit() -> None:
    post = Post()
    post.quote(0)
    post.alive(5)
    post.alive(6, connected=False)
    post.quote(7)
    post.alive(8)
    post.alive(30)
    assert post.until == at(40)


def test_a_quote_of_the_old_connection_that_comes_late_has_no_benefit_of_the_new() -> None:
    post = Post()
    post.alive(5)
    post.alive(6, connected=False)
    post.alive(8)
    post.quote(5.5)
    post.alive(30)
    assert post.until == at(15.5)


def test_a_worker_that_takes_over_without_a_gap_stands_by_the_quotes() -> None:
    post = Post()
    post.quote(0)
    post.alive(5)
    post.alive(6, worker="w2")
    post.alive(7, connected=False)
    post.alive(20, worker="w2")
    assert post.life.connected
    assert post.until == at(30)


def test_a_worker_that_comes_after_a_silent_one_stands_by_nothing_old() -> None:
    post = Post()
    post.quote(0)
    post.alive(5)
    post.alive(16, worker="w2")
    assert post.until == at(15)


def test_the_workers_that_are_remembered_are_bounded_and_the_dead_go_first() -> None:
    post = Post()
    post.alive(1)
    post.alive(2, worker="w2")
    post.alive(3, worker="w2", connected=False)
    for n in range(50):
        post.alive(4 + n, worker=f"x{n}", connected=False)
    assert len(post.life._workers) == 2
    assert post.life.connected
    assert post.life.workers_forgotten == 50


def test_a_refused_quote_ends_the_benefit_of_the_one_before() -> None:
    post = Post()
    post.quote(0)
    post.alive(5)
    assert post.refused(7) is None
    post.alive(30)
    assert post.until == at(17)
    assert post.quote(6) is Refusal.OLDER
    post.quote(31)
    assert post.until == at(41)


@pytest.mark.parametrize(
    ("first", "second", "misplaced"),
    [
        # without sequences the time of receipt decides
        ((5, None, "1"), (6, None, "2"), None),
        ((5, None, "1"), (6, None, "1"), None),
        ((5, None, "1"), (5, None, "2"), None),
        ((5, None, "1"), (5, None, "1"), Refusal.DUPLICATE),
        ((5, None, "1"), (4, None, "2"), Refusal.OLDER),
        # with two sequences they decide
        ((5, 10, "1"), (6, 11, "2"), None),
        ((5, 10, "1"), (4, 11, "2"), None),
        ((5, 10, "1"), (6, 9, "2"), Refusal.OLDER),
        ((5, 10, "1"), (6, 1, "2"), Refusal.OLDER),
        ((5, 10, "1"), (6, 10, "1"), Refusal.DUPLICATE),
        ((5, 10, "1"), (6, 10, "2"), None),
        ((5, 10, "1"), (4, 10, "2"), Refusal.OLDER),
        # with one of them the time of receipt decides
        ((5, 10, "1"), (6, None, "2"), None),
        ((5, None, "1"), (4, 10, "2"), Refusal.OLDER),
        # which of them, too, is decided by the newest tick
        ((5, 10, "1"), (4, None, "2"), Refusal.OLDER),
        # a venue that counts anew is not locked out
        ((5, 10, "1"), (65, 9, "2"), Refusal.OLDER),
        ((5, 10, "1"), (65.001, 9, "2"), None),
    ],
)
def test_an_older_quote_never_replaces_a_newer_one(
    first: tuple[float, int | None, str], second: tuple[float, int | None, str], misplaced: Refusal | None
) -> None:
    post = Post()
    assert post.quote(first[0], first[2], sequence=first[1]) is None
    assert post.quote(second[0], second[2], sequence=second[1]) is misplaced
    assert post.market.value == Decimal(second[2] if misplaced is None else first[2])


@pytest.mark.parametrize(
    ("seconds", "sequence", "value", "misplaced"),
    [
        (9, 1_000, "1", None),
        (9, 999, "2", None),
        (9, 1, "2", None),
        (4.9, 1_001, "2", None),
        (5.5, 1_000, "1", Refusal.DUPLICATE),
        (5.5, 1, "2", Refusal.OLDER),
    ],
)
def test_after_a_reconnection_a_venue_may_repeat_itself_or_count_anew(
    seconds: float, sequence: int, value: str, misplaced: Refusal | None
) -> None:
    post = Post()
    post.alive(5)
    post.quote(5, "1", sequence=1_000)
    post.alive(6, connected=False)
    post.alive(8)
    assert post.quote(seconds, value, sequence=sequence) is misplaced


def test_a_late_quote_of_the_connection_before_does_not_replace_one_that_counts_anew() -> None:
    post = Post()
    post.alive(5)
    post.quote(5, "1", sequence=1_000)
    post.alive(6, connected=False)
    post.alive(8)
    assert post.quote(9, "2", sequence=1) is None
    assert post.quote(5.5, "3", sequence=1_001) is Refusal.OLDER
    assert post.quote(10, "4", sequence=2) is None


def test_what_a_worker_pushed_after_its_last_sign_of_life_is_not_its_successors() -> None:
    post = Post()
    post.alive(5)
    post.quote(5.5)
    post.alive(16, worker="w2")
    assert post.until == at(15.5)


def test_a_quote_without_a_number_is_not_overtaken_by_a_number_that_was_received_before_it() -> None:
    post = Post()
    post.quote(5, "1", sequence=10)
    post.quote(8, "2")
    assert post.quote(6, "3", sequence=11) is Refusal.OLDER
    assert post.quote(9, "4", sequence=9) is None


def test_a_sequence_without_end_blocks_a_venue_for_stale_ms_at_most() -> None:
    post = Post()
    post.quote(0, sequence=1 << 63)
    taken = [second for second in range(1, 100) if post.quote(second, str(second), sequence=second) is None]
    assert taken == list(range(61, 100))


def test_a_quote_read_by_rest_gives_way_to_a_pushed_one() -> None:
    post = Post()
    post.quote(5, "1", sequence=10)
    assert post.quote(6.9, "2", live=True) is Refusal.OLDER
    assert post.quote(8, "2", live=True) is None
    assert post.quote(7, "3", live=True) is Refusal.OLDER
    assert post.quote(8, "2", live=True) is Refusal.DUPLICATE
    assert post.quote(5.9, "4", sequence=11) is Refusal.OLDER
    assert post.quote(6.1, "4", sequence=11) is None
    assert post.market.value == Decimal(4)


def test_a_quote_read_by_rest_keeps_the_order_of_the_pushed_ones() -> None:
    post = Post()
    post.quote(0, "1", sequence=10)
    post.quote(5, "2", live=True)
    assert post.quote(6, "3", sequence=9) is Refusal.OLDER
    assert post.quote(6, "3", sequence=11) is None


def test_a_pair_that_was_never_pushed_has_no_benefit_from_signs_of_life() -> None:
    post = Post()
    post.alive(0)
    post.quote(1, live=True)
    post.alive(9)
    assert post.until == at(11)


def test_a_venue_that_pushes_and_is_quiet_stands_by_what_rest_found() -> None:
    post = Post()
    post.alive(0)
    post.quote(1, "1")
    post.quote(20, "2", live=True)
    post.alive(25)
    assert post.until == at(35)
    post.alive(90)
    assert post.until == at(71)


def test_a_quote_that_waits_lets_the_one_before_only_age() -> None:
    post = Post()
    post.alive(0)
    post.quote(1, "100")
    post.market.hold(make_tick(KRAKEN, "200", received=3), Decimal(200), at(3), at(3))
    post.alive(9)
    assert post.market.value == Decimal(100)
    assert post.until == at(13)


def test_the_wait_begins_anew_only_on_the_other_side() -> None:
    post = Post()
    post.quote(1, "100")
    for seconds, value, since in ((3, 200, 3), (4, 250, 3), (5, 50, 5), (6, 40, 5), (7, 300, 7)):
        post.market.hold(make_tick(KRAKEN, Decimal(value), received=seconds), Decimal(value), at(seconds), at(seconds))
        assert post.market.pending_since == at(since)


def test_nothing_is_older_than_never() -> None:
    assert at(-10_000_000) > NEVER
