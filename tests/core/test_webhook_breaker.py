"""The circuit breaker of an endpoint: it opens after failures in a row, and one probe at a time closes it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trinity_core.webhook_breaker import BreakerSettings, Circuit, EndpointBreaker
from trinity_core.webhook_rules import MS


def opened(*, failures: int = 3) -> EndpointBreaker:
    found = EndpointBreaker(BreakerSettings(failures=3, first_ms=1_000, cap_ms=4_000))
    for _ in range(failures):
        assert found.may_call(0)
        found.failed(0, began_ns=0)
    return found


def test_it_opens_after_failures_in_a_row_and_not_before() -> None:
    assert opened(failures=2).circuit(0) is Circuit.CLOSED
    found = opened()
    assert found.circuit(0) is Circuit.OPEN
    assert not found.may_call(999 * MS)
    assert found.due_ns() == 1_000 * MS
    half = opened(failures=2)
    half.succeeded()
    half.failed(0, began_ns=0)
    assert half.circuit(0) is Circuit.CLOSED


def test_one_probe_is_let_through_and_its_success_closes() -> None:
    found = opened()
    now = 1_000 * MS
    assert found.circuit(now) is Circuit.HALF_OPEN
    assert [found.may_call(now) for _ in range(3)] == [True, False, False]
    found.succeeded()
    assert found.circuit(now) is Circuit.CLOSED
    assert found.due_ns() is None
    assert found.may_call(now)


def test_a_probe_that_fails_doubles_the_pause_up_to_its_cap() -> None:
    found, now, pauses = opened(), 0, []
    for _ in range(4):
        due = found.due_ns()
        assert due is not None
        pauses.append((due - now) // MS)
        now = due
        assert found.may_call(now)
        found.failed(now, began_ns=now)
    assert pauses == [1_000, 2_000, 4_000, 4_000]


def test_a_call_that_was_under_way_when_it_opened_changes_nothing() -> None:
    found = opened()
    found.failed(500 * MS, began_ns=0)
    assert found.due_ns() == 1_000 * MS
    assert found.may_call(1_000 * MS)


def test_a_call_of_before_that_fails_while_the_probe_is_out_makes_no_room_for_a_second() -> None:
    found = opened()
    assert found.may_call(1_000 * MS)
    found.failed(1_500 * MS, began_ns=0)
    found.gave_up(began_ns=0)
    assert found.due_ns() == 1_000 * MS
    assert not found.may_call(9_000 * MS)
    found.failed(9_000 * MS, began_ns=1_000 * MS)
    assert found.due_ns() == 11_000 * MS


def test_a_probe_that_was_not_made_leaves_room_for_another() -> None:
    found = opened()
    assert found.may_call(1_000 * MS)
    found.gave_up(began_ns=1_000 * MS)
    assert found.may_call(1_000 * MS)


@given(st.lists(st.tuples(st.integers(0, 3_000), st.booleans()), max_size=80))
def test_an_open_circuit_lets_at_most_one_call_through_a_pause(steps: list[tuple[int, bool]]) -> None:
    found, now, since_open = opened(), 0, 0
    for wait, succeeds in steps:
        now += wait * MS
        was_closed = found.circuit(now) is Circuit.CLOSED
        if not found.may_call(now):
            continue
        since_open = 0 if was_closed else since_open + 1
        assert since_open <= 1
        if succeeds:
            found.succeeded()
        else:
            found.failed(now, began_ns=now)
        since_open = 0
