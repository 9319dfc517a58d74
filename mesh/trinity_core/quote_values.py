"""What a venue's quote is worth, and which quotes are refused.

The value is the middle one of last trade, best bid and best ask: a last trade outside the
spread is drawn to the nearer side, so neither an old trade nor a thin side alone sets it.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

from trinity_core.exact import ZERO, fit_price, half_sum
from trinity_core.ticks import Tick


class Refusal(StrEnum):
    """Why a tick did not enter the book; label of its count."""

    UNKNOWN_ASSET = "unknown_asset"
    NOT_LISTED = "not_listed"
    """The asset table has no market of this asset at this venue."""
    WRONG_QUOTE = "wrong_quote"
    """The quote currency is not the one of the market in the asset table."""
    NO_VALUE = "no_value"
    """No last trade, and a side is missing too."""
    NOT_FINITE = "not_finite"
    NOT_POSITIVE = "not_positive"
    OUT_OF_RANGE = "out_of_range"
    """Outside 1e-24…1e16 or of more than 30 digits."""
    CROSSED = "crossed"
    """The bid is above the ask."""
    DUPLICATE = "duplicate"
    OLDER = "older"


def value_of(tick: Tick) -> Decimal | Refusal:
    """The quote's value in its own quote currency, or why it is refused.

    The middle one of last, bid and ask; without a last trade the middle of bid and ask;
    without a side the last trade. One bad figure refuses the whole quote.
    """
    last, bid, ask = tick.price, tick.bid, tick.ask
    for figure in (last, bid, ask):
        if figure is None:
            continue
        if not figure.is_finite():
            return Refusal.NOT_FINITE
        if figure <= ZERO:
            return Refusal.NOT_POSITIVE
        if fit_price(figure) is None:
            return Refusal.OUT_OF_RANGE
    if bid is None or ask is None:
        return Refusal.NO_VALUE if last is None else last
    if bid > ask:
        return Refusal.CROSSED
    if last is None:
        return half_sum(bid, ask)
    if last < bid:
        return bid
    return min(last, ask)


def suspect_time(tick: Tick, *, future_ns: int, past_ns: int) -> bool:
    """The venue's time lies too far ahead of our time of receipt, or too far behind it."""
    if tick.venue_time_ns is None:
        return False
    ahead_ns = tick.venue_time_ns - tick.receive_time_ns
    return ahead_ns > future_ns or -ahead_ns > past_ns
