"""Every input of a price and what became of it: the evidence behind ExplainPrice."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from trinity_core import exact
from trinity_core.book_answers import Question, answer_now
from trinity_core.book_page import Page, judge
from trinity_core.consolidate import Band, Consolidated, Entry, band, by_volume, consolidate, first, volumes
from trinity_core.errors import TrinityError
from trinity_core.exact import ZERO, subtract
from trinity_core.freshness import MS, Market
from trinity_core.prices import Exclusion, Method, Price, State, plain
from trinity_core.quote_board import QuoteBoard
from trinity_core.ticks import Tick
from trinity_core.venues import Venue

_ONE = Decimal(1)
_HALF = Decimal("0.5")


@dataclass(frozen=True, slots=True)
class Conversion:
    """The rate that turns a quote currency into USD; see trinity.price.v1.Conversion."""

    currency: str
    rate: Decimal | None
    """None where it is not FRESH."""
    state: State
    sequence: int
    """0 where the currency never had a price."""


@dataclass(frozen=True, slots=True)
class QuoteInput:
    """One venue's part in a price; see trinity.price.v1.PriceInput for each field."""

    venue: Venue
    symbol: str
    quote: str
    last: Decimal | None
    bid: Decimal | None
    ask: Decimal | None
    volume_24h: Decimal | None
    """As it weighs: None also where the venue's figure cannot."""
    value: Decimal | None
    conversion: Conversion | None
    value_usd: Decimal | None
    age_ms: int
    """-1 where there is no quote."""
    alive_ms: int
    """-1 where no connection stands."""
    fresh: bool
    kept: bool
    exclusion: Exclusion
    detail: str
    weight: Decimal
    deviation_bps: Decimal | None
    venue_time_ns: int | None
    receive_time_ns: int | None
    venue_sequence: int | None
    venue_time_suspect: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """See trinity.price.v1.ExplainPriceResponse; the bounds are those of BookSettings, milliseconds.

    A venue whose newest quote waits for confirmation has two inputs: the one before it, which
    still counts, and the one that waits.
    """

    asset: str
    price: Price | None
    inputs: tuple[QuoteInput, ...]
    median: Decimal | None
    mad: Decimal | None
    threshold: Decimal | None
    fresh_ms: int
    quiet_ms: int
    stale_ms: int
    detail: str


def explain(board: QuoteBoard, page: Page, method: Method, now: int) -> Explanation:
    """Look at every market of a page as it stands at a monotonic time, nanoseconds."""
    price, detail = None, ""
    try:
        price = answer_now(board, page, Question(method), now)
    except TrinityError as error:
        detail = error.message
    entries = board.entries(page, now)
    made = consolidate(entries, board.limits) if entries else None
    seen = _Seen(board, page, method, now, made)
    inputs = []
    for market in page.markets:
        inputs.append(seen.counting(market))
        if market.pending is not None:
            inputs.append(seen.waiting(market, market.pending))
    within = seen.within
    return Explanation(
        asset=page.asset.asset,
        price=price,
        inputs=tuple(inputs),
        median=within.median if within else None,
        mad=within.mad if within else None,
        threshold=within.threshold if within else None,
        fresh_ms=board.settings.fresh_ms,
        quiet_ms=board.settings.quiet_ms,
        stale_ms=board.settings.stale_ms,
        detail=detail or _doubt(board, price, made),
    )


def _doubt(board: QuoteBoard, price: Price | None, made: Consolidated | None) -> str:
    if made is None or price is None:
        return "no venue's quote is fresh; this is the last price"
    if made.divergent:
        kept, all_of = len(made.kept), len(made.fresh)
        bound = plain(board.limits.divergence_bps)
        return f"venues disagree: {kept} of {all_of} fresh quotes lie {made.spread_bps} bps apart, the bound is {bound}"
    if price.method is Method.VWAP:
        weighed = by_volume(made.kept, made.fresh)
        if weighed is not None and weighed[0] != exact.weighted_mean(
            [entry.value for entry in weighed[1]], volumes(weighed[1])
        ):
            return "the mean by volume lay too far from the middle of the fresh quotes and was drawn to its bound"
    return ""


