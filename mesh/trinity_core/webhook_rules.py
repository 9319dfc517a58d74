"""What subscriptions ask for: rules for ticks and for alerts, and which of them could never do what they say.

Rules are msgspec structs with a tag, so that stores keep them as JSON and read them back as they were.
"""

from __future__ import annotations

from decimal import Decimal
from enum import IntEnum
from typing import Final

import msgspec

from trinity_core.errors import TrinityError, invalid_field
from trinity_core.exact import EXACT, fit_price
from trinity_core.prices import Price, State
from trinity_core.venues import Venue

MS: Final = 1_000_000
"""Nanoseconds of a millisecond."""
INTERVAL_MS: Final = (100, 86_400_000)
WINDOW_MS: Final = (1_000, 86_400_000)
COOLDOWN_MS_MAX: Final = 7 * 86_400_000
AFTER_MS_MAX: Final = 86_400_000
BPS_MAX: Final = Decimal(100_000)
PERCENT_MAX: Final = Decimal(1_000)
_HUNDRED: Final = Decimal(100)
_PLACES_MAX: Final = 24


class Direction(IntEnum):
    """Which way a price must go; numbers as in trinity.webhook.v1.Direction."""

    UP = 1
    DOWN = 2
    EITHER = 3


class Change(msgspec.Struct, frozen=True, gc=False):
    """A price that changed, as rules and payloads need it. Times are unix nanoseconds."""

    asset: str
    price: Decimal
    state: State
    confidence: Decimal
    spread_bps: Decimal
    sources: tuple[Venue, ...]
    sequence: int
    epoch: int
    venue_time_ns: int | None
    receive_time_ns: int


def change_of(price: Price, *, epoch: int) -> Change:
    """A published price as a change; `epoch` names the run of the book that it is of."""
    return Change(
        price.asset,
        price.price,
        price.state,
        price.confidence,
        price.spread_bps,
        price.sources,
        price.sequence,
        epoch,
        price.venue_time_ns,
        price.receive_time_ns,
    )


class EveryChange(msgspec.Struct, frozen=True, tag="every"):
    """Ticks: every change, newest wins."""


class Interval(msgspec.Struct, frozen=True, tag="interval"):
    """Ticks: the newest change, at most once an interval and asset."""

    interval_ms: int


class Moved(msgspec.Struct, frozen=True, tag="moved"):
    """Ticks: the newest change once it is so far from the price sent last, or its state is another."""

    bps: Decimal


class Crossing(msgspec.Struct, frozen=True, tag="crossing"):
    """Alert: the price crosses a threshold.

    UP is told at the threshold and armed again at `threshold - hysteresis`; DOWN at the threshold
    and `threshold + hysteresis`; EITHER is told at `threshold ± hysteresis`, each way in turn.
    """

    direction: Direction
    threshold: Decimal
    hysteresis: Decimal = Decimal(0)
    cooldown_ms: int = 0

    @property
    def high(self) -> Decimal:
        """At or above it the price is above; between the two it stays what it was."""
        return self.threshold if self.direction is Direction.UP else EXACT.add(self.threshold, self.hysteresis)

    @property
    def low(self) -> Decimal:
        """At or below it the price is below."""
        return self.threshold if self.direction is Direction.DOWN else EXACT.subtract(self.threshold, self.hysteresis)


class PercentMove(msgspec.Struct, frozen=True, tag="percent"):
    """Alert: the price is so many percent from its lowest or highest within a window."""

    direction: Direction
    percent: Decimal
    window_ms: int
    cooldown_ms: int = 0


class Divergence(msgspec.Struct, frozen=True, tag="divergence"):
    """Alert: the venues' quotes lie so far apart; armed again at `bps - hysteresis_bps`."""

    bps: Decimal
    hysteresis_bps: Decimal = Decimal(0)
    cooldown_ms: int = 0


class Staleness(msgspec.Struct, frozen=True, tag="staleness"):
    """Alert: the price has been stale, or halted, for so long."""

    after_ms: int = 0
    cooldown_ms: int = 0


