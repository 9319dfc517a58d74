"""Alerts: crossings that never flap, cooldowns, moves against brute force, divergence, staleness, recovery."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trinity_core.prices import State
from trinity_core.webhook_alerts import (
    Alert,
    RuleState,
    Side,
    advance,
    due_ns,
    evaluate,
    state_from_json,
    state_to_json,
)
from trinity_core.webhook_rules import (
    MS,
    AlertRule,
    Change,
    Crossing,
    Direction,
    Divergence,
    PercentMove,
    Recovery,
    Staleness,
)
from trinity_core.webhook_window import STEPS, step_of

T0 = 1_790_000_000 * 10**9
UP, DOWN, EITHER = Direction


def change(price: str | int | Decimal = 100, *, state: State = State.FRESH, spread: str | int = 0) -> Change:
    return Change("BTC", Decimal(price), state, Decimal(0), Decimal(spread), (), 1, 1, None, T0)


class Watch:
    """One rule and its state, which goes through a store at every step; time runs the alerts that are owed."""

    def __init__(self, rule: AlertRule) -> None:
        self.rule = rule
        self.state = RuleState()
        self.alerts: list[Alert] = []

    def at(self, ms: int, given: Change) -> Watch:
        self.pass_to(ms)
        return self._take(evaluate(self.rule, self.state, given, T0 + ms * MS))

    def pass_to(self, ms: int) -> Watch:
        while (due := due_ns(self.rule, self.state)) is not None and due <= T0 + ms * MS:
            self._take(advance(self.rule, self.state, max(due, T0)))
        return self

    def _take(self, done: Any) -> Watch:
        self.state = state_from_json(state_to_json(done.state))
        assert self.state == done.state
        if done.alert is not None:
            self.alerts.append(done.alert)
        return self

    @property
    def told(self) -> list[tuple[int, str | None]]:
        return [(round((each.at_ns - T0) / MS), each.direction and each.direction.name) for each in self.alerts]


def watch(rule: AlertRule, *prices: int | str) -> Watch:
    found = Watch(rule)
    for number, price in enumerate(prices):
        found.at(number * 1_000, change(price))
    return found


def test_the_first_price_only_tells_on_which_side_it_is() -> None:
    assert watch(Crossing(UP, Decimal(100)), 101, 102).told == []
    assert watch(Crossing(UP, Decimal(100)), 99, 100).told == [(1_000, "UP")]
    assert watch(Crossing(DOWN, Decimal(100)), 101, 100).told == [(1_000, "DOWN")]


def test_an_upward_alert_is_armed_again_only_below_its_band() -> None:
    rule = Crossing(UP, Decimal(100), Decimal(10))
    found = watch(rule, 89, 100, 99, 101, 91, 105, 90, 99, 100)
    assert found.told == [(1_000, "UP"), (8_000, "UP")]
    assert [each.number for each in found.alerts] == [1, 2]
    assert found.alerts[0].reference == Decimal(100)


def test_either_way_tells_each_side_in_turn() -> None:
    rule = Crossing(EITHER, Decimal(100), Decimal(10))
    assert watch(rule, 100, 109, 110, 95, 105, 90, 111).told == [(5_000, "DOWN"), (6_000, "UP")]


def test_without_hysteresis_the_threshold_itself_belongs_to_the_far_side() -> None:
    assert watch(Crossing(UP, Decimal(100)), 99, 100, 99, 100).told == [(1_000, "UP"), (3_000, "UP")]
    assert watch(Crossing(DOWN, Decimal(100)), 101, 100, 101, 100).told == [(1_000, "DOWN"), (3_000, "DOWN")]
    assert watch(Crossing(EITHER, Decimal(100)), 99, 100, 101, 100, 99).told == [(1_000, "UP"), (4_000, "DOWN")]


@given(
    st.sampled_from([UP, DOWN, EITHER]),
    st.lists(st.integers(81, 119), min_size=1, max_size=60),
    st.integers(1, 40),
)
def test_prices_inside_the_band_never_alert(direction: Direction, prices: list[int], hysteresis: int) -> None:
    rule = Crossing(direction, Decimal(100), Decimal(hysteresis))
    inside = [price for price in prices if rule.low < price < rule.high]
    assert watch(rule, *inside).told == []


@given(st.sampled_from([UP, DOWN, EITHER]), st.lists(st.integers(80, 120), max_size=80), st.integers(0, 15))
def test_between_two_alerts_the_price_went_through_the_whole_band(
    direction: Direction, prices: list[int], hysteresis: int
) -> None:
    rule = Crossing(direction, Decimal(100), Decimal(hysteresis))
    found = watch(rule, *prices)
    moments = [at // 1_000 for at, _ in found.told]
    for one, other in pairwise(moments):
        between = prices[one : other + 1]
        assert min(between) <= rule.low
        assert max(between) >= rule.high
    if direction is EITHER:
        assert all(one != other for (_, one), (_, other) in pairwise(found.told))


def test_a_crossing_within_the_cooldown_is_told_at_its_end_if_it_still_holds() -> None:
    rule = Crossing(UP, Decimal(100), Decimal(5), cooldown_ms=60_000)
    found = watch(rule, 90, 100, 90, 101).pass_to(120_000)
    assert found.told == [(1_000, "UP"), (61_000, "UP")]
    assert found.alerts[1].change.price == 101
    assert found.alerts[1].suppressed == 0


def test_a_crossing_that_is_over_before_the_cooldown_is_counted() -> None:
    rule = Crossing(UP, Decimal(100), Decimal(5), cooldown_ms=60_000)
    found = watch(rule, 90, 100, 90, 101, 90, 102, 90).pass_to(90_000)
    assert found.told == [(1_000, "UP")]
    found.at(100_000, change(103))
    assert found.told[1:] == [(100_000, "UP")]
    assert found.alerts[1].suppressed == 2


RULES: list[AlertRule] = [
    Crossing(EITHER, Decimal(100), Decimal(3), cooldown_ms=7_000),
    PercentMove(EITHER, Decimal(4), 5_000, cooldown_ms=7_000),
    Divergence(Decimal(10), Decimal(2), cooldown_ms=7_000),
    Staleness(1_000, cooldown_ms=7_000),
    Recovery(1_000, cooldown_ms=7_000),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
@given(data=st.data())
def test_no_two_alerts_are_closer_than_the_cooldown(rule: AlertRule, data: st.DataObject) -> None:
    found, at = Watch(rule), 0
    samples = st.tuples(st.integers(1, 4_000), st.integers(90, 110), st.integers(0, 20), st.sampled_from(list(State)))
    for step, price, spread, state in data.draw(st.lists(samples, max_size=40)):
        at += step
        found.at(at, change(price, state=state, spread=spread))
    found.pass_to(at + 20_000)
    assert all(other - one >= 7_000 for (one, _), (other, _) in pairwise(found.told))
    assert [each.number for each in found.alerts] == list(range(1, len(found.alerts) + 1))
    assert due_ns(rule, found.state) is None


@given(
    st.sampled_from([UP, DOWN, EITHER]),
    st.integers(1, 30),
    st.lists(st.tuples(st.integers(1, 4_000), st.integers(80, 120)), min_size=1, max_size=60),
)
def test_moves_are_those_that_brute_force_finds(
    direction: Direction, percent: int, moves: list[tuple[int, int]]
) -> None:
    rule = PercentMove(direction, Decimal(percent), window_ms=6_000)
    found, at, seen, wanted = Watch(rule), 0, list[tuple[int, Decimal]](), list[tuple[int, str | None]]()
    for step, price in moves:
        at += step
        found.at(at, change(price))
        seen.append((T0 + at * MS, Decimal(price)))
        here = step_of(seen[-1][0], rule.window_ms)
        inside = [value for time, value in seen if step_of(time, rule.window_ms) >= here - STEPS]
        # The price in force when the window began.
        inside += [value for time, value in seen if step_of(time, rule.window_ms) < here - STEPS][-1:]
        rose = 100 * (price - min(inside)) >= percent * min(inside) and direction is not DOWN
        fell = 100 * (max(inside) - price) >= percent * max(inside) and direction is not UP
        if rose or fell:
            wanted.append((at, "UP" if rose else "DOWN"))
            seen = [seen[-1]]
    assert found.told == wanted


def test_a_jump_after_a_long_silence_counts_from_the_price_before_it() -> None:
    found = Watch(PercentMove(UP, Decimal(5), window_ms=60_000))
    found.at(0, change(100)).at(3_600_000, change(106))
    assert found.told == [(3_600_000, "UP")]
    assert found.alerts[0].reference == 100


def test_a_move_is_told_once_and_the_next_counts_from_it() -> None:
    found = watch(PercentMove(UP, Decimal(5), window_ms=60_000), 100, 105, 106, 110, 111)
    assert found.told == [(1_000, "UP"), (4_000, "UP")]
    assert found.alerts[1].reference == 105


def test_a_move_that_left_the_window_within_the_cooldown_is_not_told() -> None:
    rule = PercentMove(UP, Decimal(5), window_ms=60_000, cooldown_ms=3_600_000)
    found = watch(rule, 100, 105, 111).pass_to(10_000_000)
    assert found.told == [(1_000, "UP")]
    assert found.state.suppressed == 1


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 10**6)), max_size=300))
def test_a_state_never_grows_beyond_its_window(moves: list[tuple[int, int]]) -> None:
    found, at = Watch(PercentMove(UP, Decimal(1000), window_ms=1_000)), 0
    for step, price in moves:
        at += step
        found.at(at, change(price))
        assert len(found.state.window.steps) <= STEPS + 1


def test_venues_that_disagree_are_told_until_they_agree_again() -> None:
    found = Watch(Divergence(Decimal(50), Decimal(10)))
    for number, spread in enumerate((10, 50, 60, 45, 55, 40, 50)):
        found.at(number, change(spread=spread, state=State.DIVERGENT))
    assert [at for at, _ in found.told] == [1, 6]
    assert Watch(Divergence(Decimal(50))).at(0, change(spread=51)).told == [(0, None)]


def test_a_price_is_stale_only_after_so_long() -> None:
    found = Watch(Staleness(after_ms=5_000))
    found.at(0, change()).at(1_000, change(state=State.STALE)).at(3_000, change())
    found.at(4_000, change(state=State.STALE)).at(6_000, change(state=State.HALTED)).pass_to(60_000)
    assert found.told == [(9_000, None)]
    assert found.alerts[0].since_ns == T0 + 4_000 * MS
    assert found.alerts[0].suppressed == 0
    found.at(61_000, change()).at(62_000, change(state=State.STALE)).pass_to(70_000)
    assert [at for at, _ in found.told] == [9_000, 67_000]


def test_a_price_recovers_only_when_it_is_fresh_after_it_was_stale_for_so_long() -> None:
    found = Watch(Recovery(after_ms=5_000))
    found.at(0, change()).at(1_000, change(state=State.STALE)).at(3_000, change())
    assert found.told == []
    found.at(4_000, change(state=State.STALE)).at(9_000, change(state=State.DELAYED)).at(9_500, change())
    assert found.told == [(9_500, None)]
    assert found.alerts[0].since_ns == T0 + 4_000 * MS
    assert found.at(10_000, change()).told == [(9_500, None)]


@pytest.mark.parametrize("state", [State.STALE, State.HALTED, State.DIVERGENT])
def test_a_price_that_cannot_be_trusted_crosses_nothing(state: State) -> None:
    for rule in (Crossing(UP, Decimal(100)), PercentMove(UP, Decimal(1), 60_000)):
        found = Watch(rule).at(0, change(90)).at(1, change(200, state=state))
        assert found.told == []
        assert found.at(2, change(200)).told == [(2, "UP")]


def test_an_evaluation_repeated_from_the_same_state_makes_the_same_alert() -> None:
    rule = Crossing(UP, Decimal(100))
    before = evaluate(rule, RuleState(), change(99), T0).state
    assert before.side is Side.BELOW
    one, other = (evaluate(rule, before, change(100), T0 + 1) for _ in range(2))
    assert one == other
    assert one.alert is not None
