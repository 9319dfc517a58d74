"""REST quotes over several venues: which to ask, in what order, and what to say when none answers."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Final, Self

from trinity_core.assets import Asset, AssetTable
from trinity_core.errors import Reason, TrinityError
from trinity_core.ticks import Tick
from trinity_core.venues import Venue
from trinity_feeds.venue_quotes import VenueQuotes

_NEXT: Final = frozenset({Reason.VENUE_RATE_LIMITED, Reason.VENUE_UNAVAILABLE, Reason.NOT_LISTED})
"""Failures of one venue after which another may still answer."""


class Quotes:
    """REST quotes of every venue the worker holds."""

    def __init__(self, *, assets: AssetTable, venues: Mapping[Venue, VenueQuotes]) -> None:
        self.venues = venues
        self._assets = assets

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def fetch(self, asset: str, venue: Venue | None = None) -> Tick:
        """A quote read now, of one venue, or of the first in the asset's priority that answers.

        Raises TrinityError: UNKNOWN_ASSET; UNKNOWN_VENUE when the worker does not hold it;
        NOT_LISTED when the venue, or every venue held, lacks the asset; VENUE_RATE_LIMITED
        when every venue with the asset is at its limit; else VENUE_UNAVAILABLE.
        """
        entry = self._assets.get(asset)
        if venue is not None and venue not in self.venues:
            raise unknown_venue(venue, self.venues)
        listings = [
            listing for listing in entry.listings if listing.venue in self.venues and venue in (None, listing.venue)
        ]
        if not listings:
            raise _not_listed(entry, venue)
        errors: list[TrinityError] = []
        for listing in listings:
            try:
                return await self.venues[listing.venue].fetch(entry.asset, listing)
            except TrinityError as error:
                if error.reason not in _NEXT:
                    raise
                errors.append(error)
        raise _summary(entry, [listing.venue for listing in listings], errors)

    async def close(self) -> None:
        """Give up what is under way and close every connection."""
        await asyncio.gather(*(venue.close() for venue in self.venues.values()))


def unknown_venue(venue: str, held: Collection[Venue]) -> TrinityError:
    """UNKNOWN_VENUE that names the venues the worker holds."""
    names = ", ".join(sorted(held))
    return TrinityError(
        Reason.UNKNOWN_VENUE,
        f"no venue {venue[:32]!r} here; this worker holds {names}",
        metadata={"venue": venue[:32], "held": names},
    )


def _not_listed(asset: Asset, venue: Venue | None) -> TrinityError:
    where = f"not listed on {venue}" if venue is not None else "on none of this worker's venues"
    listed = ",".join(sorted(listing.venue for listing in asset.listings))
    return TrinityError(
        Reason.NOT_LISTED, f"{asset.asset} is {where}", metadata={"asset": asset.asset, "listed_on": listed}
    )


def _summary(asset: Asset, venues: Sequence[Venue], errors: Sequence[TrinityError]) -> TrinityError:
    """One error for several venues: the one there is, or what kind they share."""
    if len(errors) == 1:
        return errors[0]
    reasons = {error.reason for error in errors} - {Reason.NOT_LISTED}
    waits = [error.retry_after_ms for error in errors if error.retry_after_ms is not None]
    reason = reasons.pop() if len(reasons) == 1 else Reason.VENUE_UNAVAILABLE if reasons else Reason.NOT_LISTED
    tried = "; ".join(f"{venue}: {error.reason}" for venue, error in zip(venues, errors, strict=True))
    return TrinityError(
        reason,
        f"no venue gave a quote of {asset.asset} ({tried})",
        metadata={"asset": asset.asset, "tried": ",".join(venues)},
        retry_after_ms=min(waits) if waits else None,
    )
