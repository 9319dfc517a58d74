"""A flow of datagrams runs only while its address asks for it."""

from __future__ import annotations

import itertools
import random

import pytest

from trinity_core.webhook_flow import BEAT_S, QUIET_S, Flow

S = 10**9
START = 10**15


def make() -> Flow:
    return Flow("whe_1", random_bytes=random.Random(1).randbytes)


def beats(flow: Flow, begin: int, end: int) -> list[int]:
    """Seconds at which heartbeats go out to an address that says nothing."""
    found = []
    for second in range(begin, end):
        now = START + second * S
        if flow.beat_due_ns(now) <= now:
            flow.beat(now)
            found.append(second)
    return found


def test_nothing_flows_before_the_first_renewal() -> None:
    flow = make()
    assert not flow.is_live(START)
    token = flow.beat(START)
    assert not flow.is_live(START)
    assert flow.renew(token, START)
    assert flow.is_live(START)


def test_a_flow_ends_sixty_seconds_after_its_last_renewal() -> None:
    flow = make()
    flow.renew(flow.beat(START), START)
    assert flow.is_live(START + 60 * S - 1)
    assert not flow.is_live(START + 60 * S)


@pytest.mark.parametrize("token", ["", "00" * 12])
def test_a_token_that_was_not_sent_renews_nothing(token: str) -> None:
    flow = make()
    flow.beat(START)
    assert not flow.renew(token, START)
    assert not flow.is_live(START)


def test_a_token_renews_once_and_so_does_none_before_it() -> None:
    flow = make()
    tokens = [flow.beat(START) for _ in range(3)]
    assert flow.renew(tokens[1], START)
    assert not flow.renew(tokens[1], START)
    assert not flow.renew(tokens[0], START)
    assert flow.renew(tokens[2], START)


def test_a_token_of_long_ago_renews_nothing() -> None:
    flow = make()
    old = flow.beat(START)
    for _ in range(4):
        flow.beat(START)
    assert not flow.renew(old, START)


def test_an_address_that_never_answers_hears_ever_less() -> None:
    found = beats(make(), 0, 3_600)
    gaps = [later - earlier for earlier, later in itertools.pairwise(found)]
    assert tuple(gaps[: len(QUIET_S)]) == QUIET_S
    assert set(gaps[len(QUIET_S) :]) == {60}


def test_an_address_that_answers_is_asked_every_fifteen_seconds() -> None:
    flow = make()
    for second in range(300):
        now = START + second * S
        if flow.beat_due_ns(now) <= now:
            assert second % BEAT_S == 0
            assert flow.renew(flow.beat(now), now)


def test_an_address_that_falls_silent_is_asked_seldom_and_sent_nothing_after_a_minute() -> None:
    flow = make()
    flow.renew(flow.beat(START), START)
    found = beats(flow, 1, 3_600)
    assert len([second for second in found if second < 60]) >= 3
    assert len([second for second in found if second >= 120]) <= 58
    assert not flow.is_live(START + 61 * S)


def test_every_datagram_has_the_next_number() -> None:
    flow = make()
    heads = flow.heads(7)
    assert [next(heads).number, next(heads).number, flow.head(8).number] == [1, 2, 3]
    assert make().run == make().run != Flow("whe_1", random_bytes=random.Random(2).randbytes).run
