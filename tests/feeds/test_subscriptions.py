"""Subscriptions: batches, answers, halves, pauses, silence; no frames at all."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from trinity_feeds.markets import Market, Status
from trinity_feeds.subscriptions import MS, Ask, Pace, Subscriptions

S = 1_000 * MS


def subscriptions(count: int, **pace: int) -> Subscriptions:
    markets = [Market(symbol=f"S{n}", label=f"S{n}", asset=f"A{n}", quote="USD") for n in range(count)]
    chosen = Pace(**({"batch_max": 4, "interval_ms": 100} | pace))
    made = Subscriptions(markets=markets, pace=chosen, ack_ms=10_000, silent_ms=120_000)
    made.start(0)
    return made


def names(ask: Ask | None) -> list[str]:
    return [] if ask is None else [market.symbol for market in ask.markets]


def test_batches_go_out_one_an_interval() -> None:
    subs = subscriptions(6)
    assert names(subs.next_ask(0)) == ["S0", "S1", "S2", "S3"]
    assert subs.next_ask(99 * MS) is None
    assert subs.due_ns() == 100 * MS
    assert names(subs.next_ask(100 * MS)) == ["S4", "S5"]
    assert subs.next_ask(10 * S) is None


def test_a_venue_that_wants_a_pause_after_connecting_gets_it() -> None:
    subs = subscriptions(1, open_wait_ms=1_000)
    assert subs.next_ask(999 * MS) is None
    assert names(subs.next_ask(1_000 * MS)) == ["S0"]


def test_requests_are_bounded_per_window() -> None:
    subs = subscriptions(40, batch_max=1, interval_ms=1, requests_max=5, window_ms=60_000)
    sent = []
    for second in range(125):
        while (ask := subs.next_ask(second * S)) is not None:
            sent.append(second)
            assert len(ask.markets) == 1
    assert len(sent) == 15
    assert sent[5] == 60


def test_an_answer_to_the_whole_request_activates_all_of_it() -> None:
    subs = subscriptions(6)
    first = subs.next_ask(0)
    assert first is not None
    assert subs.answered(first.number, S)
    assert subs.active == 4
    assert not subs.answered(first.number, S)
    assert not subs.answered(None, S)


def test_a_failed_request_is_halved_until_the_culprit_stands_alone() -> None:
    subs = subscriptions(8, batch_max=8)
    asked, now = [], 0
    while (ask := subs.next_ask(now)) is not None:
        now += S
        asked.append(names(ask))
        if "S5" in names(ask):
            subs.failed(ask.number, "bad", now)
        else:
            subs.answered(ask.number, now)
    assert [market.symbol for market in subs.markets if market.status is Status.REFUSED] == ["S5"]
    assert subs.active == 7
    assert len(asked) <= 7


def test_named_culprits_are_refused_and_the_rest_asked_again() -> None:
    subs = subscriptions(4)
    ask = subs.next_ask(0)
    assert ask is not None
    subs.failed(ask.number, "bad", 0, ask.markets[1:3])
    assert names(subs.next_ask(S)) == ["S0", "S3"]


def test_an_error_that_names_the_whole_batch_names_nobody() -> None:
    subs = subscriptions(4)
    ask = subs.next_ask(0)
    assert ask is not None
    subs.failed(ask.number, "bad", 0, ask.markets)
    assert names(subs.next_ask(S)) == ["S0", "S1"]


def test_a_failure_without_an_open_request_harms_nobody() -> None:
    subs = subscriptions(2)
    subs.failed(None, "bad", 0)
    subs.failed(99, "bad", 0)
    assert names(subs.next_ask(0)) == ["S0", "S1"]


def test_a_pause_doubles_until_something_succeeds() -> None:
    subs, now = subscriptions(1), 0
    for pause in (2, 4, 8, 16, 32, 60, 60):
        assert subs.next_ask(now) is not None
        subs.slow_down(now)
        assert subs.next_ask(now + pause * S - 1) is None
        now += pause * S
    ask = subs.next_ask(now)
    assert ask is not None
    subs.activate(ask.markets[0], now)
    subs.renew(subs.markets)
    assert subs.next_ask(now + S) is not None
    subs.slow_down(now + S)
    assert subs.next_ask(now + 3 * S) is not None


def test_the_unanswered_are_asked_again_in_halves_and_then_left() -> None:
    subs, now, batches = subscriptions(4), 0, []
    while now < 100 * S:
        while (ask := subs.next_ask(now)) is not None:
            batches.append(len(ask.markets))
        given_up = subs.expire(now)
        now += S
        if given_up:
            break
    assert batches[:3] == [4, 2, 2]
    assert max(batches[3:]) == 1
    assert sum(batches) == 16
    assert given_up


def test_nothing_is_given_up_while_something_is_active() -> None:
    subs = subscriptions(2, batch_max=1)
    subs.next_ask(0)
    subs.activate(subs.markets[0], 0)
    for second in range(100):
        subs.next_ask(second * S)
        assert not subs.expire(second * S)


def test_refusals_are_kept_over_connections_for_an_hour() -> None:
    subs = subscriptions(2)
    subs.next_ask(0)
    subs.refuse(subs.markets[0], "bad", 0)
    subs.start(1_800 * S)
    assert names(subs.next_ask(1_800 * S)) == ["S1"]
    subs.start(3_600 * S)
    assert names(subs.next_ask(3_600 * S)) == ["S1"]
    assert names(subs.next_ask(3_601 * S)) == ["S0"]


class AnyVenue(RuleBasedStateMachine):
    """A venue that answers anything to anything, at any time."""

    @initialize(count=st.integers(1, 12), batch=st.integers(1, 5))
    def begin(self, count: int, batch: int) -> None:
        self.now = 0
        self.subs = subscriptions(count, batch_max=batch, requests_max=30, window_ms=60_000)
        self.sent: list[int] = []
        self.numbers: list[int] = [7]

    @rule(seconds=st.integers(0, 200))
    def wait(self, seconds: int) -> None:
        self.now += seconds * S

    @rule()
    def ask(self) -> None:
        while (ask := self.subs.next_ask(self.now)) is not None:
            assert ask.markets
            assert all(market.status is not Status.REFUSED for market in ask.markets)
            self.numbers.append(ask.number)
            self.sent.append(self.now)
            assert sum(self.now - at < 60 * S for at in self.sent) <= 30

    @rule(data=st.data())
    def reply(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from([None, *self.numbers[-5:]]))
        market = data.draw(st.sampled_from(self.subs.markets))
        match data.draw(st.integers(0, 6)):
            case 0:
                self.subs.answered(number, self.now)
            case 1:
                self.subs.failed(number, "bad", self.now)
            case 2:
                self.subs.failed(number, "bad", self.now, [market])
            case 3:
                self.subs.refuse(market, "bad", self.now)
            case 4:
                self.subs.activate(market, self.now)
            case 5:
                self.subs.slow_down(self.now)
            case 6 if market.early:
                market.data_ns = self.now
                self.subs.data(market, self.now)

    @rule()
    def look(self) -> None:
        self.subs.expire(self.now)
        self.subs.wake_silent(self.now)

    @rule()
    def reconnect(self) -> None:
        self.subs.stop()
        assert self.subs.active == 0
        self.subs.start(self.now)
        self.sent.clear()

    @invariant()
    def the_count_of_active_symbols_is_right(self) -> None:
        if hasattr(self, "subs"):
            assert self.subs.active == sum(market.status is Status.ACTIVE for market in self.subs.markets)

    @invariant()
    def what_waits_is_bounded(self) -> None:
        if hasattr(self, "subs"):
            queued = sum(len(batch) for batch, _ in self.subs._queue)
            assert queued <= 2 * len(self.subs.markets)


TestAnyVenue = AnyVenue.TestCase
TestAnyVenue.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
