"""Ticks of one endpoint: the newest change of each asset waits, older ones are folded into it. Pure.

Whatever an endpoint does, its board holds one entry an asset. Every change that was offered is
delivered, or counted in `skipped` of a change of its asset delivered later, or still on the board:

    offered == delivered + sum of their skipped + outstanding

At most one batch is in flight. A batch that failed is folded back; nothing is tried for longer
than `ttl`. Time is an argument: nanoseconds of one clock that does not go back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from trinity_core.exact import BPS, EXACT, multiply
from trinity_core.webhook_rules import MS, Change, Interval, Moved, TickRule

_NEVER: Final = -(1 << 62)


@dataclass(frozen=True, slots=True)
class TickSettings:
    """How an endpoint wants its ticks."""

    batch_max: int = 50
    """Most assets in one batch."""
    batch_ms: int = 0
    """How long a change may wait for others."""
    ttl_ms: int = 5_000
    """A change that could not be delivered for so long is dropped."""


class Item(NamedTuple):
    """One change of a batch."""

    change: Change
    skipped: int
    """How many earlier changes of the asset, since the last one delivered, are folded into it."""


@dataclass(slots=True)
class _Entry:
    waiting: Change | None = None
    offered_ns: int = 0
    """When the waiting change came."""
    waits_since_ns: int = 0
    """Since when something has been ready to be sent."""
    skipped: int = 0
    in_flight: Item | None = None
    flight_offered_ns: int = 0
    sent: Change | None = None
    """The change delivered last."""
    sent_ns: int = _NEVER


class TickBoard:
    """What one endpoint is to be told of ticks. Not for use by two threads at once."""

    def __init__(self, settings: TickSettings) -> None:
        self.settings = settings
        self._entries: dict[str, _Entry] = {}
        self._rules: dict[str, TickRule] = {}
        self._flight: list[str] = []
        self.offered = 0
        """Changes offered."""
        self.delivered = 0
        """Changes delivered, each in a batch that was settled as such."""
        self.folded = 0
        """Changes that were told as `skipped` of a delivered one."""
        self.expired = 0
        """Changes dropped for their age; they are counted in a later `skipped`."""

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def in_flight(self) -> bool:
        """A batch was taken and is not settled."""
        return bool(self._flight)

    @property
    def outstanding(self) -> int:
        """Changes that are neither delivered nor told as skipped."""
        return sum(
            entry.skipped
            + (entry.waiting is not None)
            + (0 if entry.in_flight is None else 1 + entry.in_flight.skipped)
            for entry in self._entries.values()
        )

    def assets(self) -> list[str]:
        """Assets that it has an entry for."""
        return list(self._entries)

    def offer(self, change: Change, rule: TickRule, now_ns: int) -> None:
        """Take a change, under the rule of its asset."""
        self.offered += 1
        entry = self._entries.get(change.asset)
        if entry is None:
            entry = self._entries[change.asset] = _Entry()
        self._rules[change.asset] = rule
        was_ready = entry.waiting is not None and self._ready_ns(change.asset, entry) <= now_ns
        if entry.waiting is not None:
            entry.skipped += 1
        entry.waiting, entry.offered_ns = change, now_ns
        if not was_ready:
            entry.waits_since_ns = max(now_ns, self._ready_ns(change.asset, entry))

    def due_ns(self) -> int | None:
        """When `take` has a batch if nothing more is offered; None while one is in flight or nothing waits."""
        if self._flight:
            return None
        batch_ns = self.settings.batch_ms * MS
        times = sorted(
            max(ready, entry.waits_since_ns)
            for asset, entry in self._entries.items()
            if entry.waiting is not None and (ready := self._ready_ns(asset, entry)) < -_NEVER
        )
        if not times:
            return None
        full = times[self.settings.batch_max - 1] if len(times) >= self.settings.batch_max else -_NEVER
        return min(times[0] + batch_ns, full)

    def take(self, now_ns: int) -> list[Item]:
        """The next batch, those that waited longest first; empty where it is not due. It must be settled."""
        self._expire(now_ns)
        due = self.due_ns()
        if due is None or now_ns < due:
            return []
        ready = [
            (entry.waits_since_ns, asset)
            for asset, entry in self._entries.items()
            if entry.waiting is not None and self._ready_ns(asset, entry) <= now_ns
        ]
        ready.sort()
        batch = []
        for _, asset in ready[: self.settings.batch_max]:
            entry = self._entries[asset]
            assert entry.waiting is not None
            entry.in_flight = Item(entry.waiting, entry.skipped)
            entry.flight_offered_ns = entry.offered_ns
            entry.waiting, entry.skipped = None, 0
            self._flight.append(asset)
            batch.append(entry.in_flight)
        return batch

    def settle(self, now_ns: int, *, delivered: bool) -> None:
        """Tell what became of the batch in flight. What was not delivered waits again unless something newer does."""
        for asset in self._flight:
            entry = self._entries[asset]
            item, entry.in_flight = entry.in_flight, None
            assert item is not None
            if delivered:
                entry.sent, entry.sent_ns = item.change, now_ns
                self.delivered += 1
                self.folded += item.skipped
                continue
            entry.skipped += item.skipped
            if entry.waiting is None:
                entry.waiting, entry.offered_ns = item.change, entry.flight_offered_ns
                entry.waits_since_ns = entry.flight_offered_ns
            else:
                entry.skipped += 1
        self._flight = []
        self._expire(now_ns)

    def forget(self, asset: str) -> None:
        """The endpoint does not ask for the asset any more; a batch in flight is settled as if it did."""
        entry = self._entries.get(asset)
        if entry is None:
            return
        self.offered -= entry.skipped + (entry.waiting is not None)
        entry.waiting, entry.skipped = None, 0
        if entry.in_flight is None:
            del self._entries[asset], self._rules[asset]

    def _expire(self, now_ns: int) -> None:
        ttl_ns = self.settings.ttl_ms * MS
        for asset, entry in self._entries.items():
            if entry.waiting is None or now_ns - entry.offered_ns <= ttl_ns:
                continue
            ready = self._ready_ns(asset, entry)
            # What waits for its interval is not late; it is old only when it could have been sent and was not.
            if ready < -_NEVER and now_ns - max(ready, entry.offered_ns) > ttl_ns:
                entry.waiting = None
                entry.skipped += 1
                self.expired += 1

    def _ready_ns(self, asset: str, entry: _Entry) -> int:
        """When the waiting change may be sent; far away where only another change can bring that about."""
        rule, waiting, sent = self._rules[asset], entry.waiting, entry.sent
        assert waiting is not None
        if isinstance(rule, Interval):
            return max(entry.offered_ns, entry.sent_ns + rule.interval_ms * MS)
        if isinstance(rule, Moved) and sent is not None and not has_moved(rule, sent, waiting):
            return -_NEVER
        return entry.offered_ns


def has_moved(rule: Moved, sent: Change, change: Change) -> bool:
    """Whether a change is far enough from the one sent last, exactly."""
    if change.state is not sent.state or change.epoch != sent.epoch:
        return True
    distance = abs(EXACT.subtract(change.price, sent.price))
    return multiply(distance, BPS) >= multiply(rule.bps, sent.price)
