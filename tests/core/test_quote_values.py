"""What a quote is worth, and which quotes are refused."""

from __future__ import annotations

from decimal import Decimal

import pytest

from core.stage import KRAKEN, S, make_tick
from trinity_core.quote_values import Refusal, suspect_time, value_of


def figure(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


@pytest.mark.parametrize(
    ("last", "bid", "ask", "value"),
    [
        ("100", "99", "101", "100"),
        ("100", "101", "103", "101"),
        ("104", "101", "103", "103"),
        ("100", "100", "100", "100"),
        (None, "99", "102", "100.5"),
        ("100", None, "101", "100"),
        ("100", "99", None, "100"),
        ("100", None, None, "100"),
        (None, "99", None, Refusal.NO_VALUE),
        (None, None, "101", Refusal.NO_VALUE),
        (None, None, None, Refusal.NO_VALUE),
        ("100", "101", "99", Refusal.CROSSED),
        (None, "101", "99", Refusal.CROSSED),
        ("0", "99", "101", Refusal.NOT_POSITIVE),
        ("-1", "99", "101", Refusal.NOT_POSITIVE),
        ("100", "0", "101", Refusal.NOT_POSITIVE),
        ("100", "99", "-0", Refusal.NOT_POSITIVE),
        ("NaN", "99", "101", Refusal.NOT_FINITE),
        ("sNaN", "99", "101", Refusal.NOT_FINITE),
        ("100", "-Infinity", "101", Refusal.NOT_FINITE),
        ("100", "99", "Infinity", Refusal.NOT_FINITE),
        ("1e300", "99", "101", Refusal.OUT_OF_RANGE),
        ("1e-300", None, None, Refusal.OUT_OF_RANGE),
        ("100." + "0" * 40, None, None, Refusal.OUT_OF_RANGE),
    ],
)
def test_a_quote_is_worth_the_middle_of_last_bid_and_ask(
    last: str | None, bid: str | None, ask: str | None, value: str
) -> None:
    found = value_of(make_tick(KRAKEN, None, price=figure(last), bid=figure(bid), ask=figure(ask)))
    assert found == (value if isinstance(value, Refusal) else Decimal(value))


@pytest.mark.parametrize(
    ("ahead_ns", "suspect"), [(0, False), (5 * S, False), (5 * S + 1, True), (-60 * S, False), (-60 * S - 1, True)]
)
def test_a_venue_time_is_suspect_beyond_its_bounds(ahead_ns: int, *, suspect: bool) -> None:
    tick = make_tick(KRAKEN, "1")
    timed = make_tick(KRAKEN, "1", venue_time_ns=tick.receive_time_ns + ahead_ns)
    assert suspect_time(timed, future_ns=5 * S, past_ns=60 * S) is suspect
    assert not suspect_time(tick, future_ns=0, past_ns=0)
