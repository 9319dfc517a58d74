"""Rules: what is kept comes back, and what could never do what it says is refused."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from trinity_core.errors import Reason, TrinityError
from trinity_core.webhook_rules import (
    Crossing,
    Direction,
    Divergence,
    EveryChange,
    Interval,
    Moved,
    PercentMove,
    Recovery,
    Rule,
    Staleness,
    check_rule,
    is_tick,
    rule_from_json,
    rule_to_json,
)

UP, DOWN, EITHER = Direction
GOOD: list[Rule] = [
    EveryChange(),
    Interval(100),
    Moved(Decimal("0.01")),
    Crossing(UP, Decimal("65000.50"), Decimal("1E-7"), 5),
    Crossing(DOWN, Decimal(1), Decimal(1)),
    PercentMove(UP, Decimal(1000), 1_000),
    PercentMove(EITHER, Decimal("99.9"), 86_400_000, 604_800_000),
    Divergence(Decimal(50), Decimal("49.9")),
    Staleness(),
    Recovery(86_400_000),
]
BAD: list[tuple[Rule, str]] = [
    (Interval(99), "interval"),
    (Interval(86_400_001), "interval"),
    (Moved(Decimal(0)), "bps"),
    (Moved(Decimal("NaN")), "bps"),
    (Moved(Decimal("Infinity")), "bps"),
    (Moved(Decimal(100_001)), "bps"),
    (Moved(Decimal("1E-25")), "bps"),
    (Crossing(UP, Decimal(0)), "threshold"),
    (Crossing(UP, Decimal(-1)), "threshold"),
    (Crossing(UP, Decimal("NaN")), "threshold"),
    (Crossing(UP, Decimal("1E16")), "threshold"),
    (Crossing(UP, Decimal(5), Decimal(5)), "hysteresis"),
    (Crossing(EITHER, Decimal(5), Decimal(6)), "hysteresis"),
    (Crossing(DOWN, Decimal("9E15"), Decimal("9E15")), "hysteresis"),
    (Crossing(UP, Decimal(5), Decimal(-1)), "hysteresis"),
    (Crossing(UP, Decimal(5), cooldown_ms=604_800_001), "cooldown"),
    (PercentMove(DOWN, Decimal(100), 1_000), "percent"),
    (PercentMove(UP, Decimal(1001), 1_000), "percent"),
    (PercentMove(UP, Decimal(1), 999), "window"),
    (Divergence(Decimal(5), Decimal(5)), "hysteresis_bps"),
    (Staleness(-1), "after"),
    (Recovery(0, -1), "cooldown"),
]


@pytest.mark.parametrize("rule", GOOD, ids=rule_to_json)
def test_a_rule_comes_back_from_a_store_as_it_was(rule: Rule) -> None:
    check_rule(rule)
    assert rule_from_json(rule_to_json(rule)) == rule
    assert is_tick(rule) is isinstance(rule, EveryChange | Interval | Moved)


@pytest.mark.parametrize(("rule", "field"), BAD, ids=str)
def test_a_rule_that_could_never_do_what_it_says_is_refused(rule: Rule, field: str) -> None:
    with pytest.raises(TrinityError) as caught:
        check_rule(rule, path="r")
    assert caught.value.reason is Reason.INVALID_FIELD
    assert caught.value.metadata["field"] == f"r.{field}"


def test_what_no_rule_was_written_as_is_not_read() -> None:
    for text in ("{}", '{"type": "other"}', '{"type": "interval"}', "[]"):
        with pytest.raises(msgspec.ValidationError):
            rule_from_json(text)
