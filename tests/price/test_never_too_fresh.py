"""Hours of one market, a service and a replica in virtual time: nothing old is ever FRESH, whatever goes wrong.

Venues fall silent, connections end, batches are late, streams are cut, services restart, wall
clocks jump. What is checked is plain: a replica may call a price FRESH only while some venue
stood by a quote of it within the freshness bound.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from price.fake_feed import ASSETS, made_tick
from price.virtual_clock import VirtualClock
from trinity.price.v1 import price_pb2
from trinity_client.replica import Replica
from trinity_client.view import PriceView
from trinity_core.book import Book, BookSettings
from trinity_core.prices import State
from trinity_core.ticks import Liveness
from trinity_core.venues import Venue
from trinity_price.publication import Publication
from trinity_price.wall import AnchoredWall
from trinity_price.writer import Writer

MS = 1_000_000
SETTINGS = BookSettings()
VENUES = (Venue.COINBASE, Venue.KRAKEN, Venue.GEMINI)
WATCHED = ("BTC", "ETH")
OWN_CLOCK = "replica's"


class Hour:
    """One seeded run."""

    def __init__(self, seed: int, *, same_host: bool) -> None:
        self.rng = random.Random(seed)
        self.clock = VirtualClock()
        self.clock_id = OWN_CLOCK if same_host else "service's"
        self.least_delay_ns = 0 if same_host else 3 * MS
        self.replica = Replica(clock=self.clock, clock_id=OWN_CLOCK)
        self.stood_by: dict[str, int] = {}
        self.ticked: dict[tuple[Venue, str], int] = {}
        self.connected: dict[Venue, bool] = dict.fromkeys(VENUES, True)
        self.value = 100
        self.sent: list[tuple[int, bytes]] = []
        self.fresh = self.looked = 0
        self.restart()
        self.connect()

    def restart(self) -> None:
        clock = self.clock
        self.wall = AnchoredWall(clock=clock)
        self.publication = Publication(
            clock=clock, clock_id=self.clock_id, wall=self.wall, epoch=clock.unix_ns() % 2**62
        )
        self.writer = Writer(
            book=Book(assets=ASSETS, settings=SETTINGS),
            publication=self.publication,
            wall=self.wall,
            clock=clock,
            changed=lambda prices: None,
        )
        self.ticked.clear()
        self.sent.clear()

    def connect(self) -> None:
        epoch, sequence = self.replica.opened()
        self.sent.clear()
        self.cursor = sequence if epoch == self.publication.epoch else 0
        self.send(snapshot=True)

    def send(self, *, snapshot: bool = False) -> None:
        """A batch leaves; it arrives later, after those before it."""
        join = self.publication.join(self.publication.since(self.cursor, frozenset(WATCHED)))
        self.cursor = self.publication.sequence
        tail = self.publication.tail(sequence=self.cursor, snapshot=snapshot, complete=snapshot)
        stall = self.rng.choice([0, 0, 0, 0, 0, 20, 400, 15_000]) * MS
        due = self.clock.monotonic_ns() + self.least_delay_ns + stall
        self.sent.append((max(due, self.sent[-1][0] if self.sent else 0), join + tail))

    def arrive(self) -> None:
        batch = price_pb2.WatchPricesResponse.FromString(self.sent.pop(0)[1])
        self.replica.receive(batch, self.clock.monotonic_ns())

    def tick(self) -> None:
        venue, asset = self.rng.choice(VENUES), self.rng.choice(WATCHED)
        if self.connected[venue]:
            self.value += self.rng.choice([-1, 0, 1])
            now = self.clock.monotonic_ns()
            self.writer.take([made_tick(venue, asset, str(self.value), at_ns=now)])
            self.ticked[venue, asset] = now
            self.stood_by[asset] = now

    def live(self) -> None:
        now = self.clock.monotonic_ns()
        for venue, stands in self.connected.items():
            if stands:
                self.writer.hear([Liveness(venue, "w", now, True)])
                for (ticker, asset), ticked in self.ticked.items():
                    if ticker is venue:
                        stood = min(now, ticked + SETTINGS.quiet_ms * MS)
                        self.stood_by[asset] = max(self.stood_by[asset], stood)

    def end(self) -> None:
        venue = self.rng.choice(VENUES)
        self.connected[venue] = not self.connected[venue]
        self.writer.hear([Liveness(venue, "w", self.clock.monotonic_ns(), self.connected[venue])])

    def pass_time(self, seconds: float) -> None:
        end = self.clock.monotonic_ns() + round(seconds * 1_000 * MS)
        while self.sent and self.sent[0][0] <= end:
            self.clock.move(max(0, self.sent[0][0] - self.clock.monotonic_ns()) / 1e9)
            self.arrive()
        self.clock.move((end - self.clock.monotonic_ns()) / 1e9)
        self.writer._hand_on(self.writer.book.advance(self.clock.monotonic_ns()))
        if self.wall.check():
            self.publication.forget_frames()

    def look(self) -> None:
        now = self.clock.monotonic_ns()
        self.replica.aged(now)
        for asset, view in self.replica.views.items():
            self.looked += 1
            if view.state in (State.FRESH, State.DIVERGENT):
                self.fresh += 1
                # Between hosts the smallest delay of any message cannot be told from a difference of the clocks.
                bound = SETTINGS.fresh_ms * MS + view.timeline.offset_ns
                old_ms = (now - self.stood_by[asset]) / MS
                assert now - self.stood_by[asset] <= bound, f"{asset} is FRESH, stood by {old_ms:.3f} ms ago"
                assert view.message_at(now).state == view.state.value

    def run(self, seconds: int) -> None:
        happenings: Sequence[tuple[float, object]] = (
            (0.30, self.tick),
            (0.30, self.live),
            (0.30, self.send),
            (0.02, self.end),
            (0.02, self.connect),
            (0.005, self.restart_and_connect),
            (0.01, lambda: self.clock.jump_wall(self.rng.uniform(-90_000, 90_000))),
            (0.01, lambda: self.pass_time(self.rng.uniform(5, 80))),
        )
        end = self.clock.monotonic_ns() + seconds * 1_000 * MS
        while self.clock.monotonic_ns() < end:
            (_, happening) = self.rng.choices(happenings, weights=[weight for weight, _ in happenings])[0]
            happening()  # type: ignore[operator]
            self.pass_time(self.rng.uniform(0, 1.5))
            self.look()

    def restart_and_connect(self) -> None:
        self.restart()
        self.connect()


@pytest.mark.parametrize("same_host", [True, False])
@pytest.mark.parametrize("seed", range(12))
def test_an_hour_in_which_everything_goes_wrong(seed: int, same_host: bool) -> None:
    hour = Hour(seed, same_host=same_host)
    hour.run(3_600)
    assert hour.fresh > hour.looked // 5, "the test looked at fresh prices too"
    assert hour.looked > hour.fresh + 100


def test_a_replica_that_believed_the_messages_would_be_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: without judging by age the same hour fails."""
    hour = Hour(1, same_host=True)
    monkeypatch.setattr(PriceView, "state_at", lambda view, now_ns: State(view.message.state))
    with pytest.raises(AssertionError, match="is FRESH, stood by"):
        hour.run(3_600)
