"""Decimal arithmetic that never rounds unseen, whatever the thread's decimal context is.

Every operation names its context. `EXACT` traps Inexact, so a result that would have to be
rounded is an error, not a slightly wrong price; its precision holds any sum, product or
halving of quotes within the bounds of `fit_price` (30 digits, 1e-24 to 1e16), twice
converted and weighted by volume. Quotients are rounded once, half to even, to a stated
number of digits. Comparisons (`<`, `==`, `sorted`) are exact in any context.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import (
    ROUND_HALF_EVEN,
    Context,
    Decimal,
    DivisionByZero,
    Inexact,
    InvalidOperation,
    Overflow,
    Rounded,
    Subnormal,
    Underflow,
)

_ERRORS = [InvalidOperation, DivisionByZero, Overflow]
EXACT = Context(prec=400, rounding=ROUND_HALF_EVEN, traps=[Inexact, *_ERRORS])
"""Sums, products and halvings; raises decimal.Inexact rather than round."""

_RATIO = Context(prec=160, rounding=ROUND_HALF_EVEN, traps=_ERRORS)
_MEAN = Context(prec=18, rounding=ROUND_HALF_EVEN, traps=_ERRORS)
_LIMITS = [Rounded, Overflow, Underflow, Subnormal, InvalidOperation]
_PRICE = Context(prec=30, Emin=-24, Emax=15, traps=_LIMITS)
_VOLUME = Context(prec=30, Emin=-24, Emax=24, traps=_LIMITS)

ZERO = Decimal(0)
BPS = Decimal(10_000)
NO_BPS = Decimal("0.00")
_TWO = Decimal(2)
_CENT = Decimal("0.01")
_MICRO = Decimal("0.000001")

subtract = EXACT.subtract
multiply = EXACT.multiply


def fit_price(value: Decimal) -> Decimal | None:
    """A finite, positive price as the book holds it; None where it has over 30 digits or lies outside 1e-24…1e16."""
    try:
        return _PRICE.plus(value)
    except ArithmeticError:
        return None


def fit_volume(value: Decimal | None) -> Decimal | None:
    """A volume that can weigh a price; None where it is missing, not positive, not finite or absurd."""
    if value is None or not value.is_finite() or value <= ZERO:
        return None
    try:
        return _VOLUME.plus(value)
    except ArithmeticError:
        return None


def half_sum(one: Decimal, other: Decimal) -> Decimal:
    """The exact mean of two values, with no more digits than it needs."""
    return EXACT.divide(EXACT.add(one, other), _TWO)


def median(ascending: Sequence[Decimal]) -> Decimal:
    """The exact median of values in ascending order, at least one: for an even count the mean of the middle two."""
    middle = len(ascending) // 2
    if len(ascending) % 2:
        return ascending[middle]
    return half_sum(ascending[middle - 1], ascending[middle])


def part(bps: Decimal) -> Decimal:
    """Basis points as a factor, exact: 50 is 0.0050."""
    return EXACT.scaleb(bps, Decimal(-4))


def in_bps(distance: Decimal, of: Decimal) -> Decimal:
    """A signed distance in basis points of a positive price, rounded half to even to two places."""
    if not distance:
        return NO_BPS
    return _RATIO.quantize(_RATIO.divide(EXACT.multiply(distance, BPS), of), _CENT)


def weighted_mean(values: Sequence[Decimal], weights: Sequence[Decimal]) -> Decimal:
    """Mean of the values by positive weights, rounded half to even to 18 significant digits."""
    weighted = total = ZERO
    for value, weight in zip(values, weights, strict=True):
        weighted = EXACT.add(weighted, EXACT.multiply(value, weight))
        total = EXACT.add(total, weight)
    return _MEAN.divide(weighted, total)


def shares(weights: Sequence[Decimal]) -> tuple[Decimal, ...]:
    """Each weight's part of the sum, rounded half to even to six places; the sum is positive."""
    total = ZERO
    for weight in weights:
        total = EXACT.add(total, weight)
    return tuple(_RATIO.quantize(_RATIO.divide(weight, total), _MICRO) for weight in weights)
