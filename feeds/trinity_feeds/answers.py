"""What every venue's REST answers have in common: refusals in our words, and the tick of a quote."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TypeVar

import msgspec

from trinity_core.assets import Listing
from trinity_core.errors import Reason, TrinityError
from trinity_core.ticks import Tick
from trinity_core.venues import Venue
from trinity_feeds.shapes import Shape

T = TypeVar("T")

_WORDS_MAX = 200
_RETRY_AFTER_MAX_S = 3_600


def refuse_status(listing: Listing, status: int, headers: Mapping[str, str], *, wait_ms: int) -> None:
    """Raise for a status that means the same everywhere: 429 and 418, 403 and other blocks, server errors.

    200, 400, 404 and other 4xx are left to the venue, whose body says more.
    """
    if status in (418, 429):
        raise rate_limited(listing.venue, headers, wait_ms=wait_ms)
    if status >= 500 or status in (401, 403, 407, 451) or status < 200 or 300 <= status < 400:
        raise unavailable(listing.venue, f"HTTP status {status}")


def rate_limited(venue: Venue, headers: Mapping[str, str], *, wait_ms: int) -> TrinityError:
    """VENUE_RATE_LIMITED; the venue's Retry-After counts where it is in seconds, `wait_ms` otherwise."""
    after = headers.get("retry-after", "").strip()
    if after.isascii() and after.isdigit() and len(after) < 10:
        wait_ms = min(int(after), _RETRY_AFTER_MAX_S) * 1_000
    return TrinityError(
        Reason.VENUE_RATE_LIMITED,
        f"{venue} limits our requests",
        metadata={"venue": venue.value},
        retry_after_ms=wait_ms,
    )


def not_listed(listing: Listing) -> TrinityError:
    """NOT_LISTED: the venue does not know the symbol."""
    return TrinityError(
        Reason.NOT_LISTED,
        f"{listing.venue} does not list {listing.symbol}",
        metadata={"venue": listing.venue.value, "symbol": listing.symbol},
    )


def unavailable(venue: Venue, words: str) -> TrinityError:
    """VENUE_UNAVAILABLE, with the venue's words cut to size."""
    cut = "".join(char if char.isprintable() else " " for char in words[:_WORDS_MAX])
    return TrinityError(Reason.VENUE_UNAVAILABLE, f"{venue}: {cut}", metadata={"venue": venue.value})


class Quote(msgspec.Struct, frozen=True):
    """What an answer says of one market; None where it says nothing."""

    price: Decimal | None
    bid: Decimal | None
    ask: Decimal | None
    volume: Decimal | None
    time_ns: int | None = None
    """The venue's unix time, nanoseconds."""


def read_body(shape: Shape[T], listing: Listing, status: int, body: bytes) -> T:
    """The body in its shape. Raises TrinityError VENUE_UNAVAILABLE where it has another."""
    try:
        return shape.read(body)
    except (ValueError, RecursionError) as error:
        raise unavailable(listing.venue, f"HTTP status {status}, unreadable answer") from error


def live_tick(asset: str, listing: Listing, quote: Quote, *, mono_ns: int, unix_ns: int) -> Tick:
    """The tick of a quote. Raises TrinityError VENUE_UNAVAILABLE where there is no price of any kind."""
    if quote.price is None and quote.bid is None and quote.ask is None:
        raise unavailable(listing.venue, f"no price of {listing.symbol}")
    return Tick(
        venue=listing.venue,
        asset=asset,
        symbol=listing.symbol,
        quote=listing.quote,
        price=quote.price,
        bid=quote.bid,
        ask=quote.ask,
        volume_24h=quote.volume,
        venue_time_ns=quote.time_ns,
        sequence=None,
        receive_time_ns=unix_ns,
        receive_mono_ns=mono_ns,
        live=True,
    )
