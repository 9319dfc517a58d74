"""Outcomes, hours and months."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from trinity.account.v1 import account_pb2
from trinity.usage.v1 import usage_pb2
from trinity_core.usage import HOUR_S, Outcome, Transport, hour_of, month_of, next_month, previous_month, start_of


def test_transports_and_outcomes_have_the_numbers_of_their_contracts() -> None:
    assert {f"TRANSPORT_{each.name}": each.value for each in Transport} == {
        name: number for name, number in account_pb2.Transport.items() if number
    }
    assert {f"OUTCOME_{each.name}": each.value for each in Outcome} == {
        name: number for name, number in usage_pb2.Outcome.items() if number
    }


def test_refusals_and_failures_are_counted_and_not_billed() -> None:
    assert {each.name for each in Outcome if not each.billed} == {"REFUSED", "FAILED"}


def test_an_hour_begins_where_the_wall_clock_says() -> None:
    start = HOUR_S * 497_222
    assert hour_of(start * 10**9) == start
    assert hour_of((start + HOUR_S) * 10**9 - 1) == start
    assert hour_of((start + HOUR_S) * 10**9) == start + HOUR_S


@pytest.mark.parametrize(
    ("moment", "month", "after"),
    [
        (datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC), date(2026, 1, 1), date(2026, 2, 1)),
        (datetime(2026, 12, 1, tzinfo=UTC), date(2026, 12, 1), date(2027, 1, 1)),
        (datetime(2028, 2, 29, tzinfo=UTC), date(2028, 2, 1), date(2028, 3, 1)),
    ],
)
def test_months_are_calendar_months_in_utc(moment: datetime, month: date, after: date) -> None:
    assert month_of(int(moment.timestamp()) * 10**9) == month
    assert next_month(month) == after
    assert previous_month(after) == month
    assert start_of(after).utcoffset() == datetime(2026, 1, 1, tzinfo=UTC).utcoffset()
    assert start_of(month) <= moment < start_of(after)
