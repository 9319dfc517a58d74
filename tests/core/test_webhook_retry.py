"""When a delivery is tried again: the promised schedule, Retry-After, 410, and giving up."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trinity_core.webhook_retry import DELAYS_S, Next, Outcome, RetryPolicy, S, outcome_of, retry_after_s

NOW = 1_790_000_000 * S
POLICY = RetryPolicy()


def judge(outcome: Outcome = Outcome.REFUSED, **changes: Any) -> tuple[Next, float | None]:
    fields: dict[str, Any] = {
        "attempts": 1,
        "now_ns": NOW,
        "failing_since_ns": NOW,
        "random": lambda: 0.5,
        **changes,
    }
    verdict = POLICY.judge(outcome, **fields)
    return verdict.next, None if verdict.due_ns is None else (verdict.due_ns - NOW) / S


def test_the_schedule_is_the_one_that_is_promised() -> None:
    hour = 3600
    assert (
        0, 5, 300, 1800, 2 * hour, 5 * hour, 10 * hour, 14 * hour, 20 * hour, 24 * hour
    ) == DELAYS_S  # fmt: skip
    assert [judge(attempts=made) for made in range(1, 10)] == [(Next.RETRY, pause) for pause in DELAYS_S[1:]]
    assert judge(attempts=10) == (Next.EXHAUSTED, None)


@given(st.integers(1, 9), st.floats(0, 1, exclude_max=True))
def test_jitter_moves_a_pause_by_a_tenth_at_most(attempts: int, chance: float) -> None:
    _, pause = judge(attempts=attempts, random=lambda: chance)
    assert pause is not None
    assert 0.9 * DELAYS_S[attempts] <= pause <= 1.1 * DELAYS_S[attempts]


def test_retry_after_is_honoured_where_it_is_longer_and_up_to_a_day() -> None:
    assert judge(retry_after_s=60) == (Next.RETRY, 60)
    assert judge(retry_after_s=1) == (Next.RETRY, 5)
    assert judge(retry_after_s=10**9) == (Next.RETRY, 86_400)


def test_a_success_ends_it_and_410_ends_the_endpoint() -> None:
    assert judge(Outcome.DELIVERED, attempts=10) == (Next.DONE, None)
    assert judge(Outcome.GONE) == (Next.DISABLE_GONE, None)


def test_five_days_of_failure_end_the_endpoint() -> None:
    day = 86_400 * S
    assert judge(failing_since_ns=NOW - 5 * day + 1)[0] is Next.RETRY
    assert judge(failing_since_ns=NOW - 5 * day)[0] is Next.DISABLE_FAILING
    assert judge(failing_since_ns=None)[0] is Next.RETRY


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome.DELIVERED),
        (204, Outcome.DELIVERED),
        (299, Outcome.DELIVERED),
        (301, Outcome.REDIRECTED),
        (304, Outcome.REDIRECTED),
        (400, Outcome.REFUSED),
        (404, Outcome.REFUSED),
        (410, Outcome.GONE),
        (429, Outcome.REFUSED),
        (503, Outcome.REFUSED),
        (100, Outcome.REFUSED),
    ],
)
def test_a_status_says_what_became_of_an_attempt(status: int, outcome: Outcome) -> None:
    assert outcome_of(status) is outcome


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("120", 120),
        (" 120 ", 120),
        ("0", 0),
        ("-1", None),
        ("1.5", None),
        ("٣", None),
        ("9" * 400, 10**9),
        ("soon", None),
        ("Mon, 21 Sep 2026 14:13:30 GMT", 10),
        ("Mon, 21 Sep 2026 14:13:10 GMT", 0),
        ("Mon, 99 Sep 2026 14:13:10 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: int | None) -> None:
    assert retry_after_s(value, now_ns=NOW) == seconds
