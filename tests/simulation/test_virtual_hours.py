"""A thousand virtual hours of faults: no stale price is ever shown as fresh, by the book or by a replica of it."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

import pytest

from simulation.faulty_market import START, TABLE, Event, FaultyMarket, S
from simulation.oracle import LIVE, MS, Oracle
from trinity_core import book as book_module
from trinity_core.book import Book, BookSettings
from trinity_core.book_page import judge
from trinity_core.consolidate import Consolidated, Entry, Limits, consolidate
from trinity_core.errors import TrinityError
from trinity_core.freshness import Life, Market
from trinity_core.prices import Price, State
from trinity_core.transit import Transit

USUAL = BookSettings()
SLOW = BookSettings(fresh_ms=60_000, quiet_ms=180_000, stale_ms=240_000)
"""Fewer events an hour, so that the hours can be many."""

RUNS = [(seed, 10.0, USUAL) for seed in range(2)] + [(seed, 70.0, SLOW) for seed in range(100, 114)]
AGAIN_NS = 400 * MS
FASTEST_NS = 5 * MS
SLOWEST_NS = 80 * MS


@dataclass(slots=True)
class Message:
    """A price on its way to the replica."""

    arrives: int
    sent: int
    price: Price


class DistantReplica:
    """Another host's copy of the book: another clock, a stream that delays, stalls, and then delivers its backlog."""

    def __init__(self, *, seed: int) -> None:
        self._dice = random.Random(seed)
        self._ahead = self._dice.randint(-(10**6), 10**6) * S
        self._transit = Transit(clock_id="replica")
        self._stream: deque[Message] = deque()
        self._stalled_until = START
        self._stall_at = START + 600 * S
        self._views: dict[str, Price] = {}
        self.calm_since = START

    def send(self, price: Price, t: int) -> None:
        """The book published a price."""
        if t >= self._stall_at:
            self._stalled_until = max(self._stalled_until, t + self._dice.randint(0, 90) * S)
            self._stall_at = t + round(self._dice.expovariate(1 / 900) * S)
            self.calm_since = self._stalled_until + S
        ready = t + self._dice.randint(FASTEST_NS, SLOWEST_NS)
        arrives = max(ready, self._stalled_until, self._stream[-1].arrives if self._stream else 0)
        self._stream.append(Message(arrives, t, price))

    def state(self, asset: str, t: int) -> tuple[Price, State] | None:
        """What it shows at a time of the book's clock, which it cannot read."""
        while self._stream and self._stream[0].arrives <= t:
            message = self._stream.popleft()
            self._transit.observe(clock_id="book", sent_mono_ns=message.sent, now_ns=message.arrives + self._ahead)
            self._views[message.price.asset] = message.price
        price = self._views.get(asset)
        if price is None:
            return None
        now = t + self._ahead
        if price.state in (State.STALE, State.HALTED):
            return price, price.state
        if now >= self._transit.local(price.stale_at_mono_ns):
            return price, State.STALE
        if now >= self._transit.local(price.fresh_until_mono_ns):
            return price, State.DELAYED
        return price, price.state


class Run:
    """A book and a replica of it in a faulty market, both under the oracle's eye."""

    def __init__(self, seed: int, settings: BookSettings, *, trusting: bool) -> None:
        """A trusting replica believes a state as it was sent, whatever the time."""
        self._book = Book(assets=TABLE, settings=settings)
        self._replica = DistantReplica(seed=seed)
        self._trusting = trusting
        self._expected: list[str] = []
        self._look = START
        self._pause = max(20 * S, settings.fresh_ms * MS)
        self._again = START + AGAIN_NS
        self.oracle = Oracle(settings)

    def take(self, event: Event) -> None:
        """Let time pass until the event, and the event happen."""
        while (due := min(self._look, self._again)) <= event.t:
            self._drive(due)
            self._observe(due)
            if due == self._look:
                self._expected = [asset for asset in TABLE.ids if self.oracle.lasts(asset) > due + AGAIN_NS]
                self._look, self._again = due + self._pause, due + AGAIN_NS
            else:
                self._expected, self._again = [], self._look + AGAIN_NS
        self._drive(event.t)
        self.oracle.hear(event)
        if event.tick is not None:
            self._note(self._book.apply(event.tick, event.t), event.t)
        elif event.life is not None:
            self._note(self._book.alive(event.life, event.t), event.t)

    def _drive(self, t: int) -> None:
        """Let the timer fire whenever something is due: a price is then checked at the moment it is made for."""
        while (due := self._book.next_due_ns()) is not None and due <= t:
            self._note(self._book.advance(due), due)

    def _note(self, prices: list[Price], t: int) -> None:
        for price in prices:
            self.oracle.published(price, t)
            self._replica.send(price, t)

    def _observe(self, t: int) -> None:
        """Look at what the book and the replica show; what was live before and still is must be shown as such."""
        for asset in TABLE.ids:
            try:
                price = self._book.price(asset, t)
                self.oracle.shown(price, price.state, t, by="the book")
            except TrinityError:
                price = None
            held = self._replica.state(asset, t)
            if held is not None:
                state = held[0].state if self._trusting else held[1]
                self.oracle.shown(held[0], state, t, by="the replica", late_ns=SLOWEST_NS)
            if asset in self._expected:
                self.oracle.missed(asset, price.state if price else None, t, by="the book")
                if t > self._replica.calm_since + 10 * S:
                    self.oracle.missed(asset, held[1] if held else None, t, by="the replica")


