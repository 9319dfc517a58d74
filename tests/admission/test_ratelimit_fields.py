"""Header fields that tell a caller's limits, as lists of structured fields."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from trinity_admission.buckets import Bucket
from trinity_admission.ratelimit_fields import limit, month_spent, policy

S = 1_000_000_000
ITEM = re.compile(r'"[a-z]+"(;[a-z]+=\d{1,15})+')
"""One item of such a list: a string with integers as parameters (RFC 9651, sections 3.1, 3.1.2 and 3.3)."""


def items(value: str) -> dict[str, dict[str, int]]:
    found = {}
    for item in value.split(", "):
        assert ITEM.fullmatch(item), item
        name, *parameters = item.split(";")
        found[name.strip('"')] = {key: int(number) for key, number in (each.split("=") for each in parameters)}
    return found


def test_a_bucket_is_told_as_a_quota_and_the_window_that_fills_it() -> None:
    assert policy(Bucket(rate_per_s=100, burst=200), monthly_quota=0) == '"rate";q=200;w=2'
    assert policy(Bucket(rate_per_s=100, burst=1), monthly_quota=0) == '"rate";q=1;w=1'


def test_a_monthly_quota_is_told_without_a_window() -> None:
    text = policy(Bucket(rate_per_s=100, burst=200), monthly_quota=1_000_000)
    assert text == '"rate";q=200;w=2, "month";q=1000000'


def test_what_is_left_is_told() -> None:
    bucket = Bucket(rate_per_s=10, burst=20)
    assert limit(bucket, 0) == '"rate";r=20;t=0'
    bucket.take(0)
    assert limit(bucket, 0) == '"rate";r=19;t=1'
    assert limit(bucket, S) == '"rate";r=20;t=0'


def test_a_month_that_is_used_up_is_told_with_its_end() -> None:
    value = limit(Bucket(rate_per_s=10, burst=20), 0)
    assert items(month_spent(value, 1_001))["month"] == {"r": 0, "t": 2}
    assert items(month_spent(value, None))["month"] == {"r": 0}


@given(st.integers(1, 10_000_000), st.integers(1, 100_000_000), st.integers(0, 9 * 10**15), st.integers(0, 60 * S))
def test_every_plan_makes_fields_that_can_be_read(rate: int, burst: int, quota: int, now_ns: int) -> None:
    bucket = Bucket(rate_per_s=rate, burst=burst)
    told = items(policy(bucket, monthly_quota=quota))["rate"]
    assert told["q"] / told["w"] <= rate, "no caller is promised more than the rate"
    bucket.take(0)
    left = items(limit(bucket, now_ns))["rate"]
    assert 0 <= left["r"] <= told["q"]
    assert 0 <= left["t"] <= told["w"]
