"""The generator: seeded random walks of every asset, shown by each venue a little differently.

One asset has one true price. A common factor moves all assets together, each asset adds its own walk,
and both are drawn back to their base so that prices stay plausible for weeks. A venue shows the true price
with its own slowly changing offset of a few basis points, rounded to its own tick, in its own quote currency.

The state after n steps depends on the seed and n alone. Prices are floats here because they are a
simulation's; what leaves this module is whole units.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from random import Random

from trinity_core.assets import AssetTable
from trinity_feeds.sandbox.quotes import Quote
from trinity_feeds.sandbox.settings import SandboxSettings
from trinity_feeds.sandbox.table import Figures, Market, load_figures, markets

_STEPS_PER_CALL = 50
"""Steps that one call catches up with at most; a longer pause is skipped."""
_DAY_S = 86_400
_PULL_PER_S = 1 / (3 * _DAY_S)
"""Strength of the way back to the base: three days."""
_COMMON_PCT = 1.6
"""Standard deviation of the common factor's daily move, per cent."""
_BETA_MAX = 1.3


class _Walk:
    """One asset's true price, brought up to date only when somebody looks."""

    __slots__ = ("base", "beta", "common", "log", "price", "sigma", "step")

    def __init__(self, figures: Figures) -> None:
        own = max(figures.volatility_pct**2 - _COMMON_PCT**2, 0.0) ** 0.5
        moves = figures.volatility_pct > 2
        self.beta = min(figures.volatility_pct / 4, _BETA_MAX) if moves else 0.0
        self.sigma = (own if moves else figures.volatility_pct) / 100 / math.sqrt(_DAY_S)
        self.base = self.price = figures.price
        self.log = 0.0
        """The asset's own walk, logarithm; the common factor is added on top."""
        self.common = 0.0
        self.step = 0


class _Stall:
    """One venue's market: what it shows and how it strays from the truth."""

    __slots__ = (
        "ask", "bias", "bid", "decimals", "drift", "due", "figures", "half", "high", "last", "listing", "low",
        "open", "period", "quote_of", "size_decimals", "size_mean", "unit", "volume", "walk",
    )  # fmt: skip

    def __init__(self, market: Market, walk: _Walk, quote_of: _Walk | None, period: float, random: Random) -> None:
        self.listing, self.figures = market.listing, market.figures
        self.decimals, self.size_decimals = market.decimals, market.figures.size_decimals
        self.unit = 10.0**market.decimals
        self.walk = walk
        self.quote_of = quote_of
        """Walk of the quote currency; None for USD."""
        self.half = market.figures.spread_bps / 20_000
        stable = market.figures.volatility_pct < 0.5
        self.bias = random.gauss(0, 0.2 if stable else 1.2) / 10_000
        self.drift = 0.0
        self.period = period
        self.due = random.random() * period
        volume = market.volume * random.uniform(0.6, 1.4)
        self.volume = max(1, round(volume * 10**self.size_decimals))
        self.size_mean = volume / 40_000
        self.bid = self.ask = self.last = self.open = self.high = self.low = 0


