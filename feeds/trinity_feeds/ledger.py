"""What a session knows of its markets, and its account of the frames it read."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from decimal import Decimal
from typing import ClassVar, Final

from trinity_core.assets import Listing
from trinity_core.ticks import Tick
from trinity_feeds.literals import Prices, Times, Volumes
from trinity_feeds.markets import Market, Markets, Status
from trinity_feeds.session import Session
from trinity_feeds.subscriptions import MS, Pace, Subscriptions
from trinity_feeds.terms import SessionSettings

_DETAIL_MAX: Final = 300


class Ledger(Session):
    """A session that keeps its books. Methods that end a frame without a tick return its ticks: none."""

    pace: ClassVar[Pace]
    """How the venue wants to be asked."""

    def __init__(
        self, *, listings: Sequence[tuple[str, Listing]], settings: SessionSettings, replay: bool = False
    ) -> None:
        """As every session."""
        super().__init__(listings=listings, settings=settings, replay=replay)
        markets = [self._listed(asset, listing) for asset, listing in listings]
        self._markets = Markets(markets, market_of=self.market_of, replay=replay)
        self._subscriptions = Subscriptions(
            markets=markets, pace=self.pace, ack_ms=settings.ack_ms, silent_ms=settings.symbol_silent_ms
        )
        self._prices = Prices()
        self._volumes = Volumes()
        self._times = Times()
        self._lag_ns: int | None = None

    # What the caller may ask.

    @property
    def wanted(self) -> int:
        """Symbols asked for."""
        return len(self._subscriptions.markets)

    @property
    def subscribed(self) -> int:
        """Symbols acknowledged or with data on the present connection."""
        return self._subscriptions.active

    @property
    def refused(self) -> tuple[str, ...]:
        """Symbols the venue refused, in its own spelling."""
        return tuple(each.symbol for each in self._subscriptions.markets if each.status is Status.REFUSED)

    @property
    def lag_ms(self) -> int | None:
        """Our time less the venue's at the newest tick that had one."""
        return None if self._lag_ns is None else self._lag_ns // MS

    def fresh(self, mono_ns: int) -> int:
        """Symbols with data within `fresh_ms`."""
        since = mono_ns - self.settings.fresh_ms * MS
        return sum(each.data_ns is not None and each.data_ns >= since for each in self._subscriptions.markets)

    # What a venue's module uses.

    @classmethod
    @abstractmethod
    def market_of(cls, symbol: str) -> tuple[str, str] | None:
        """Asset and quote currency that a symbol's spelling tells, in our names; None for a derivative or a riddle."""

    def _listed(self, asset: str, listing: Listing) -> Market:
        return Market(symbol=listing.symbol, label=listing.symbol, asset=asset, quote=listing.quote)

    def _note_data(self, market: Market, mono_ns: int) -> None:
        """One of a symbol's first frames since it was subscribed; to be called while `market.early` is not 0."""
        self._subscriptions.data(market, mono_ns)

    def _is_late(self, market: Market, sequence: int | None) -> bool:
        """Whether a frame is no newer than one already taken, by an ordering number of the symbol; counted."""
        if sequence is None or self.replay:
            return False
        if sequence <= market.sequence:
            self.counts.frames_out_of_order += 1
            return True
        market.sequence = sequence
        return False

    def _tick(
        self,
        market: Market | None,
        *,
        price: Decimal | None = None,
        bid: Decimal | None,
        ask: Decimal | None,
        volume: Decimal | None = None,
        time_ns: int | None = None,
        sequence: int | None = None,
        mono_ns: int,
        unix_ns: int,
    ) -> list[Tick]:
        """Note that data came and make its tick, if the market is wanted and any price is given.

        For frames that are not a venue's main ones; those write this out, which costs half.
        """
        if market is None:
            return []
        market.data_ns = mono_ns
        if market.early:
            self._note_data(market, mono_ns)
        if price is None and bid is None and ask is None:
            return []
        if time_ns is not None:
            self._lag_ns = unix_ns - time_ns
        names = (market.asset, market.label, market.quote)
        return [Tick(self.venue, *names, price, bid, ask, volume, time_ns, sequence, unix_ns, mono_ns)]

    def _ignored(self) -> list[Tick]:
        """A frame of a known kind that holds no tick."""
        self.counts.frames_ignored += 1
        return []

    def _unknown(self) -> list[Tick]:
        """Well-formed, but of no kind that this version knows."""
        self.counts.frames_unknown += 1
        return []

    def _invalid(self, why: str) -> list[Tick]:
        self.counts.frames_invalid += 1
        self._note(why)
        return []

    def _venue_error(self, words: str) -> None:
        """The venue sent an error; what follows of it is the caller's."""
        self.counts.venue_errors += 1
        self._note(words)

    def _note(self, words: str) -> None:
        cut = words[:_DETAIL_MAX]
        self.detail = "".join(char if char.isprintable() else " " for char in cut)
