"""Which of a venue's quotes is newest, and until when it is fresh.

A quote is fresh for `fresh_ms` after the venue last stood by it: when it was received, or
when anything else came over the connection that pushes it, because a pair that is silent on
a live connection is merely quiet. That benefit ends `quiet_ms` after the pair was heard,
with the connection that pushed it, and as soon as a newer quote of the pair was refused.
All times are monotonic nanoseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from trinity_core.assets import Listing
from trinity_core.book_settings import BookSettings
from trinity_core.exact import fit_volume
from trinity_core.quote_values import Refusal
from trinity_core.ticks import Liveness, Tick

MS = 1_000_000
NEVER = -(1 << 62)
"""Before any time."""


@dataclass(slots=True)
class _Worker:
    alive: int
    connected: bool


class Life:
    """One venue's connections, through every worker that holds one."""

    __slots__ = ("_ended", "_fresh_ns", "_workers", "_workers_max", "alive", "cut", "stood", "workers_forgotten")

    def __init__(self, *, settings: BookSettings) -> None:
        self._fresh_ns = settings.fresh_ms * MS
        self._workers_max = settings.workers_max
        self._workers: dict[str, _Worker] = {}
        self._ended = NEVER
        self.alive = NEVER
        """Newest sign of life from a connection that stood."""
        self.cut = NEVER
        """What was pushed up to then came over a connection that has ended, and nothing has covered for it."""
        self.stood = NEVER
        """Newest sign of life from before `cut`: none since stands by what was pushed before it."""
        self.workers_forgotten = 0

    @property
    def connected(self) -> bool:
        """At least one worker's connection stands."""
        return any(worker.connected for worker in self._workers.values())

    def hear(self, liveness: Liveness, now: int) -> bool:
        """Take a sign of life, or a connection's end; True when this is a new connection after none stood.

        A worker that reports for the first time, or again after its end, continues what was
        there only if another worker's connection stood within `fresh_ms`.
        """
        alive = min(liveness.alive_mono_ns, now)
        worker = self._workers.get(liveness.worker)
        if not liveness.connected:
            self._ended = max(self._ended, alive)
            if worker is None:
                self._remember(liveness.worker, _Worker(alive, connected=False))
            else:
                worker.connected = False
            return False
        begins = False
        if worker is None or not worker.connected:
            begins = bool(self._workers) and not self._covered(alive)
            if begins:
                self.stood = self.alive
                # A connection whose end nobody reported may have pushed a little more than is known.
                self.cut = max(self.cut, self.alive, self._ended, alive - self._fresh_ns)
        if worker is None:
            self._remember(liveness.worker, _Worker(alive, connected=True))
        else:
            worker.connected = True
            worker.alive = max(worker.alive, alive)
        self.alive = max(self.alive, alive)
        return begins

    def _covered(self, alive: int) -> bool:
        return any(other.connected and other.alive >= alive - self._fresh_ns for other in self._workers.values())

    def _remember(self, name: str, worker: _Worker) -> None:
        if len(self._workers) >= self._workers_max:
            gone = min(self._workers, key=lambda known: (self._workers[known].connected, self._workers[known].alive))
            del self._workers[gone]
            self.workers_forgotten += 1
        self._workers[name] = worker


