"""Alerts from price changes: one rule, one asset, one state. Pure, exact, in bounded memory.

`evaluate` takes the state as it was and returns the state as it is; with it comes an alert, or
none. Whoever calls commits both together, and an alert's number makes its id: an evaluation that
is repeated from the same state makes the same alert, never another.

Prices are judged as far as they can be trusted: crossings, moves and divergence by changes that
are FRESH, DELAYED or, divergence alone, DIVERGENT. Time is unix nanoseconds and an argument. A
condition that is met within the cooldown is owed: it is told at the end of the cooldown if it
still holds then, and counted in `suppressed` if it does not.
"""

from __future__ import annotations

from decimal import Decimal
from enum import IntEnum
from typing import Final, NamedTuple

import msgspec

from trinity_core.exact import EXACT, multiply
from trinity_core.prices import State
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
from trinity_core.webhook_window import Window

_TRUSTED: Final = frozenset({State.FRESH, State.DELAYED})
_COMPARED: Final = _TRUSTED | {State.DIVERGENT}
_OLD: Final = frozenset({State.STALE, State.HALTED})
_HUNDRED: Final = Decimal(100)


class Side(IntEnum):
    """Where the measured value is."""

    BELOW = 1
    ABOVE = 2


class RuleState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a rule remembers of one asset. Starts empty; never larger than a window of 61 steps."""

    number: int = 0
    """Alerts so far; the next one has the next number."""
    told_ns: int | None = None
    """When the last alert was told."""
    suppressed: int = 0
    """Conditions met within a cooldown, and over before its end, since the last alert."""
    side: Side | None = None
    """Of crossings and divergence: where the value was last, outside the band."""
    owed: bool = False
    """The condition was met, still holds, and waits: for the cooldown's end, or for `after`."""
    since_ns: int | None = None
    """Of staleness and recovery: since when the price has been stale."""
    window: Window = Window()
    change: Change | None = None
    """The change that an owed alert will show."""


class Alert(NamedTuple):
    """Something to tell."""

    number: int
    """1, 2, 3 … for one subscription's version and one asset."""
    kind: str
    """Type of the payload: "alert.crossing", …"""
    change: Change
    at_ns: int
    direction: Direction | None = None
    reference: Decimal | None = None
    """Threshold of a crossing, lowest or highest price of a move, bound of a divergence."""
    since_ns: int | None = None
    """Since when the price was stale."""
    suppressed: int = 0


class Evaluated(NamedTuple):
    """What became of a state."""

    state: RuleState
    alert: Alert | None


def evaluate(rule: AlertRule, state: RuleState, change: Change, now_ns: int) -> Evaluated:
    """Take one change of the asset's price at a time."""
    match rule:
        case Crossing():
            if change.state not in _TRUSTED:
                return Evaluated(state, None)
            return _cross(rule, state, change, now_ns)
        case PercentMove():
            if change.state not in _TRUSTED:
                return Evaluated(state, None)
            return _move(rule, state, change, now_ns)
        case Divergence():
            if change.state not in _COMPARED:
                return Evaluated(state, None)
            return _diverge(rule, state, change, now_ns)
        case Staleness():
            return _stale(rule, state, change, now_ns)
        case Recovery():
            return _recover(rule, state, change, now_ns)


def advance(rule: AlertRule, state: RuleState, now_ns: int) -> Evaluated:
    """Let time alone pass: tell what is owed once it is due."""
    due = due_ns(rule, state)
    if due is None or now_ns < due:
        return Evaluated(state, None)
    assert state.change is not None
    if isinstance(rule, PercentMove):
        # The move may have left the window meanwhile.
        return _move(rule, state, state.change, now_ns)
    return _tell(rule, state, state.change, now_ns)


def due_ns(rule: AlertRule, state: RuleState) -> int | None:
    """When `advance` has something to tell if nothing changes before; None where nothing is owed."""
    if not state.owed:
        return None
    due = _cooled_ns(rule, state)
    if isinstance(rule, Staleness) and state.since_ns is not None:
        due = max(due, state.since_ns + rule.after_ms * MS)
    return due


def _cross(rule: Crossing, state: RuleState, change: Change, now_ns: int) -> Evaluated:
    side = side_of(change.price, low=rule.low, high=rule.high, rests_below=rule.direction is not Direction.DOWN)
    wanted = {Direction.UP: (Side.ABOVE,), Direction.DOWN: (Side.BELOW,), Direction.EITHER: tuple(Side)}
    return _turn(rule, state, side, change, now_ns, wanted[rule.direction])


def side_of(value: Decimal, *, low: Decimal, high: Decimal, rests_below: bool = True) -> Side | None:
    """Where a value is; None inside the band. Where the band is empty the bound itself belongs to the far side.

    `rests_below` says that the far side is above.
    """
    if value > high or (value == high and (rests_below or low < high)):
        return Side.ABOVE
    if value < low or (value == low and (not rests_below or low < high)):
        return Side.BELOW
    return None


def _diverge(rule: Divergence, state: RuleState, change: Change, now_ns: int) -> Evaluated:
    low = EXACT.subtract(rule.bps, rule.hysteresis_bps)
    side = side_of(change.spread_bps, low=low, high=rule.bps)
    before = state if state.side is not None else msgspec.structs.replace(state, side=Side.BELOW)
    return _turn(rule, before, side, change, now_ns, (Side.ABOVE,))


