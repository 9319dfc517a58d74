"""The book: ticks and signs of life in, consolidated prices out. Pure, deterministic, exact.

Time is an argument, and what time alone does (a quote's end, a jump believed, a price passed
on anew) is done at points of a grid of 100 ms. Every call first turns the pages that are due
at grid points up to then, in their order, so that prices do not depend on whether a timer or
the next tick drove the clock. The same calls give the same prices, bit for bit, in any
process (docs/decisions/0004).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from operator import attrgetter
from types import MappingProxyType

import msgspec

from trinity_core import exact
from trinity_core.assets import AssetTable
from trinity_core.book_answers import Question, answer
from trinity_core.book_explain import Explanation, explain
from trinity_core.book_page import Page
from trinity_core.book_settings import BookSettings
from trinity_core.consolidate import Entry, consolidate
from trinity_core.exact import multiply
from trinity_core.freshness import MS, NEVER, Market
from trinity_core.grid import Grid
from trinity_core.prices import Method, Price, State
from trinity_core.quote_board import QuoteBoard
from trinity_core.quote_values import Refusal, suspect_time, value_of
from trinity_core.ticks import Liveness, Tick
from trinity_core.venues import Venue

__all__ = ["GRID_NS", "Book", "BookSettings", "Explanation", "Refusal"]

GRID_NS = 100 * MS
"""What time alone does happens at multiples of this monotonic time."""


class Book:
    """The newest quote of every market and the price of every asset. Not for use by two threads at once."""

    def __init__(self, *, assets: AssetTable, settings: BookSettings) -> None:
        self._board = QuoteBoard(assets=assets, settings=settings)
        self._fresh_ns = settings.fresh_ms * MS
        self._grace_ns = (settings.stale_ms - settings.fresh_ms) * MS
        self._confirm_ns = settings.confirm_ms * MS
        self._extend_ns = self._fresh_ns // 4
        self._future_ns = settings.future_ms * MS
        self._past_ns = settings.past_ms * MS
        self._jump = exact.part(settings.jump_bps)
        self._reach = multiply(self._jump, Decimal("0.5"))
        pages = self._board.pages
        self._rate_keys = {currency: len(pages) + n for n, currency in enumerate(self._board.currencies)}
        # Each page comes up at its own deadlines, and together with all that a quote currency makes.
        self._pages_of = [[page.rank] for page in pages]
        self._pages_of += [[page.rank for page in pages if currency in page.quotes] for currency in self._rate_keys]
        self._grid = Grid(step_ns=GRID_NS, keys=len(self._pages_of))
        self._of_venue = {
            venue: [(page, page.by_venue[venue]) for page in pages if venue in page.by_venue] for venue in Venue
        }
        self._now = NEVER
        self._refusals: Counter[tuple[Venue, Refusal]] = Counter()
        self._suspects: Counter[Venue] = Counter()
        self._held: Counter[Venue] = Counter()
        self.refusals: Mapping[tuple[Venue, Refusal], int] = MappingProxyType(self._refusals)
        """Ticks that did not enter, by venue and why."""
        self.suspects: Mapping[Venue, int] = MappingProxyType(self._suspects)
        """Quotes taken whose venue time lay in the future or far in the past."""
        self.held: Mapping[Venue, int] = MappingProxyType(self._held)
        """Quotes that had to wait for confirmation of their jump."""
        self.sequence = 0
        """Sequence of the newest published price."""

    def apply(self, tick: Tick, now_mono_ns: int) -> list[Price]:
        """Take a tick that arrived now; the consolidated prices that changed, by then or by it.

        A tick that cannot enter changes nothing and is counted in `refusals`.
        """
        out: list[Price] = []
        now = self._turn_due(now_mono_ns, out)
        refusal = self._enter(tick, now, out)
        if refusal is not None:
            self._refusals[tick.venue, refusal] += 1
        return out

    def alive(self, liveness: Liveness, now_mono_ns: int) -> list[Price]:
        """Take a sign of life, or the end of a connection, that arrived now; the prices that changed by then.

        What it stands by is looked at when that matters, at the latest at the next grid point.
        """
        out: list[Price] = []
        now = self._turn_due(now_mono_ns, out)
        life = self._board.lives[liveness.venue]
        before = life.alive
        if life.hear(liveness, now):
            for _, market in self._of_venue[liveness.venue]:
                market.cut_off()
        if life.alive > before and (life.alive > before + self._extend_ns or now > before + self._fresh_ns):
            # After a silence: what was about to end lasts longer, what ended may be fresh again.
            for page, _ in self._of_venue[liveness.venue]:
                self._grid.set(page.rank, now + 1)
        return out

    def advance(self, now_mono_ns: int) -> list[Price]:
        """Let time alone pass; the prices that changed by it."""
        out: list[Price] = []
        self._turn_due(now_mono_ns, out)
        return out

    def next_due_ns(self) -> int | None:
        """When `advance` has something to do next, if nothing arrives; None when nothing is due."""
        return self._grid.next()

    def price(
        self,
        asset: str,
        now_mono_ns: int,
        *,
        method: Method = Method.MEDIAN,
        source: Venue | None = None,
        max_age_ms: int | None = None,
        min_sources: int = 0,
    ) -> Price:
        """The asset's price as a caller wants it, judged now. Changes nothing.

        Raises TrinityError UNKNOWN_ASSET, NOT_LISTED, NO_PRICE, STALE_PRICE or TOO_FEW_SOURCES.
        """
        question = Question(method, source, max_age_ms, min_sources)
        return answer(self._board, self._board.page(asset), question, now_mono_ns)

    def current(self, asset: str) -> Price | None:
        """The median price as last published, by id in upper case; None where there never was one."""
        page = self._board.by_id.get(asset)
        return None if page is None else page.current

    def snapshot(self) -> list[Price]:
        """Every price as last published, in the order of their sequence."""
        prices = [page.current for page in self._board.pages if page.current is not None]
        return sorted(prices, key=attrgetter("sequence"))

    def explain(self, asset: str, now_mono_ns: int, *, method: Method = Method.MEDIAN) -> Explanation:
        """Every input of a price and what became of it, judged now. Raises TrinityError UNKNOWN_ASSET."""
        return explain(self._board, self._board.page(asset), method, now_mono_ns)

    def _enter(self, tick: Tick, now: int, out: list[Price]) -> Refusal | None:
        page = self._board.by_id.get(tick.asset)
        if page is None:
            return Refusal.UNKNOWN_ASSET
        market = page.by_venue.get(tick.venue)
        if market is None:
            return Refusal.NOT_LISTED
        if tick.quote != market.listing.quote:
            return Refusal.WRONG_QUOTE
        receive = min(tick.receive_mono_ns, now)
        value = value_of(tick)
        if isinstance(value, Refusal):
            # A newer quote that cannot count still ends the benefit of the one before it, and the wait for another.
            if not tick.live and market.misplaced(tick, None, receive) is None:
                market.note(tick, receive)
                market.supersede(receive)
                page.pendings -= market.forget_pending()
                self._turn(page, now, out)
            return value
        misplaced = market.misplaced(tick, value, receive)
        if misplaced is not None:
            return misplaced
        market.note(tick, receive)
        if page.jumps(market, value, now, self._jump):
            self._held[tick.venue] += 1
            page.pendings += market.hold(tick, value, receive, now)
        else:
            page.pendings -= market.forget_pending()
            self._take(market, tick, value, receive)
        if page.pendings:
            self._confirm(page, now)
        self._turn(page, now, out)
        return None

    def _take(self, market: Market, tick: Tick, value: Decimal, receive: int) -> None:
        suspect = suspect_time(tick, future_ns=self._future_ns, past_ns=self._past_ns)
        if suspect:
            self._suspects[tick.venue] += 1
        market.take(tick, value, receive, suspect=suspect)

    def _confirm(self, page: Page, now: int, *, by_time: bool = False) -> None:
        """Let waiting quotes count that another venue's supports; at grid points also those that waited long enough."""

        def to_usd(market: Market, value: Decimal) -> Decimal | None:
            return self._board.in_usd(page, market, value, now)

        confirmed = page.waited(now - self._confirm_ns, now) if by_time else []
        while page.pendings:
            confirmed = confirmed or page.confirmed(now, self._reach, to_usd)
            if not confirmed:
                return
            for market in confirmed:
                assert market.pending is not None
                assert market.pending_value is not None
                waiting = market.pending, market.pending_value, market.pending_receive
                page.pendings -= market.forget_pending()
                self._take(market, *waiting)
            confirmed = []

    def _turn_due(self, now: int, out: list[Price]) -> int:
        """Turn every page that is due at a grid point up to now; returns now, which never goes back."""
        self._now = now = max(now, self._now)
        pages = self._board.pages
        while (due := self._grid.pop(now)) is not None:
            point, keys = due
            ranks = {rank for key in keys for rank in self._pages_of[key]}
            for rank in sorted(ranks):
                if pages[rank].pendings:
                    self._confirm(pages[rank], point, by_time=True)
                self._turn(pages[rank], point, out)
        return now

    def _turn(self, page: Page, now: int, out: list[Price]) -> None:
        """Make the page's price anew, publish it if it changed, and see to it that it is looked at when it must be."""
        rate = page.rate
        entries = self._board.entries(page, now)
        if entries:
            self._make(page, entries, now, out)
        elif page.current is not None:
            self._age(page, page.current, now, out)
        if page.pendings:
            self._grid.set(page.rank, page.waiting_since() + self._confirm_ns)
        if page.rate != rate and page.asset.asset in self._rate_keys:
            self._grid.set(self._rate_keys[page.asset.asset], now + 1)

    def _make(self, page: Page, entries: Sequence[Entry], now: int, out: list[Price]) -> None:
        page.made = made = consolidate(entries, self._board.limits)
        page.state = state = State.DIVERGENT if made.divergent else State.FRESH
        page.until = until = max([entry.until for entry in made.kept])
        page.stale_at = until + self._grace_ns
        current = page.current
        if (
            current is None
            or made.price != current.price
            or state is not current.state
            or made.confidence != current.confidence
            or made.spread_bps != current.spread_bps
            or page.name_sources(made.kept) != current.sources
            or self._lasts_otherwise(current, until, now)
        ):
            current = page.describe(
                made.price,
                made.kept,
                confidence=made.confidence,
                spread_bps=made.spread_bps,
                state=state,
                until=until,
                stale_at=page.stale_at,
                sequence=self.sequence + 1,
            )
            self._publish(page, current, out)
        ends = min([entry.until for entry in entries]) + 1
        self._grid.set(page.rank, min(ends, self._looks_again(current, until, now)))

    def _lasts_otherwise(self, current: Price, until: int, now: int) -> bool:
        """How long the price lasts is worth passing on: less than published, much more, or more and it ends soon."""
        gained = until - current.fresh_until_mono_ns
        if gained > 0:
            return gained >= self._extend_ns or current.fresh_until_mono_ns - now <= self._extend_ns
        return gained < 0

    def _looks_again(self, current: Price, until: int, now: int) -> int:
        """When signs of life may next have made the price last so much longer that it is worth passing on."""
        gained = until - current.fresh_until_mono_ns
        soon = min(now + self._extend_ns - gained, current.fresh_until_mono_ns - self._extend_ns)
        return soon if soon > now else now + self._extend_ns // 5

    def _age(self, page: Page, current: Price, now: int, out: list[Price]) -> None:
        """No quote is fresh: the last price stands, and grows old."""
        if page.until >= now:
            page.until = now - 1
            page.stale_at = page.until + self._grace_ns
        page.state = state = State.STALE if now >= page.stale_at else State.DELAYED
        if state is not current.state:
            self._publish(
                page,
                msgspec.structs.replace(
                    current,
                    state=state,
                    fresh_until_mono_ns=page.until,
                    stale_at_mono_ns=page.stale_at,
                    sequence=self.sequence + 1,
                ),
                out,
            )
        if state is State.DELAYED:
            self._grid.set(page.rank, page.stale_at)

    def _publish(self, page: Page, price: Price, out: list[Price]) -> None:
        self.sequence = price.sequence
        page.current = price
        out.append(price)