def simulate(seed: int, hours: float, settings: BookSettings, *, trusting: bool = False, enough: int = 5) -> Oracle:
    """Run the hours, or until `enough` things are wrong."""
    run = Run(seed, settings, trusting=trusting)
    for event in FaultyMarket(seed=seed, hours=hours, settings=settings).events():
        run.take(event)
        if len(run.oracle.wrong) >= enough:
            break
    return run.oracle


def test_the_hours_are_a_thousand() -> None:
    assert sum(hours for _, hours, _ in RUNS) == 1_000


@pytest.mark.parametrize(("seed", "hours", "settings"), RUNS, ids=[f"seed-{seed}" for seed, _, _ in RUNS])
def test_no_stale_price_is_ever_fresh_and_no_live_one_is_missed(
    seed: int, hours: float, settings: BookSettings
) -> None:
    oracle = simulate(seed, hours, settings)
    assert oracle.wrong == []
    for what in (
        "published",
        "range",
        "live at the book",
        "live at the replica",
        "shown by the book as FRESH",
        "shown by the replica as FRESH",
        "shown by the replica as DELAYED",
    ):
        assert oracle.checked[what] > hours, f"the run hardly looked at: {what}"


def no_end_of_quiet(market: Market) -> int:
    return max(market.life.alive, market.receive) + market._fresh_ns


def a_little_longer(market: Market) -> int:
    return max(min(market.life.alive, market.limit), market.receive) + market._fresh_ns + S


def signs_of_life_do_not_count(market: Market) -> int:
    return market.receive + market._fresh_ns


def a_mean(entries: list[Entry], limits: Limits) -> Consolidated:
    made = consolidate(entries, limits)
    mean = sum((entry.value for entry in entries), Decimal(0)) / len(entries)
    return Consolidated(mean, made.confidence, made.spread_bps, made.divergent, made.kept, made.fresh)


def old_connections_go_on(life: Life, *_: object) -> bool:
    return True


BROKEN: dict[str, tuple[object, str, Callable[..., object], str]] = {
    "a quiet pair is fresh for ever": (Market, "until", no_end_of_quiet, "quotes that ended"),
    "a quote is fresh for a second too long": (Market, "until", a_little_longer, "too long"),
    "heartbeats do not count": (Market, "until", signs_of_life_do_not_count, "though a quote is fresh"),
    "a new connection stands by old quotes": (Life, "_covered", old_connections_go_on, "quotes that ended"),
    "refused quotes change nothing": (Market, "supersede", lambda *_: None, "quotes that ended"),
    "outliers are averaged in": (book_module, "consolidate", a_mean, "honest quotes lie between"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_oracle_catches_a_book_with_a_broken_rule(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, attribute, broken, complaint = BROKEN[name]
    monkeypatch.setattr(owner, attribute, broken)
    wrong = simulate(1, 40.0, USUAL).wrong
    assert any(complaint in line for line in wrong), wrong


def test_the_oracle_catches_a_replica_that_does_not_watch_the_clock() -> None:
    wrong = simulate(1, 40.0, USUAL, trusting=True, enough=1).wrong
    assert any("the replica shows a price as FRESH" in line for line in wrong), wrong


def test_the_same_seed_gives_the_same_run() -> None:
    assert simulate(3, 1.0, USUAL).checked == simulate(3, 1.0, USUAL).checked


def test_the_book_and_a_replica_next_to_it_judge_alike() -> None:
    book = Book(assets=TABLE, settings=USUAL)
    for event in FaultyMarket(seed=5, hours=0.5, settings=USUAL).events():
        if event.tick is not None:
            book.apply(event.tick, event.t)
        for asset in TABLE.ids:
            current = book.current(asset)
            if current is not None and judge(current, event.t) is not State.STALE:
                assert book.price(asset, event.t).state is judge(current, event.t)
    assert any(price.state in LIVE for price in book.snapshot())
