"""Which symbols are asked for, acknowledged, refused or silent, and what to ask next.

Symbols are asked for in batches, no faster than the venue's pace. A batch that fails as a
whole is halved until the culprit stands alone, so that one bad symbol costs no other. What
is neither acknowledged nor followed by data is asked again in smaller batches. A symbol
that falls silent is subscribed anew; if that does not wake it, the connection is given up.
A symbol for which that was in vain gets twice the patience next time: most likely it is
just quiet, and the others should not pay for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from trinity_feeds.markets import Market, Status

MS: Final = 1_000_000
ASKS_MAX: Final = 4
"""Unanswered asks of a symbol on one connection before it is left to the watch for silence."""
PATIENCE_DOUBLINGS: Final = 5
"""A quiet symbol's patience grows to at most 32 times `symbol_silent_ms`, about an hour."""
REFUSAL_MS: Final = 3_600_000
"""A refused symbol is tried again on the first connection after this."""
PAUSE_MS: Final = (2_000, 60_000)
"""First and longest pause after the venue called our requests too many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How a venue wants to be asked."""

    batch_max: int
    """Symbols in one request."""
    interval_ms: int
    """Least time between two requests."""
    open_wait_ms: int = 0
    """Time to wait after connecting before the first request."""
    requests_max: int = 1_000_000
    """Requests in any `window_ms` of one connection."""
    window_ms: int = 3_600_000


@dataclass(slots=True, eq=False)
class Ask:
    """One request on its way."""

    number: int
    """Id in the request, where the venue's protocol has one."""
    markets: list[Market]
    """Those still without an answer."""
    sent_ns: int
    renew: bool
    """Subscribed before: unsubscribe first."""