class Recovery(msgspec.Struct, frozen=True, tag="recovery"):
    """Alert: the price is fresh again after it was stale, or halted, for at least so long."""

    after_ms: int = 0
    cooldown_ms: int = 0


TickRule = EveryChange | Interval | Moved
AlertRule = Crossing | PercentMove | Divergence | Staleness | Recovery
Rule = TickRule | AlertRule

_ENCODER: Final = msgspec.json.Encoder(decimal_format="string")
_DECODER: Final[msgspec.json.Decoder[Rule]] = msgspec.json.Decoder(Rule)


def rule_to_json(rule: Rule) -> str:
    """A rule as stores keep it."""
    return _ENCODER.encode(rule).decode()


def rule_from_json(text: str | bytes) -> Rule:
    """A rule from a store. Raises msgspec.ValidationError for what `rule_to_json` did not write."""
    return _DECODER.decode(text)


def is_tick(rule: Rule) -> bool:
    """Whether a rule is of the tick class."""
    return isinstance(rule, EveryChange | Interval | Moved)


def check_rule(rule: Rule, *, path: str = "rule") -> None:
    """Raise INVALID_FIELD, naming the field and saying why, for a rule that could never do what it says."""
    match rule:
        case EveryChange():
            return
        case Interval():
            _between(f"{path}.interval", rule.interval_ms, *INTERVAL_MS)
        case Moved():
            _amount(f"{path}.bps", rule.bps, BPS_MAX)
        case Crossing():
            _check_crossing(rule, path)
        case PercentMove():
            _amount(f"{path}.percent", rule.percent, PERCENT_MAX)
            if rule.direction is not Direction.UP and rule.percent >= _HUNDRED:
                raise invalid_field(
                    f"{path}.percent", "a price cannot fall by 100 percent or more; use less, or the direction up"
                )
            _between(f"{path}.window", rule.window_ms, *WINDOW_MS)
        case Divergence():
            _amount(f"{path}.bps", rule.bps, BPS_MAX)
            _not_negative(f"{path}.hysteresis_bps", rule.hysteresis_bps)
            if rule.hysteresis_bps >= rule.bps:
                raise invalid_field(
                    f"{path}.hysteresis_bps",
                    "it must be less than bps: the spread would never be small enough to arm the alert again",
                )
        case Staleness() | Recovery():
            _between(f"{path}.after", rule.after_ms, 0, AFTER_MS_MAX)
    if not isinstance(rule, EveryChange | Interval | Moved):
        _between(f"{path}.cooldown", rule.cooldown_ms, 0, COOLDOWN_MS_MAX)


def _check_crossing(rule: Crossing, path: str) -> None:
    if not rule.threshold.is_finite() or rule.threshold <= 0 or fit_price(rule.threshold) is None:
        raise invalid_field(
            f"{path}.threshold", "no price can cross it; use a price above 0 with at most 30 digits, from 1e-24 to 1e16"
        )
    _not_negative(f"{path}.hysteresis", rule.hysteresis)
    if rule.direction is not Direction.DOWN and rule.hysteresis >= rule.threshold:
        raise invalid_field(
            f"{path}.hysteresis",
            "it must be less than threshold: no price would be low enough to arm the alert again",
        )
    if fit_price(EXACT.add(rule.threshold, rule.hysteresis)) is None:
        raise invalid_field(f"{path}.hysteresis", "no price reaches threshold + hysteresis; use less")


def _amount(path: str, value: Decimal, most: Decimal) -> None:
    _not_negative(path, value)
    if not 0 < value <= most:
        raise invalid_field(path, f"it must be above 0 and at most {most}")


def _not_negative(path: str, value: Decimal) -> None:
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or value < 0 or exponent < -_PLACES_MAX or value.adjusted() > _PLACES_MAX:
        raise invalid_field(path, f"it must be a plain number from 0, with at most {_PLACES_MAX} places")


def _between(path: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise invalid_field(path, f"{value} ms is out of bounds; use {low} to {high} ms")


def bad_decimal(path: str, text: str) -> TrinityError:
    """What text is answered with that is no decimal."""
    return invalid_field(path, f"{text[:32]!r} is no plain decimal number such as 65000.50")
