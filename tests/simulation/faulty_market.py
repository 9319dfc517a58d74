"""Six venues around one true price, with everything that goes wrong between them and the book. Seeded, event by event.

What is made here carries the truth with it (which connection, which order, honest or not),
so that the oracle needs nothing from the book to know what the book may say.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count

from trinity_core.assets import Asset, AssetTable, Listing
from trinity_core.book import BookSettings
from trinity_core.ticks import Liveness, Tick
from trinity_core.venues import Venue

S = 1_000_000_000
START = 50_000 * S
HOUR = 3_600 * S
USD_VENUES = (Venue.COINBASE, Venue.KRAKEN, Venue.CRYPTOCOM, Venue.GEMINI)
USDT_VENUES = (Venue.OKX, Venue.GATEIO)
TABLE = AssetTable(
    [
        Asset(
            "XYZ",
            "Xyz",
            (
                *(Listing(venue, f"{venue}-XYZ-USD", "USD") for venue in USD_VENUES),
                *(Listing(venue, f"{venue}-XYZ-USDT", "USDT") for venue in USDT_VENUES),
            ),
        ),
        Asset("USDT", "Usdt", tuple(Listing(venue, f"{venue}-USDT-USD", "USD") for venue in USD_VENUES[:3])),
    ]
)


@dataclass(frozen=True, slots=True)
class Facts:
    """The truth about a tick."""

    connection: int
    order: int
    """Its place among the ticks of its connection and market."""
    honest: bool
    valid: bool


@dataclass(frozen=True, slots=True)
class Event:
    """Something that reaches the book, or a moment to look at it."""

    t: int
    tick: Tick | None = None
    facts: Facts | None = None
    life: Liveness | None = None
    connection: int = 0


@dataclass(slots=True)
class Desk:
    """One venue and the worker that listens to it."""

    venue: Venue
    numbered: bool
    """It numbers its ticks."""
    restarts: bool
    """It counts anew with each connection."""
    skew_ns: int
    """What its clock is ahead by."""
    up: bool = True
    mute: bool = False
    frozen: bool = False
    garbage: bool = False
    lie: Callable[[int], float] | None = None
    connection: int = 0
    worker: int = 0
    last_frame: int = START
    number: int = 100_000
    spike: float = 1.0
    order: int = 0


@dataclass(slots=True)
class Walk:
    """A true price that wanders, and now and then leaps."""

    level: float
    sigma: float
    at: int = START
    leaps: list[int] = field(default_factory=list)

    def now(self, t: int, dice: random.Random) -> float:
        if t > self.at:
            self.level *= math.exp(dice.gauss(0, self.sigma) * math.sqrt((t - self.at) / S))
            self.at = t
        return self.level


class FaultyMarket:
    """The venues, their faults, and what of all that reaches the book."""

    def __init__(self, *, seed: int, hours: float, settings: BookSettings) -> None:
        self._dice = random.Random(seed)
        self._end = START + round(hours * HOUR)
        self._fresh_ns = settings.fresh_ms * 1_000_000
        self._beat_ns = self._fresh_ns * 2 // 5
        self._pace_s = settings.fresh_ms / 1_000 * 1.5
        self._walks = {"XYZ": Walk(1_000.0, 1.5e-4), "USDT": Walk(1.0, 5e-6)}
        self._no_usdt = False
        self._heap: list[tuple[int, int, Callable[..., Event | None], tuple[object, ...]]] = []
        self._tie = count()
        self._connections = count(1)
        self.desks = {
            venue: Desk(
                venue,
                numbered=n % 2 == 0,
                restarts=n == 2,
                skew_ns=self._dice.choice([0, 0, 3_600 * S, -86_400 * S]),
                connection=next(self._connections),
            )
            for n, venue in enumerate(Venue)
        }
        for desk in self.desks.values():
            self._at(START, self._beat, desk)
            self._later(900, self._fail, desk)
            for asset in TABLE.assets:
                if asset.listing(desk.venue) is not None:
                    self._later(1, self._speak, desk, asset.asset)
        self._later(4_000, self._stop_usdt)
        self._later(5_000, self._leap)

    def events(self) -> Iterator[Event]:
        """Everything, in the order in which it reaches the book."""
        while self._heap and self._heap[0][0] < self._end:
            t, _, act, arguments = heapq.heappop(self._heap)
            event = act(t, *arguments)
            if event is not None:
                yield event

    def _at(self, t: int, act: Callable[..., Event | None], *arguments: object) -> None:
        heapq.heappush(self._heap, (t, next(self._tie), act, arguments))

    def _later(self, mean_s: float, act: Callable[..., Event | None], *arguments: object, t: int = START) -> None:
        self._at(t + round(self._dice.expovariate(1 / mean_s) * S), act, *arguments)

    def _deliver(self, t: int, event: Event) -> Event:
        return Event(t, event.tick, event.facts, event.life, event.connection)

    def _beat(self, t: int, desk: Desk) -> Event | None:
        """A sign of life, as long as the connection has any."""
        self._at(t + self._beat_ns, self._beat, desk)
        if not desk.up or desk.mute:
            return None
        desk.last_frame = t
        return self._life(t, desk, connected=True)

    def _life(self, t: int, desk: Desk, *, connected: bool) -> Event:
        life = Liveness(desk.venue, f"worker-{desk.worker}", desk.last_frame, connected)
        return Event(t, life=life, connection=desk.connection)

    def _speak(self, t: int, desk: Desk, asset: str) -> None:
        """The next tick of a market, if it comes through."""
        self._later(self._pace_s * self._dice.choice([0.02, 0.3, 2]), self._speak, desk, asset, t=t)
        self._push(t, desk, asset)

    def _push(self, t: int, desk: Desk, asset: str) -> None:
        if not desk.up or desk.mute or desk.frozen or (asset == "USDT" and self._no_usdt):
            return
        dice = self._dice
        desk.last_frame = t
        desk.number += dice.randint(10, 20)
        desk.order += 1
        luck = dice.random()
        if luck < 0.01:
            return
        listing = TABLE.by_id[asset].listing(desk.venue)
        assert listing is not None
        value = self._walks[asset].now(t, dice) * (1 + dice.gauss(0, 1e-4))
        if listing.quote == "USDT":
            value /= self._walks["USDT"].now(t, dice)
        twist = max(0.01, (desk.lie(t) if desk.lie else 1.0) * desk.spike)
        desk.spike = 1.0
        last = Decimal(f"{value * twist:.7f}")
        bid, ask = last - Decimal("0.0001"), last + Decimal("0.0001")
        if desk.garbage:
            last, bid, ask = dice.choice(
                [(last, ask, bid), (-last, bid, ask), (last, Decimal("NaN"), ask), (last, bid, Decimal(0))]
            )
        tick = Tick(
            venue=desk.venue,
            asset=asset,
            symbol=listing.symbol,
            quote=listing.quote,
            price=last,
            bid=bid,
            ask=ask,
            volume_24h=Decimal(dice.choice(["1", "1000", "1e20"])),
            venue_time_ns=t + desk.skew_ns,
            sequence=desk.number if desk.numbered else None,
            receive_time_ns=t,
            receive_mono_ns=t,
        )
        event = Event(t, tick, Facts(desk.connection, desk.order, twist == 1.0, not desk.garbage))
        delay_ns = dice.randint(0, 3 * S) if luck > 0.97 else dice.randint(0, 20_000_000)
        self._at(t + delay_ns, self._deliver, event)
        if luck > 0.98:
            self._at(t + delay_ns + dice.randint(0, 5 * S), self._deliver, event)

    def _fail(self, t: int, desk: Desk) -> Event | None:
        """Something goes wrong with a venue that is well."""
        dice = self._dice
        if not desk.up or desk.mute or desk.frozen or desk.garbage or desk.lie:
            self._later(60, self._fail, desk, t=t)
            return None
        lying = sum(other.lie is not None for other in self.desks.values())
        fault = dice.choice(["freeze", "mute", "cut", "die", "lie", "lie", "spike", "garbage"])
        lasts_ns = round(min(dice.expovariate(1 / 60), 400) * S)
        if fault == "lie" and lying >= 2:
            fault = "freeze"
        if fault == "spike":
            desk.spike = dice.choice([1.3, 0.7, 1.03, 100.0])
        elif fault == "freeze":
            desk.frozen = True
        elif fault == "mute":
            desk.mute = True
        elif fault == "garbage":
            desk.garbage = True
        elif fault == "lie":
            desk.lie = self._new_lie(t)
        else:
            desk.up = False
        if fault == "die":
            lasts_ns += self._fresh_ns + self._beat_ns
        self._at(t + lasts_ns, self._mend, desk, fault)
        return self._life(t, desk, connected=False) if fault == "cut" else None

    def _new_lie(self, t: int) -> Callable[[int], float]:
        dice = self._dice
        factor = dice.choice([0.5, 0.97, 0.996, 1.004, 1.012, 1.03, 2.0])
        kind = dice.choice(["constant", "drift", "wild", "together"])
        if kind == "drift":
            return lambda now: 1 + (factor - 1) * ((now - t) / S + 1) / 100
        if kind == "wild":
            return lambda now: dice.choice([factor, 1 / factor, 1.0001, 0.001])
        if kind == "together":
            return lambda now: 1.004
        return lambda now: factor

    def _mend(self, t: int, desk: Desk, fault: str) -> Event | None:
        """The fault ends; a connection that ended is opened anew, and repeats some of what it knows."""
        self._later(700, self._fail, desk, t=t)
        desk.mute = desk.frozen = desk.garbage = False
        desk.lie = None
        if desk.up:
            return None
        desk.up = True
        desk.connection = next(self._connections)
        desk.worker += fault == "die"
        desk.order = 0
        desk.last_frame = t
        if desk.restarts:
            desk.number = 0
        for asset in TABLE.assets:
            if asset.listing(desk.venue) is not None and self._dice.random() < 0.7:
                self._at(t + self._dice.randint(0, S), self._push, desk, asset.asset)
        return self._life(t, desk, connected=True)

    def _stop_usdt(self, t: int) -> None:
        self._no_usdt = not self._no_usdt
        self._later(300 if self._no_usdt else 4_000, self._stop_usdt, t=t)

    def _leap(self, t: int) -> None:
        """The true price itself jumps: no fault, and no reason to hold it back for long."""
        self._walks["XYZ"].now(t, self._dice)
        self._walks["XYZ"].level *= self._dice.choice([0.95, 1.05, 0.9, 1.1])
        self._later(5_000, self._leap, t=t)