class Market:
    """One venue's market of one asset: the newest quote that counts, and one that may wait for confirmation."""

    __slots__ = (
        "_fresh_ns",
        "_live_lag_ns",
        "_order",
        "_quiet_ns",
        "_stale_ns",
        "heard",
        "life",
        "limit",
        "listing",
        "pending",
        "pending_receive",
        "pending_since",
        "pending_value",
        "rank",
        "receive",
        "seen",
        "sequence",
        "suspect",
        "tick",
        "value",
        "volume",
    )

    def __init__(self, *, listing: Listing, rank: int, life: Life, settings: BookSettings) -> None:
        """`rank` is the market's place in the asset's priority."""
        self._fresh_ns = settings.fresh_ms * MS
        self._quiet_ns = settings.quiet_ms * MS
        self._stale_ns = settings.stale_ms * MS
        self._live_lag_ns = settings.live_lag_ms * MS
        self.listing = listing
        self.rank = rank
        self.life = life
        self.tick: Tick | None = None
        """The quote that counts."""
        self.value: Decimal | None = None
        """Its value in its quote currency."""
        self.volume: Decimal | None = None
        self.suspect = False
        """Its venue time is suspect."""
        self.receive = NEVER
        self.heard = NEVER
        """When the newest accepted quote was pushed."""
        self.limit = NEVER
        """Signs of life count up to here."""
        self.seen = NEVER
        """When the newest quote was pushed, be it accepted or refused."""
        self.sequence: int | None = None
        """The venue's own number of the newest quote pushed; None where it had none."""
        self._order = NEVER
        self.pending: Tick | None = None
        """A newer quote whose jump waits for confirmation."""
        self.pending_value: Decimal | None = None
        self.pending_receive = NEVER
        self.pending_since = NEVER

    def until(self) -> int:
        """The quote that counts is fresh up to and including this time, by what is known now."""
        basis = min(self.life.alive, self.limit)
        return max(basis, self.receive) + self._fresh_ns

    def misplaced(self, tick: Tick, value: Decimal | None, receive: int) -> Refusal | None:
        """DUPLICATE or OLDER when the tick is not newer than what is known; `value` is None for a refused quote.

        Between ticks of one span of connection the venue's sequence decides where both have one,
        else the time of receipt. A quote read by REST has no sequence and counts as received
        `live_lag_ms` earlier, since venues cache such answers. A sequence that only ever falls
        behind is believed again `stale_ms` after the newest, so that no number locks a venue out.
        """
        order = receive - self._live_lag_ns if tick.live else receive
        if tick.live:
            newest = self._order
        else:
            newest = max(self.seen, self._order)
            if tick.sequence is not None and self.sequence is not None and not self._across_a_break(receive):
                if order < self._order and self._is_live():
                    return Refusal.OLDER
                return self._misplaced_in_sequence(tick, tick.sequence - self.sequence, value, receive)
        if order < newest:
            return Refusal.OLDER
        return Refusal.DUPLICATE if order == newest and self._same(tick, value) else None

    def take(self, tick: Tick, value: Decimal, receive: int, *, suspect: bool) -> None:
        """Let a quote count from now on."""
        self.tick = tick
        self.value = value
        self.volume = fit_volume(tick.volume_24h)
        self.suspect = suspect
        self.receive = receive
        if tick.live:
            self._order = receive - self._live_lag_ns
        else:
            self._order = receive
            self.heard = receive
            self.limit = receive + self._quiet_ns
            if receive <= self.life.cut:
                self.limit = min(self.limit, self.life.stood)

    def note(self, tick: Tick, receive: int) -> None:
        """Remember, for the order, that a quote came, whether or not it will count."""
        if tick.live:
            return
        self.seen = max(self.seen, receive)
        self.sequence = tick.sequence

    def supersede(self, receive: int) -> None:
        """A newer quote came that does not count: the old one only ages from now on."""
        self.limit = min(self.limit, receive)

    def hold(self, tick: Tick, value: Decimal, receive: int, now: int) -> bool:
        """Let a quote wait for confirmation, a second one to the same side not anew; False where one waited before."""
        assert self.value is not None
        same_side = self.pending_value is not None and (self.pending_value > self.value) == (value > self.value)
        if not same_side:
            self.pending_since = now
        first = self.pending is None
        self.pending, self.pending_value, self.pending_receive = tick, value, receive
        self._order = receive - self._live_lag_ns if tick.live else receive
        self.supersede(receive)
        return first

    def forget_pending(self) -> bool:
        """Nothing waits any more; False where nothing did."""
        waited = self.pending is not None
        self.pending = self.pending_value = None
        return waited

    def cut_off(self) -> None:
        """The connection that pushed the quote ended: signs of life of its successor do not stand by it."""
        if self.heard <= self.life.cut:
            self.limit = min(self.limit, self.life.stood)

    def _is_live(self) -> bool:
        return self.tick is not None and self.tick.live

    def _same(self, tick: Tick, value: Decimal | None) -> bool:
        known = self.pending or self.tick
        return (
            value is not None
            and known is not None
            and (tick.price, tick.bid, tick.ask) == (known.price, known.bid, known.ask)
            and fit_volume(tick.volume_24h) == fit_volume(known.volume_24h)
        )

    def _across_a_break(self, receive: int) -> bool:
        """Between this time and the newest tick no connection stood: a venue may count anew, or repeat itself."""
        return (receive <= self.life.cut) != (self.seen <= self.life.cut)

    def _misplaced_in_sequence(self, tick: Tick, ahead: int, value: Decimal | None, receive: int) -> Refusal | None:
        if ahead > 0:
            return None
        if ahead < 0:
            return None if receive - self.seen > self._stale_ns else Refusal.OLDER
        if self._same(tick, value):
            return Refusal.DUPLICATE
        return None if receive >= self.seen else Refusal.OLDER