def _turn(
    rule: Crossing | Divergence,
    state: RuleState,
    side: Side | None,
    change: Change,
    now_ns: int,
    wanted: tuple[Side, ...],
) -> Evaluated:
    """Follow a value from side to side; what is inside the band changes nothing but the price that is shown."""
    if side is not None and side is not state.side:
        first = state.side is None
        state = _forget_owed(state)
        state = msgspec.structs.replace(state, side=side)
        if not first and side in wanted:
            state = msgspec.structs.replace(state, owed=True)
    if not state.owed:
        return Evaluated(state, None)
    if side is not None or state.change is None:
        state = msgspec.structs.replace(state, change=change)
    return _tell_when_cooled(rule, state, now_ns)


def _move(rule: PercentMove, state: RuleState, change: Change, now_ns: int) -> Evaluated:
    window = state.window.add(change.price, now_ns, window_ms=rule.window_ms)
    state = msgspec.structs.replace(state, window=window)
    direction, reference = moved(rule, window.low(), window.high(), change.price)
    if direction is None:
        return Evaluated(_forget_owed(state), None)
    state = msgspec.structs.replace(state, owed=True, change=change)
    if now_ns < _cooled_ns(rule, state):
        return Evaluated(state, None)
    return _tell(rule, state, change, now_ns, direction=direction, reference=reference)


def moved(
    rule: PercentMove, low: Decimal, high: Decimal, price: Decimal
) -> tuple[Direction, Decimal] | tuple[None, None]:
    """Whether a price is far enough from the lowest or the highest, and from which; up is looked at first."""
    if rule.direction is not Direction.DOWN and multiply(EXACT.subtract(price, low), _HUNDRED) >= multiply(
        rule.percent, low
    ):
        return Direction.UP, low
    if rule.direction is not Direction.UP and multiply(EXACT.subtract(high, price), _HUNDRED) >= multiply(
        rule.percent, high
    ):
        return Direction.DOWN, high
    return None, None


def _stale(rule: Staleness, state: RuleState, change: Change, now_ns: int) -> Evaluated:
    if change.state not in _OLD:
        if state.since_ns is not None and now_ns >= state.since_ns + rule.after_ms * MS:
            state = _forget_owed(state)
        return Evaluated(msgspec.structs.replace(state, since_ns=None, owed=False, change=None), None)
    if state.since_ns is None:
        state = msgspec.structs.replace(state, since_ns=now_ns, owed=True, change=change)
    return advance(rule, state, now_ns)


def _recover(rule: Recovery, state: RuleState, change: Change, now_ns: int) -> Evaluated:
    if change.state in _OLD:
        since_ns = now_ns if state.owed or state.since_ns is None else state.since_ns
        return Evaluated(msgspec.structs.replace(_forget_owed(state), since_ns=since_ns), None)
    if change.state is not State.FRESH or state.since_ns is None:
        return advance(rule, state, now_ns)
    if not state.owed and now_ns - state.since_ns < rule.after_ms * MS:
        return Evaluated(msgspec.structs.replace(state, since_ns=None), None)
    state = msgspec.structs.replace(state, owed=True, change=change)
    return _tell_when_cooled(rule, state, now_ns)


def _tell_when_cooled(rule: AlertRule, state: RuleState, now_ns: int) -> Evaluated:
    return Evaluated(state, None) if now_ns < _cooled_ns(rule, state) else advance(rule, state, now_ns)


def _tell(
    rule: AlertRule,
    state: RuleState,
    change: Change,
    now_ns: int,
    *,
    direction: Direction | None = None,
    reference: Decimal | None = None,
) -> Evaluated:
    match rule:
        case Crossing():
            direction = Direction.UP if state.side is Side.ABOVE else Direction.DOWN
            reference = rule.threshold
        case Divergence():
            reference = rule.bps
        case _:
            pass
    alert = Alert(
        number=state.number + 1,
        kind=KINDS[type(rule)],
        change=change,
        at_ns=now_ns,
        direction=direction,
        reference=reference,
        since_ns=state.since_ns,
        suppressed=state.suppressed,
    )
    window = Window()
    if isinstance(rule, PercentMove):
        # From here on a move counts from the price that was told.
        window = window.add(change.price, now_ns, window_ms=rule.window_ms)
    state = RuleState(
        number=alert.number,
        told_ns=now_ns,
        side=state.side,
        since_ns=state.since_ns if isinstance(rule, Staleness) else None,
        window=window,
    )
    return Evaluated(state, alert)


def _forget_owed(state: RuleState) -> RuleState:
    """What waited for the cooldown's end is over before it."""
    if not state.owed:
        return state
    return msgspec.structs.replace(state, owed=False, change=None, suppressed=state.suppressed + 1)


def _cooled_ns(rule: AlertRule, state: RuleState) -> int:
    return 0 if state.told_ns is None else state.told_ns + rule.cooldown_ms * MS


KINDS: Final[dict[type, str]] = {
    Crossing: "alert.crossing",
    PercentMove: "alert.percent_move",
    Divergence: "alert.divergence",
    Staleness: "alert.staleness",
    Recovery: "alert.recovery",
}
"""Type of each rule's payload."""

_ENCODER: Final = msgspec.json.Encoder(decimal_format="string")
_DECODER: Final = msgspec.json.Decoder(RuleState)


def state_to_json(state: RuleState) -> str:
    """A state as stores keep it."""
    return _ENCODER.encode(state).decode()


def state_from_json(text: str | bytes) -> RuleState:
    """A state from a store. Raises msgspec.ValidationError for what `state_to_json` did not write."""
    return _DECODER.decode(text)