class _Seen:
    """The quotes of one page at one moment."""

    def __init__(self, board: QuoteBoard, page: Page, method: Method, now: int, made: Consolidated | None) -> None:
        self._board = board
        self._page = page
        self._method = method
        self._now = now
        self._fresh = {entry.rank: entry for entry in made.fresh} if made else {}
        self._kept = {entry.rank for entry in made.kept} if made else set()
        self._weights = _weights(method, made) if made else {}
        self._middle = exact.median([entry.value for entry in made.fresh]) if made else None
        self.within: Band | None = band(made.fresh, board.limits) if made else None

    def counting(self, market: Market) -> QuoteInput:
        """The quote of a market that counts, if it has one."""
        exclusion, detail = self._judge(market)
        entry = self._fresh.get(market.rank)
        deviation = None
        if entry is not None and self._middle is not None:
            deviation = exact.in_bps(subtract(entry.value, self._middle), self._middle)
        return self._input(
            market,
            market.tick,
            market.value,
            age_ns=self._now - market.receive,
            fresh=market.tick is not None and market.until() >= self._now,
            exclusion=exclusion,
            detail=detail,
            weight=self._weights.get(market.rank, ZERO),
            deviation=deviation,
            suspect=market.suspect,
        )

    def waiting(self, market: Market, tick: Tick) -> QuoteInput:
        """The quote of a market that waits for confirmation."""
        assert market.pending_value is not None
        assert market.value is not None
        moved = exact.in_bps(subtract(market.pending_value, market.value), market.value)
        left_ms = max(0, self._board.settings.confirm_ms - (self._now - market.pending_since) // MS)
        return self._input(
            market,
            tick,
            market.pending_value,
            age_ns=self._now - market.pending_receive,
            fresh=True,
            exclusion=Exclusion.UNCONFIRMED_JUMP,
            detail=f"moved alone by {moved} bps; counts when another venue's quote comes near, or in {left_ms} ms",
            weight=ZERO,
            deviation=None,
            suspect=False,
        )

    def _judge(self, market: Market) -> tuple[Exclusion, str]:
        """Why the quote of a market does not count, in a word and in words."""
        if market.tick is None:
            return Exclusion.NOT_FRESH, "no quote yet"
        if market.until() < self._now:
            return Exclusion.NOT_FRESH, f"stopped being fresh {(self._now - market.until()) // MS} ms ago"
        if market.rank not in self._fresh:
            return Exclusion.NO_CONVERSION, f"the price of {market.listing.quote} in USD is not fresh"
        if market.rank not in self._kept and self.within is not None:
            away = subtract(self._fresh[market.rank].value, self.within.median).copy_abs()
            bound = plain(self.within.threshold)
            return Exclusion.OUTLIER, f"{plain(away)} USD from the median, the bound is {bound}"
        if market.rank not in self._weights:
            if self._method is Method.VWAP:
                return Exclusion.NOT_ASKED, "gives no 24-hour volume to be weighed by"
            return Exclusion.NOT_ASKED, "a venue of higher priority is fresh"
        if market.pending is not None:
            return Exclusion.NONE, "stands in until the venue's next quote is confirmed"
        return Exclusion.NONE, ""

    def _input(
        self,
        market: Market,
        tick: Tick | None,
        value: Decimal | None,
        *,
        age_ns: int,
        fresh: bool,
        exclusion: Exclusion,
        detail: str,
        weight: Decimal,
        deviation: Decimal | None,
        suspect: bool,
    ) -> QuoteInput:
        life = market.life
        return QuoteInput(
            venue=market.listing.venue,
            symbol=tick.symbol if tick else market.listing.symbol,
            quote=market.listing.quote,
            last=tick.price if tick else None,
            bid=tick.bid if tick else None,
            ask=tick.ask if tick else None,
            volume_24h=exact.fit_volume(tick.volume_24h) if tick else None,
            value=value,
            conversion=self._conversion(market),
            value_usd=None if value is None else self._board.in_usd(self._page, market, value, self._now),
            age_ms=max(0, age_ns // MS) if tick else -1,
            alive_ms=max(0, (self._now - life.alive) // MS) if life.connected else -1,
            fresh=fresh,
            kept=exclusion is Exclusion.NONE,
            exclusion=exclusion,
            detail=detail,
            weight=weight,
            deviation_bps=deviation,
            venue_time_ns=tick.venue_time_ns if tick else None,
            receive_time_ns=tick.receive_time_ns if tick else None,
            venue_sequence=tick.sequence if tick else None,
            venue_time_suspect=suspect,
        )

    def _conversion(self, market: Market) -> Conversion | None:
        currency = market.listing.quote
        if currency == "USD":
            return None
        rate = self._board.rate(currency, self._now)
        page = self._board.currencies.get(currency)
        if page is None or page.current is None:
            return Conversion(currency, None, State.HALTED, 0)
        state = page.state if rate is not None else judge(page.current, self._now)
        return Conversion(currency, rate[0] if rate else None, state, page.current.sequence)


def _weights(method: Method, made: Consolidated) -> dict[int, Decimal]:
    """Share of the price by rank, of every quote that it is made of."""
    if method is Method.PRIMARY:
        return {first(made.kept).rank: _ONE}
    if method is Method.VWAP:
        weighed = by_volume(made.kept, made.fresh)
        entries: list[Entry] = weighed[1] if weighed else []
        if not entries:
            return {}
        return dict(zip([entry.rank for entry in entries], exact.shares(volumes(entries)), strict=True))
    weights = {entry.rank: ZERO for entry in made.kept}
    middle = len(made.kept) // 2
    if len(made.kept) % 2:
        weights[made.kept[middle].rank] = _ONE
    else:
        weights[made.kept[middle - 1].rank] = weights[made.kept[middle].rank] = _HALF
    return weights
