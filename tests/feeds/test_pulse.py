"""Signs of life: pings when silent, pings when busy, answers that count, silence that ends it."""

from __future__ import annotations

from trinity_feeds.pulse import Pulse, Verdict
from trinity_feeds.terms import Keepalive

S = 1_000_000_000
KEEPALIVE = Keepalive(silent_ms=30_000, ping_ms=20_000, pong_ms=8_000)


def started(keepalive: Keepalive = KEEPALIVE) -> Pulse:
    pulse = Pulse(keepalive)
    pulse.start(0)
    return pulse


def test_five_seconds_of_silence_bring_a_ping() -> None:
    pulse = started()
    assert pulse.due_ns(0) == 5 * S
    assert pulse.beat(5 * S - 1, 0) is Verdict.NOTHING
    assert pulse.beat(5 * S, 0) is Verdict.PING
    assert pulse.beat(5 * S, 0) is Verdict.NOTHING


def test_a_busy_connection_is_pinged_when_it_is_time() -> None:
    pulse = started()
    assert pulse.beat(19 * S, 19 * S) is Verdict.NOTHING
    assert pulse.beat(20 * S, 20 * S) is Verdict.PING


def test_a_ping_without_an_answer_and_without_any_frame_is_the_end() -> None:
    pulse = started()
    pulse.beat(5 * S, 0)
    assert pulse.due_ns(0) == 13 * S
    assert pulse.beat(13 * S, 0) is Verdict.DEAD


def test_a_missing_answer_among_other_frames_gets_one_more_ping() -> None:
    pulse = started()
    pulse.beat(20 * S, 20 * S)
    assert pulse.beat(28 * S, 27 * S) is Verdict.PING
    assert pulse.beat(36 * S, 35 * S) is Verdict.DEAD


def test_an_answer_forgives_the_one_before() -> None:
    pulse = started()
    pulse.beat(20 * S, 20 * S)
    pulse.beat(28 * S, 27 * S)
    pulse.pong()
    assert pulse.beat(48 * S, 48 * S) is Verdict.PING
    assert pulse.beat(56 * S, 55 * S) is Verdict.PING


def test_a_new_connection_owes_nothing() -> None:
    pulse = started()
    pulse.beat(5 * S, 0)
    pulse.start(100 * S)
    assert pulse.due_ns(100 * S) == 105 * S


def test_a_venue_without_pings_is_judged_by_silence_alone() -> None:
    pulse = started(Keepalive(silent_ms=10_000))
    assert pulse.beat(10**15, 0) is Verdict.NOTHING
    assert not pulse.silent(10 * S - 1, 0)
    assert pulse.silent(10 * S, 0)
