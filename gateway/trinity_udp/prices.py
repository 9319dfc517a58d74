"""The port for prices: GET, answered from the replica; what it lacks is asked of the price service."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Protocol

from trinity.price.v1 import price_pb2
from trinity_admission.asked import outcome_of_code
from trinity_core.errors import Reason, TrinityError
from trinity_core.usage import Outcome
from trinity_udp import codec
from trinity_udp.codec import Command, Query
from trinity_udp.doors import Caller
from trinity_udp.drops import Drop
from trinity_udp.purpose import Answer, Deferred, Tray

_TIERS: Final = {
    price_pb2.TIER_LOCAL: Outcome.LOCAL,
    price_pb2.TIER_CACHE: Outcome.CACHE,
    price_pb2.TIER_LIVE: Outcome.LIVE,
}
_ANSWERED: Final = frozenset({price_pb2.STATE_FRESH, price_pb2.STATE_DELAYED, price_pb2.STATE_DIVERGENT})


class Replica(Protocol):
    """Prices at hand."""

    def get(self, asset: str, /) -> price_pb2.Price | None:
        """The newest price of an asset (id, upper case), its state judged now; None where there is none.

        MUST return at once.
        """
        ...


class Prices:
    """Implements Purpose. The subject of a look-up is an asset's id."""

    command = Command.GET
    help = codec.PRICE_HELP
    truncated = codec.TRUNCATED

    def __init__(self, *, replica: Replica, assets: Collection[str], demo: bool) -> None:
        """What the port answers from.

        Args:
            replica: prices at hand.
            assets: all ids that can have a price; anything else is UNKNOWN_ASSET without asking anyone.
            demo: whether lines without a session are given prices.
        """
        self._replica = replica
        self._assets = frozenset(assets)
        self._demo = demo

    def answer(self, query: Query, caller: Caller, tray: Tray[str], /) -> None:
        """Answer a GET, each of its assets."""
        if query.claim is None and not self._demo:
            tray.drop(Drop.DEMO_OFF)
            return
        if query.claim is None and len(query.assets) > 1:
            tray.drop(Drop.SOURCE_UNPROVEN)
            return
        bound = query.bound // len(query.assets)
        for asset in query.assets:
            entry = tray.enter(query, caller, asset, bound=bound)
            if entry is None:
                continue
            price = self._replica.get(asset)
            if price is not None and price.state in _ANSWERED and price.price:
                tray.put(codec.render_price(query, price, bound=bound), entry, Outcome.LOCAL)
            elif asset not in self._assets:
                tray.put(codec.render_error(query, Reason.UNKNOWN_ASSET, bound=bound), entry, Outcome.REFUSED)
            else:
                tray.defer(query, asset, entry, bound=bound)

    def settled(self, deferred: Deferred[str], outcome: price_pb2.Price | TrinityError, *, unix_s: int) -> Answer:
        """The answer to what was looked up."""
        query, bound = deferred.query, deferred.bound
        if isinstance(outcome, TrinityError):
            fact = ""
            if outcome.reason is Reason.STALE_PRICE:
                fact = _age(self._replica.get(deferred.subject), unix_s)
            line = codec.render_error(query, outcome.reason, bound=bound, fact=fact)
            return Answer(line, outcome_of_code(outcome.row.code))
        if outcome.state in _ANSWERED and outcome.price:
            line = codec.render_price(query, outcome, bound=bound)
            return Answer(line, _TIERS.get(outcome.tier, Outcome.SERVED))
        return _refuse(deferred, outcome, unix_s)

    def unasked(self, deferred: Deferred[str], *, unix_s: int) -> Answer:
        """The answer where nobody can be asked: why the replica's own price does not do."""
        return _refuse(deferred, self._replica.get(deferred.subject), unix_s)

    def crowded(self, deferred: Deferred[str], /) -> Drop:
        """Silence: a client asks again, and the replica may know by then."""
        return Drop.LOOKUPS_FULL


def _refuse(deferred: Deferred[str], price: price_pb2.Price | None, unix_s: int) -> Answer:
    reason, fact = Reason.NO_PRICE, ""
    if price is not None and price.state == price_pb2.STATE_STALE:
        reason, fact = Reason.STALE_PRICE, _age(price, unix_s)
    return Answer(codec.render_error(deferred.query, reason, bound=deferred.bound, fact=fact), Outcome.FAILED)


def _age(price: price_pb2.Price | None, unix_s: int) -> str:
    return "" if price is None else f"age={max(0, unix_s - price.receive_time.seconds)}"