class Subscriptions:
    """The state of all symbols; knows times and answers, no frames."""

    def __init__(self, *, markets: Sequence[Market], pace: Pace, ack_ms: int, silent_ms: int) -> None:
        """`silent_ms` is the patience with a silent symbol, before any doubling."""
        self.markets = tuple(markets)
        self._pace = pace
        self._ack_ns = ack_ms * MS
        self._silent_ns = silent_ms * MS
        self._queue: deque[tuple[list[Market], bool]] = deque()
        self._asks: dict[int, Ask] = {}
        self._sent: deque[int] = deque()
        self._number = 0
        self._next_ns = 0
        self._pause_ms = 0
        self.active = 0
        """Symbols acknowledged or with data on this connection."""
        self.flowing = False
        """Some symbol had more than its first data on this connection."""
        self.renewed = 0
        """Symbols subscribed anew because of silence or a gap, ever."""

    # The connection's life.

    def start(self, mono_ns: int) -> None:
        """A connection opened: ask for everything, those refused lately excepted."""
        self.stop()
        again = []
        for market in self.markets:
            market.asks = 0
            market.early = 2
            market.sequence = -1
            market.since_ns = mono_ns
            market.woken = False
            if market.status is Status.REFUSED:
                if mono_ns - market.refused_ns >= REFUSAL_MS * MS:
                    again.append(market)
            else:
                market.status = Status.WAITING
        self._enqueue((market for market in self.markets if market.status is Status.WAITING), renew=False)
        for market in again:
            market.status = Status.WAITING
            self._queue.append(([market], False))
        self._next_ns = mono_ns + self._pace.open_wait_ms * MS

    def stop(self) -> None:
        """The connection is gone."""
        self._queue.clear()
        self._asks.clear()
        self._sent.clear()
        self.active = 0
        self.flowing = False
        self._pause_ms = 0

    # What the venue answers.

    def activate(self, market: Market, mono_ns: int) -> None:
        """The venue acknowledged the symbol, or sent data of it."""
        answered = self._take_out(market)
        if market.status is not Status.ACTIVE:
            market.status = Status.ACTIVE
            market.reason = ""
            market.asks = 0
            self.active += 1
            answered = True
        if answered:  # a list of all that is active is no news of each
            market.since_ns = mono_ns
            self._pause_ms = 0

    def data(self, market: Market, mono_ns: int) -> None:
        """One of the first two data frames of a symbol since it was subscribed; call while `early` is not 0."""
        market.early -= 1
        market.woken = False
        self.activate(market, mono_ns)
        if not market.early:
            market.doublings = 0
            self.flowing = True

    def refuse(self, market: Market, reason: str, mono_ns: int) -> None:
        """The venue does not serve the symbol."""
        if market.status is Status.ACTIVE:
            self.active -= 1
        market.status = Status.REFUSED
        market.reason = reason
        market.refused_ns = mono_ns
        self._take_out(market)

    def answered(self, number: int | None, mono_ns: int) -> bool:
        """The request succeeded as a whole; None is the oldest open one. False where no such request is open."""
        if number is None:
            number = next(iter(self._asks), None)
        ask = None if number is None else self._asks.pop(number, None)
        if ask is None:
            return False
        for market in ask.markets:
            if market.status is Status.ASKED:
                self.activate(market, mono_ns)
            else:
                market.since_ns = mono_ns
        return True

    def failed(self, number: int | None, reason: str, mono_ns: int, culprits: Iterable[Market] = ()) -> None:
        """The request failed as a whole: refuse the culprits, ask again for the rest.

        Without a named culprit the batch is halved; a batch of one is its own culprit.
        `number` None means the oldest open request: venues answer in order.
        """
        if number is None:
            number = next(iter(self._asks), None)
        named = set(culprits)
        ask = None if number is None else self._asks.pop(number, None)
        if ask is not None and len(ask.markets) > 1 and named.issuperset(ask.markets):
            named = set()  # an error that lists the whole batch names nobody
        for market in named:
            self.refuse(market, reason, mono_ns)
        if ask is None:
            return
        rest = [market for market in ask.markets if market not in named]
        if named and rest:
            self._again(rest, ask.renew)
        elif len(rest) == 1:
            self.refuse(rest[0], reason, mono_ns)
        elif rest:
            self._again(rest[len(rest) // 2 :], ask.renew)
            self._again(rest[: len(rest) // 2], ask.renew)

    def slow_down(self, mono_ns: int) -> None:
        """The venue called our requests too many: ask the open ones again after a pause that doubles."""
        first, longest = PAUSE_MS
        self._pause_ms = min(longest, self._pause_ms * 2 or first)
        self._next_ns = max(self._next_ns, mono_ns + self._pause_ms * MS)
        for ask in reversed(self._asks.values()):
            self._again(ask.markets, ask.renew)
        self._asks.clear()

    # What to do next.

    def due_ns(self) -> int | None:
        """When `next_ask` or `expire` has something to do; None while all is quiet."""
        times = [ask.sent_ns + self._ack_ns for ask in self._asks.values()]
        if self._queue:
            times.append(self._next_ns)
        return min(times, default=None)

    def next_ask(self, mono_ns: int) -> Ask | None:
        """The request to send now; None while it is too early or there is none."""
        while self._queue and mono_ns >= self._next_ns:
            window_ns = self._pace.window_ms * MS
            while self._sent and mono_ns - self._sent[0] >= window_ns:
                self._sent.popleft()
            if len(self._sent) >= self._pace.requests_max:
                self._next_ns = self._sent[0] + window_ns
                return None
            batch, renew = self._queue.popleft()
            markets = [market for market in batch if market.status is not Status.REFUSED]
            if not markets:
                continue
            self._number += 1
            ask = Ask(self._number, markets, mono_ns, renew)
            self._asks[ask.number] = ask
            for market in markets:
                market.asks += 1
                if market.status is Status.WAITING:
                    market.status = Status.ASKED
            self._next_ns = mono_ns + self._pace.interval_ms * MS
            self._sent.append(mono_ns)
            return Ask(ask.number, list(markets), mono_ns, renew)
        return None

    def expire(self, mono_ns: int) -> bool:
        """Ask again for what went unanswered; True when a whole round did and nothing at all is active."""
        exhausted = False
        for ask in [each for each in self._asks.values() if mono_ns - each.sent_ns >= self._ack_ns]:
            del self._asks[ask.number]
            rest = [market for market in ask.markets if market.asks < ASKS_MAX]
            exhausted = exhausted or len(rest) < len(ask.markets)
            half = (len(rest) + 1) // 2
            for part in (rest[:half], rest[half:]):
                if part:
                    self._queue.append((part, ask.renew))
        return exhausted and not self.active

    def wake_silent(self, mono_ns: int) -> str:
        """Subscribe anew what is silent; returns the symbol that even this did not wake, or ""."""
        silent = []
        for market in self.markets:
            heard_ns = max(market.since_ns, market.data_ns or 0)
            if mono_ns - heard_ns < self._silent_ns << market.doublings:
                continue
            if market.status is Status.ASKED:
                if market.asks < ASKS_MAX:
                    continue
            elif market.status is not Status.ACTIVE:
                continue
            elif market.woken:
                market.woken = False
                market.doublings = min(market.doublings + 1, PATIENCE_DOUBLINGS)
                return market.symbol
            else:
                market.woken = True
            if market.early:
                market.doublings = min(market.doublings + 1, PATIENCE_DOUBLINGS)
            market.since_ns = mono_ns
            silent.append(market)
        self.renew(silent)
        return ""

    def renew(self, markets: Iterable[Market]) -> None:
        """Unsubscribe and subscribe again, but for those whose turn has yet to come."""
        queued = {market for batch, _ in self._queue for market in batch}
        wanted = [market for market in markets if market not in queued]
        for market in wanted:
            market.asks = 0
            market.early = 2
        self.renewed += len(wanted)
        self._enqueue(wanted, renew=True)

    def _enqueue(self, markets: Iterable[Market], *, renew: bool) -> None:
        every = list(markets)
        for first in range(0, len(every), self._pace.batch_max):
            self._queue.append((every[first : first + self._pace.batch_max], renew))

    def _again(self, markets: list[Market], renew: bool) -> None:
        if markets:
            self._queue.appendleft((list(markets), renew))

    def _take_out(self, market: Market) -> bool:
        """Take the symbol out of the open requests; False where it is in none."""
        holders = [ask for ask in self._asks.values() if market in ask.markets]
        for ask in holders:
            ask.markets.remove(market)
            if not ask.markets:
                del self._asks[ask.number]
        return bool(holders)
