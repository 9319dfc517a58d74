"""Leases of quotas: absolute figures, asked for ahead of need, trusted when nobody can be asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trinity_admission.quota import Grant, Lease, Take, until_reset_ms, wanted

S = 1_000_000_000
TRUST_NS = 100 * S
RESET_NS = 10**18


def grant(allowed: int, *, unlimited: bool = False, expires_s: float = 60) -> Grant:
    return Grant(allowed, unlimited, round(expires_s * 1e9), RESET_NS)


def leased(allowed: int, *, at_ns: int = 0, expires_s: float = 60) -> Lease:
    lease = Lease()
    lease.asked(at_ns)
    lease.granted(grant(allowed, expires_s=expires_s), at_ns, again_ns=S)
    return lease


def take(lease: Lease, now_ns: int = 0) -> Take:
    return lease.take(now_ns, trust_ns=TRUST_NS)


def test_a_lease_lets_as_many_answers_in_as_it_allows() -> None:
    lease = leased(3)
    assert [take(lease) for _ in range(3)] == [Take.GRANTED] * 3
    for _ in range(3):
        lease.billed()
    assert (lease.used, lease.reserved, lease.left) == (3, 0, 0)
    lease.asked(0)
    lease.granted(grant(3), 0, again_ns=S)
    assert take(lease) is Take.SPENT


def test_what_was_not_billed_comes_back() -> None:
    lease = leased(1)
    assert take(lease) is Take.GRANTED
    lease.given_back()
    assert take(lease) is Take.GRANTED


def test_answers_under_way_cannot_overrun_the_lease() -> None:
    lease = leased(5)
    for _ in range(5):
        take(lease)
    assert lease.asked(0) == 5
    lease.granted(grant(5), 0, again_ns=S)
    assert take(lease) is Take.SPENT
    lease.given_back()
    assert take(lease) is Take.GRANTED


def test_a_lease_is_renewed_when_half_of_it_is_used_or_half_its_time_is_over() -> None:
    lease = leased(100)
    assert not lease.wants(0)
    assert lease.wants(30 * S)
    for _ in range(49):
        take(lease)
    assert not lease.wants(0)
    take(lease)
    assert lease.wants(0)
    lease.asked(0)
    assert not lease.wants(0), "one call at a time"
    lease.granted(grant(150), 0, again_ns=S)
    assert not lease.wants(0)
    assert lease.left == 100


def test_a_small_lease_is_not_renewed_before_it_is_used_up() -> None:
    lease = leased(3)
    for _ in range(3):
        assert not lease.wants(59 * S)
        take(lease)
    assert not lease.wants(0)
    assert lease.awaits_word(0), "whoever comes next asks"


def test_hearing_a_grant_twice_changes_nothing_and_the_last_word_counts() -> None:
    lease = leased(10)
    take(lease)
    lease.billed()
    lease.granted(grant(10), 0, again_ns=S)
    assert (lease.left, lease.used) == (9, 1)
    lease.granted(grant(4), 70 * S, again_ns=S)
    assert (lease.left, lease.used) == (3, 1), "after an expired lease less may be left"


def test_before_the_services_first_word_answers_are_let_in_on_trust() -> None:
    lease = Lease()
    assert lease.wants(0)
    assert lease.awaits_word(0)
    assert take(lease) is Take.TRUSTED
    lease.billed()
    lease.asked(0)
    lease.granted(grant(5), 0, again_ns=S)
    assert lease.left == 4, "and count once it has spoken"


def test_while_the_service_is_away_keys_go_on_until_the_bound_of_trust() -> None:
    lease = leased(1, expires_s=10)
    assert take(lease) is Take.GRANTED
    lease.billed()
    lease.asked(1 * S)
    lease.failed(1 * S)
    assert not lease.awaits_word(2 * S), "waiting would bring nothing"
    assert take(lease, 2 * S) is Take.TRUSTED
    lease.asked(50 * S)
    lease.failed(50 * S)
    assert take(lease, 101 * S) is Take.TRUSTED
    assert take(lease, 101 * S + 1) is Take.UNKNOWN
    lease.asked(101 * S)
    lease.granted(grant(100), 102 * S, again_ns=S)
    assert take(lease, 102 * S) is Take.GRANTED


def test_what_the_service_called_used_up_stays_so_while_it_is_away() -> None:
    lease = leased(0)
    assert take(lease) is Take.SPENT
    assert not lease.wants(S // 2)
    assert lease.wants(S)
    lease.asked(S)
    lease.failed(S)
    assert take(lease, 2 * S) is Take.SPENT
    lease.reopen()
    assert take(lease, 2 * S) is Take.TRUSTED, "unless the plan has changed"


def test_a_key_that_the_service_does_not_know_has_nothing_left() -> None:
    lease = Lease()
    lease.asked(0)
    lease.refused(0, again_ns=S)
    assert take(lease) is Take.SPENT
    assert lease.wants(S)


def test_an_expired_lease_is_worth_nothing() -> None:
    lease = leased(10, expires_s=5)
    assert take(lease, 5 * S - 1) is Take.GRANTED
    assert take(lease, 5 * S) is Take.TRUSTED
    assert lease.awaits_word(5 * S)


def test_a_quota_without_bound_is_never_used_up() -> None:
    lease = Lease()
    lease.asked(0)
    lease.granted(grant(0, unlimited=True), 0, again_ns=S)
    assert {take(lease) for _ in range(1_000)} == {Take.GRANTED}
    assert not lease.wants(0)
    assert lease.wants(30 * S)


def test_a_month_ends_by_the_wall_clock() -> None:
    lease = leased(1)
    assert not lease.over(RESET_NS - 1)
    assert lease.over(RESET_NS)
    assert until_reset_ms(lease, RESET_NS - 5 * S) == 5_000
    assert until_reset_ms(lease, RESET_NS) == 1
    assert until_reset_ms(Lease(), 0) is None
    assert not Lease().over(RESET_NS * 9)


@pytest.mark.parametrize(
    ("monthly_quota", "rate_per_s", "waiting", "answers"),
    [
        (10**9, 10, 0, 320),
        (10**9, 10, 5, 325),
        (100_000, 10, 0, 100),
        (10, 10, 0, 1),
        (10, 10, 1, 1),
        (10, 10, 7, 7),
        (10**9, 0.001, 0, 20),
    ],
)
def test_as_much_is_asked_for_as_the_rate_can_use_and_little_of_a_small_quota(
    monthly_quota: int, rate_per_s: float, waiting: int, answers: int
) -> None:
    asked = wanted(monthly_quota=monthly_quota, rate_per_s=rate_per_s, burst=20, ahead_s=30, waiting=waiting)
    assert asked == answers


@given(st.lists(st.sampled_from(["take", "bill", "back", "grant", "fail"]), max_size=100), st.integers(0, 20))
def test_granted_answers_never_exceed_what_was_allowed(steps: list[str], step_allowed: int) -> None:
    lease, under_way, allowed, granted, trusted, back = Lease(), list[Take](), 0, 0, 0, 0
    for now, step in enumerate(steps):
        if step == "take":
            took = take(lease, now)
            if took is Take.GRANTED:
                granted += 1
            elif took is Take.TRUSTED:
                trusted += 1
            if took in (Take.GRANTED, Take.TRUSTED):
                under_way.append(took)
        elif step in ("bill", "back") and under_way:
            under_way.pop()
            if step == "bill":
                lease.billed()
            else:
                lease.given_back()
                back += 1
        elif step == "grant":
            allowed += step_allowed
            lease.asked(now)
            lease.granted(grant(allowed), now, again_ns=S)
        elif step == "fail":
            lease.asked(now)
            lease.failed(now)
        assert lease.used + lease.reserved == granted + trusted - back
        assert lease.used + lease.reserved <= allowed + trusted
        assert lease.reserved >= 0
