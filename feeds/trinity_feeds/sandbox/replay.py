"""Plays a recording instead of the generator: what the venues once said, with new times and numbers.

A file is JSON Lines. A line is a recorded frame, `{"exchange", "kind": "ws", "raw", "recv_ts"}` with the frame
under `raw` and unix seconds; or a line of a tick log (trinity_core.ticklog); or a tick alone, `{"venue", "symbol"
or "asset", "price", "bid", "ask", "volume_24h"}` with `receive_time_ns` or an RFC 3339 `venue_time`.

Frames other than tickers, other symbols than those of the asset table and lines that cannot be read are passed
over and counted. Prices keep the digits they were recorded with.

Each file has its own time, from 0 at its first line; at the end everything starts again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import msgspec

from trinity_core.assets import AssetTable
from trinity_core.errors import TrinityError, invalid_field
from trinity_core.venues import Venue
from trinity_feeds.sandbox.digits import fixed
from trinity_feeds.sandbox.quotes import Quote
from trinity_feeds.sandbox.recorded import Shown, tickers
from trinity_feeds.sandbox.stamps import SECOND

_QUOTES_MAX = 2_000_000
"""Quotes held in memory."""
_QUOTES_PER_CALL = 5_000
_SIZE_DECIMALS = 8
_UNTIMED_NS = 10_000_000
"""Pause before a line without a time."""
_PLACES_MAX = 18
_UNREADABLE = (
    msgspec.DecodeError,
    RecursionError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    InvalidOperation,
    TrinityError,
)
"""What reading a line without use may raise."""


class ReplayDrive:
    """Quotes of recordings; see the module."""

    def __init__(self, *, table: AssetTable, gap_s_max: float = 5.0) -> None:
        self._table = table
        self._gap_ns_max = int(gap_s_max * SECOND)
        self._timeline: list[tuple[int, Quote]] = []
        self._length_ns = 0
        self._index = 0
        self._round_ns = 0
        """When the present round began."""
        self._sequences: dict[Venue, int] = {}
        self._prices: dict[str, str] = {}
        self.passed_over = 0
        """Lines and tickers without use."""

    def read(self, paths: Iterable[Path]) -> ReplayDrive:
        """Load recordings.

        Raises TrinityError INVALID_FIELD when a file cannot be read, or when all together hold no quote.
        """
        for path in paths:
            try:
                with path.open("rb") as lines:
                    self._read(lines)
            except OSError as error:
                raise invalid_field("replay_files", f"cannot read {path}: {error.strerror}") from error
        if not self._timeline:
            raise invalid_field("replay_files", "no ticker of a listed market in the recordings")
        self._timeline.sort(key=lambda entry: entry[0])
        self._length_ns = self._timeline[-1][0] + SECOND
        return self

    def opening(self) -> Sequence[Quote]:
        """The first quote of each market."""
        first: dict[tuple[Venue, str], Quote] = {}
        for _, quote in self._timeline:
            first.setdefault((quote.venue, quote.symbol), quote)
        return [self._numbered(quote) for quote in first.values()]

    def until(self, elapsed_ns: int) -> Sequence[Quote]:
        """The quotes that are due; at most 5,000 a call, and after a long pause the rounds in between are skipped."""
        if elapsed_ns - self._round_ns > 2 * self._length_ns:
            self._round_ns = elapsed_ns - elapsed_ns % self._length_ns
            self._index = 0
        due: list[Quote] = []
        while len(due) < _QUOTES_PER_CALL:
            if self._index == len(self._timeline):
                if elapsed_ns - self._round_ns < self._length_ns:
                    break
                self._index = 0
                self._round_ns += self._length_ns
            offset_ns, quote = self._timeline[self._index]
            if self._round_ns + offset_ns > elapsed_ns:
                break
            self._index += 1
            due.append(self._numbered(quote))
        return due

    def truth(self) -> Mapping[str, str]:
        """The newest last price of each asset in a USD market."""
        return dict(self._prices)

    def _numbered(self, quote: Quote) -> Quote:
        self._sequences[quote.venue] = sequence = self._sequences.get(quote.venue, 0) + 1
        if quote.quote == "USD" and quote.last is not None:
            self._prices[quote.asset] = fixed(quote.last, quote.decimals)
        return msgspec.structs.replace(quote, sequence=sequence)

    def _read(self, lines: Iterable[bytes]) -> None:
        decoder = msgspec.json.Decoder(float_hook=Decimal)
        offset_ns, last_ns = 0, None
        for line in lines:
            try:
                entry = decoder.decode(line)
                venue, when_ns, shown = _entry(entry, self._table)
            except _UNREADABLE:
                self.passed_over += 1
                continue
            pause_ns = _UNTIMED_NS if when_ns is None or last_ns is None else when_ns - last_ns
            offset_ns += min(max(pause_ns, 0), self._gap_ns_max) if last_ns is not None or offset_ns else 0
            last_ns = when_ns if when_ns is not None else last_ns
            quotes = [quote for each in shown if (quote := self._quote(venue, each)) is not None]
            self.passed_over += not quotes
            self._timeline += [(offset_ns, quote) for quote in quotes]
            if len(self._timeline) > _QUOTES_MAX:
                raise invalid_field("replay_files", f"more than {_QUOTES_MAX} quotes")

    def _quote(self, venue: Venue, shown: Shown) -> Quote | None:
        known = self._table.symbols(venue).get(shown.symbol)
        prices = [price for price in (shown.bid, shown.ask, shown.last) if price is not None]
        if known is None or not prices or not all(price.is_finite() for price in prices):
            return None
        places = min(max(0, *(-int(price.as_tuple().exponent) for price in prices)), _PLACES_MAX)
        middle = prices[-1]

        def units(price: Decimal | None) -> int | None:
            return None if price is None else int(price.scaleb(places))

        volume = shown.volume if shown.volume is not None and shown.volume.is_finite() else Decimal(0)
        return Quote(
            venue=venue,
            asset=known[0],
            symbol=shown.symbol,
            quote=known[1],
            decimals=places,
            size_decimals=_SIZE_DECIMALS,
            bid=units(shown.bid),
            ask=units(shown.ask),
            last=units(shown.last),
            bid_size=10**_SIZE_DECIMALS,
            ask_size=10**_SIZE_DECIMALS,
            last_size=10 ** (_SIZE_DECIMALS - 2),
            volume=max(0, int(volume.scaleb(_SIZE_DECIMALS))),
            open=max(1, int(middle.scaleb(places))),
            high=max(1, int((shown.high or middle).scaleb(places))),
            low=max(1, int((shown.low or middle).scaleb(places))),
            traded=True,
            sequence=0,
        )


def _entry(entry: Any, table: AssetTable) -> tuple[Venue, int | None, list[Shown]]:
    """Venue, unix nanoseconds and tickers of one line. Raises an error of any kind for a line without use."""
    if "exchange" in entry:
        if entry.get("kind") != "ws":
            raise ValueError("not a frame")
        venue, received = Venue(entry["exchange"]), entry.get("recv_ts")
        when_ns = None if received is None else int(received * SECOND)
        return venue, when_ns, tickers(venue, entry["raw"])
    tick = entry.get("tick", entry)
    venue, symbol = Venue(tick["venue"]), tick.get("symbol")
    if symbol is None:
        listing = table.get(tick["asset"]).listing(venue)
        if listing is None:
            raise ValueError("not listed there")
        symbol = listing.symbol
    when_ns = entry.get("t", tick.get("receive_time_ns"))
    if when_ns is None and tick.get("venue_time") is not None:
        when_ns = int(datetime.fromisoformat(tick["venue_time"]).timestamp() * SECOND)
    return venue, when_ns, [Shown.of(symbol, tick, "bid", "ask", "price", "volume_24h")]
