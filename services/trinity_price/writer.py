"""The one writer of the book: every tick, sign of life and passing of time goes through here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from trinity_core.book import Book
from trinity_core.book_page import judge
from trinity_core.prices import Price, State
from trinity_core.ticks import Liveness, Tick
from trinity_mesh.clock import Clock
from trinity_price.publication import Publication
from trinity_price.wall import AnchoredWall

log = logging.getLogger(__name__)

_PACE_S: Final = 0.02
"""Longest that a price's turn by time alone is late."""


class Writer:
    """Applies what comes in to the book and hands on what changed. Called from one event loop only."""

    def __init__(
        self,
        *,
        book: Book,
        publication: Publication,
        wall: AnchoredWall,
        clock: Clock,
        changed: Callable[[Sequence[Price]], None],
    ) -> None:
        """`changed` is called after the publication holds the changed prices; it must not wait."""
        self.book = book
        self._publication = publication
        self._wall = wall
        self._clock = clock
        self._changed = changed
        self.ticks = 0
        """Ticks taken since the start."""

    def take(self, ticks: Iterable[Tick]) -> None:
        """Apply ticks in their order, pushed and REST finds alike."""
        apply = self.book.apply
        now_ns = self._clock.monotonic_ns()
        changed: list[Price] = []
        count = 0
        for tick in ticks:
            changed += apply(tick, now_ns)
            count += 1
        self.ticks += count
        self._hand_on(changed)

    def hear(self, signs: Iterable[Liveness]) -> None:
        """Apply signs of life and ends of connections."""
        now_ns = self._clock.monotonic_ns()
        changed: list[Price] = []
        for sign in signs:
            changed += self.book.alive(sign, now_ns)
        self._hand_on(changed)

    def state_of(self, asset: str, now_ns: int) -> State:
        """State of an asset's consolidated price now, by id in upper case; HALTED where it never had one."""
        price = self.book.current(asset)
        return State.HALTED if price is None else judge(price, now_ns)

    def mark_sandbox(self) -> None:
        """A feed's ticks are simulated: from now on so is every price, whatever else comes."""
        if not self._publication.sandbox:
            log.warning("the feeds are a sandbox: every price is marked as simulated")
            self._publication.mark_sandbox()

    async def run(self) -> None:
        """Let time pass in the book, and keep the shown wall clock near the machine's, while the service runs."""
        while True:
            await self._clock.sleep(_PACE_S)
            now_ns = self._clock.monotonic_ns()
            due_ns = self.book.next_due_ns()
            if due_ns is not None and due_ns <= now_ns:
                self._hand_on(self.book.advance(now_ns))
            if self._wall.check():
                log.warning("the wall clock was stepped: times are shown by it from now on, ages are not touched")
                self._publication.forget_frames()

    def _hand_on(self, changed: Sequence[Price]) -> None:
        if changed:
            self._publication.put(changed)
            self._changed(changed)
