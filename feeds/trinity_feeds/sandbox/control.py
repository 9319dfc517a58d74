"""The control endpoint: inject faults, end them, and read the truth, by plain GETs on loopback."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from trinity_core.assets import AssetTable
from trinity_core.errors import TrinityError
from trinity_core.venues import Venue
from trinity_feeds.sandbox.board import Active, FaultBoard
from trinity_feeds.sandbox.digits import fixed
from trinity_feeds.sandbox.faults import Fault, check
from trinity_feeds.sandbox.quotes import Drive
from trinity_feeds.sandbox.rest import Answer, Request, json_answer
from trinity_feeds.sandbox.stamps import SECOND, Moment
from trinity_feeds.sandbox.venue import SandboxVenue

_PATHS = {
    "/fault?venue=kraken&kind=freeze&for_s=20&asset=BTC": "begin a fault; venue=all means every venue",
    "/faults": "the faults that hold now",
    "/clear?venue=kraken": "end the faults that hold, at one venue or (without venue) everywhere",
    "/truth?asset=BTC": "true prices in USD; with asset also what each venue shows",
    "/stats": "connections, subscriptions and frames of each venue",
}


class Control:
    """Answers the control endpoint's requests."""

    def __init__(
        self,
        *,
        table: AssetTable,
        faults: FaultBoard,
        drive: Drive,
        venues: Mapping[Venue, SandboxVenue],
        stats: Callable[[], Mapping[str, Any]],
    ) -> None:
        """`stats` gives the answer of /stats."""
        self._table = table
        self._faults = faults
        self._drive = drive
        self._venues = venues
        self._stats = stats

    def answer(self, request: Request, now: Moment) -> Answer:
        """The answer to any path; 400 with an error for a request that makes no sense."""
        try:
            match request.parts:
                case ():
                    return json_answer(_PATHS)
                case ("fault",):
                    return self._fault(request, now)
                case ("faults",):
                    return json_answer([_shown(each, now) for venue in Venue for each in self._faults.at(venue)])
                case ("clear",):
                    venue = request.query.get("venue")
                    return json_answer({"ended": self._faults.clear(None if venue is None else _venue(venue))})
                case ("truth",):
                    return self._truth(request.query.get("asset"), now)
                case ("stats",):
                    return json_answer(self._stats())
                case _:
                    return json_answer({"error": f"no {request.path}", "paths": _PATHS}, 404)
        except TrinityError as error:
            return json_answer({"error": error.message}, 400)
        except (msgspec.ValidationError, ValueError) as error:
            return json_answer({"error": str(error)}, 400)

    def _fault(self, request: Request, now: Moment) -> Answer:
        given = dict(request.query)
        if "kind" in given:
            given["fault"] = given.pop("kind")
        venue = given.pop("venue", "")
        venues = tuple(Venue) if venue == "all" else (_venue(venue),)
        faults = [
            check(msgspec.convert({**given, "venue": each.value}, Fault, strict=False), self._table) for each in venues
        ]
        return json_answer({"begun": [_shown(self._faults.inject(fault, now.mono_ns), now) for fault in faults]})

    def _truth(self, asset: str | None, now: Moment) -> Answer:
        prices = self._drive.truth()
        if asset is None:
            return json_answer({"unix_ms": now.unix_ms, "prices": prices})
        name = self._table.get(asset).asset
        shown = {}
        for venue, sandbox in self._venues.items():
            symbol = next((each for each, listed in sandbox.markets.items() if listed == name), None)
            quote = None if symbol is None else sandbox.shown(symbol, now)
            if quote is not None:
                shown[venue.value] = {
                    "symbol": quote.symbol,
                    "quote": quote.quote,
                    "sequence": quote.sequence,
                    **{
                        side: None if units is None else fixed(units, quote.decimals)
                        for side, units in (("bid", quote.bid), ("ask", quote.ask), ("last", quote.last))
                    },
                }
        return json_answer({"unix_ms": now.unix_ms, "asset": name, "price": prices.get(name), "venues": shown})


def _venue(text: str) -> Venue:
    if text not in list(Venue):
        raise ValueError(f"venue: {text!r} is none of {', '.join(Venue)}")
    return Venue(text)


def _shown(active: Active, now: Moment) -> dict[str, Any]:
    left_s = max(0.0, (active.until_ns - now.mono_ns) / SECOND)
    return {"number": active.number, "left_s": round(left_s, 3), **msgspec.to_builtins(active.fault)}