class MarketDrive:
    """Generates quotes of every market of a table; see the module."""

    def __init__(self, *, table: AssetTable, settings: SandboxSettings) -> None:
        self._random = Random(settings.seed)  # noqa: S311 - a simulation, not a secret
        self._step_ns = settings.step_ms * 1_000_000
        self._step_s = settings.step_ms / 1000
        self._step = 0
        self._skipped = 0
        self._common = 0.0
        self._sequences: dict[str, int] = {}
        figures = load_figures()
        self._figures = {asset: figures[asset] for asset in figures if asset in table.by_id}
        self._walks = {asset: _Walk(each) for asset, each in self._figures.items() if not each.follows}
        self._stalls = self._open(markets(table, settings.assets), settings)
        self._due: dict[int, list[_Stall]] = {}
        for stall in self._stalls:
            self._due.setdefault(int(stall.due) + 1, []).append(stall)
        self._first = tuple(self._first_quote(stall) for stall in self._stalls)

    @property
    def step(self) -> int:
        """Steps taken so far."""
        return self._step

    def opening(self) -> Sequence[Quote]:
        """Every market before the first step."""
        return self._first

    def until(self, elapsed_ns: int) -> Sequence[Quote]:
        """The changes of the steps that are due; at most 50 steps a call, the rest is skipped."""
        wanted = elapsed_ns // self._step_ns - self._skipped
        if wanted - self._step > _STEPS_PER_CALL:
            self._skipped += wanted - self._step - _STEPS_PER_CALL
            wanted = self._step + _STEPS_PER_CALL
        changes: list[Quote] = []
        while self._step < wanted:
            changes += self.advance()
        return changes

    def advance(self) -> Sequence[Quote]:
        """The changes of the next step."""
        self._step += 1
        gauss = self._random.gauss
        self._common += (
            _COMMON_PCT / 100 * math.sqrt(self._step_s / _DAY_S) * gauss(0, 1)
            - self._common * _PULL_PER_S * self._step_s
        )
        changes = []
        due = self._due.pop(self._step, [])
        for stall in due:  # grows while it is read: a market may change more than once a step
            changes.append(self._change(stall))
            stall.due += stall.period * (0.75 + self._random.random() / 2)
            step = int(stall.due) + 1
            (due if step <= self._step else self._due.setdefault(step, [])).append(stall)
        return changes

    def truth(self) -> Mapping[str, str]:
        """Each asset's true price as of its newest change, USD, two places more than its markets show."""
        return {asset: f"{self._price(asset):.{figures.decimals + 2}f}" for asset, figures in self._figures.items()}

    def _price(self, asset: str) -> float:
        figures = self._figures[asset]
        if not figures.follows:
            return self._walks[asset].price
        leader = self._walks[figures.follows]
        return leader.price * figures.price / leader.base

    def _open(self, listed: Sequence[Market], settings: SandboxSettings) -> list[_Stall]:
        """Make the stalls, sharing out the rate: enough for the quietest, the rest by activity."""
        floor = min(1 / settings.quiet_s_max, settings.ticks_per_s / len(listed))
        spare = settings.ticks_per_s - floor * len(listed)
        total = sum(market.figures.activity for market in listed)
        stalls = []
        for market in listed:
            period_s = 1 / (floor + spare * market.figures.activity / total)
            walk = self._walks[market.figures.follows or market.figures.asset]
            quote = market.listing.quote
            stalls.append(
                _Stall(
                    market, walk, None if quote == "USD" else self._walks[quote], period_s / self._step_s, self._random
                )
            )
        return stalls

    def _first_quote(self, stall: _Stall) -> Quote:
        middle = self._middle(stall)
        day = stall.figures.volatility_pct / 100
        stall.open = max(1, round(middle * (1 + self._random.gauss(0, day))))
        top, bottom = max(stall.open, middle), min(stall.open, middle)
        stall.high = math.ceil(top * (1 + abs(self._random.gauss(0, day / 2))))
        stall.low = max(1, math.floor(bottom * (1 - min(abs(self._random.gauss(0, day / 2)), 0.5))))
        return self._show(stall, middle, traded=True)

    def _change(self, stall: _Stall) -> Quote:
        noise = min(stall.half, 0.0002)
        stall.drift = stall.drift * 0.95 + self._random.gauss(0, noise / 2)
        return self._show(stall, self._middle(stall), traded=self._random.random() < 0.45)

    def _middle(self, stall: _Stall) -> float:
        """The middle of what the venue shows, in its units."""
        walk = stall.walk
        self._bring_up(walk)
        usd = walk.price * stall.figures.price / walk.base * (1 + stall.bias + stall.drift)
        if stall.quote_of is not None:
            self._bring_up(stall.quote_of)
            usd /= stall.quote_of.price
        return usd * stall.unit

    def _bring_up(self, walk: _Walk) -> None:
        steps = self._step - walk.step
        if steps <= 0:
            return
        seconds = steps * self._step_s
        walk.log += walk.sigma * math.sqrt(seconds) * self._random.gauss(0, 1) - walk.log * min(
            _PULL_PER_S * seconds, 1.0
        )
        walk.step = self._step
        walk.price = walk.base * math.exp(walk.log + walk.beta * self._common)

    def _show(self, stall: _Stall, middle: float, *, traded: bool) -> Quote:
        random = self._random.random
        stall.bid = max(1, math.floor(middle * (1 - stall.half)))
        stall.ask = max(stall.bid + 1, math.ceil(middle * (1 + stall.half)))
        unit = 10**stall.size_decimals
        traded_size = 1 + int(stall.size_mean * 2 * random() * unit)
        if traded:
            stall.last = stall.ask if random() < 0.5 else stall.bid
            stall.volume += traded_size - stall.volume // 1_000_000
            stall.high, stall.low = max(stall.high, stall.last), min(stall.low, stall.last)
        listing = stall.listing
        self._sequences[listing.venue] = sequence = self._sequences.get(listing.venue, 0) + 1
        return Quote(
            venue=listing.venue,
            asset=stall.figures.asset,
            symbol=listing.symbol,
            quote=listing.quote,
            decimals=stall.decimals,
            size_decimals=stall.size_decimals,
            bid=stall.bid,
            ask=stall.ask,
            last=stall.last,
            bid_size=1 + int(stall.size_mean * 8 * random() * unit),
            ask_size=1 + int(stall.size_mean * 8 * random() * unit),
            last_size=traded_size,
            volume=stall.volume,
            open=stall.open,
            high=stall.high,
            low=stall.low,
            traded=traded,
            sequence=sequence,
        )
