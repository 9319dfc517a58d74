"""The port for prices: GET, answered from the replica; what it lacks is asked of the price service."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Protocol

from trinity.price.v1 import price_pb2
from trinity_admission.asked import outcome_of_code
from trinity_core.errors import Reason, TrinityError
from trinity_core.usage import Outcome
from trinity_udp import answers, helping
from trinity_udp.binary import PriceForm
from trinity_udp.codec import Command, Query
from trinity_udp.doors import Caller
from trinity_udp.drops import Drop
from trinity_udp.purpose import Answer, Deferred, Tray

ANSWERED: Final = frozenset({price_pb2.STATE_FRESH, price_pb2.STATE_DELAYED, price_pb2.STATE_DIVERGENT})
"""States in which a price is an answer."""

_TIERS: Final = {
    price_pb2.TIER_LOCAL: Outcome.LOCAL,
    price_pb2.TIER_CACHE: Outcome.CACHE,
    price_pb2.TIER_LIVE: Outcome.LIVE,
}
_ENTRY_BYTES: Final = 96
"""What a binary answer that has to be looked up may need."""


class Replica(Protocol):
    """Prices at hand."""

    def get(self, asset: str, /) -> price_pb2.Price | None:
        """The newest price of an asset (id, upper case), its state judged now; None where there is none.

        MUST return at once, and the same object until the price or its state changes.
        """
        ...


class Prices:
    """Implements Purpose. The subject of a look-up is an asset's id, with ":" and the method where one is asked for."""

    command = Command.GET
    help = helping.PRICE_HELP
    truncated = answers.TRUNCATED
    form = PriceForm()

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
        """Answer a GET, each of its assets; or give a cookie to who must prove its address for that."""
        if query.claim is None and not self._demo:
            tray.drop(Drop.DEMO_OFF)
            return
        count = len(query.assets)
        bound = query.bound if query.frame is not None else query.bound // count
        if (count > 1 and query.claim is None) or not self._fits(query, bound):
            if tray.prove(query):
                bound = query.room
            elif count > 1 or query.frame is not None:
                tray.give_cookie(query)
                return
        for asset in query.assets:
            entry = tray.enter(query, caller, asset, bound=bound)
            if entry is None:
                continue
            price = self._at_hand(query, asset)
            if asset not in self._assets and price is None:
                line = answers.render_error(query, Reason.UNKNOWN_ASSET, bound=bound, asset=asset)
                tray.put(line, entry, Outcome.REFUSED)
            elif price is None:
                subject = f"{asset}:{query.method}" if query.method else asset
                tray.defer(query, subject, entry, bound=bound, caller=caller)
            elif _too_old(query, price, tray.unix_ns):
                fact = _age(price, tray.unix_s)
                line = answers.render_error(query, Reason.STALE_PRICE, bound=bound, fact=fact, asset=asset)
                tray.put(line, entry, Outcome.FAILED)
            else:
                tray.put(answers.render_price(query, price, bound=bound), entry, Outcome.LOCAL)

    def settled(self, deferred: Deferred[str], outcome: price_pb2.Price | TrinityError, *, unix_ns: int) -> Answer:
        """The answer to what was looked up."""
        query, bound = deferred.query, deferred.bound
        if isinstance(outcome, TrinityError):
            fact, asset = "", _asset(deferred)
            if outcome.reason is Reason.STALE_PRICE:
                fact = _age(self._replica.get(asset), unix_ns // 1_000_000_000)
            line = answers.render_error(query, outcome.reason, bound=bound, fact=fact, asset=asset)
            return Answer(line, outcome_of_code(outcome.row.code))
        if outcome.state in ANSWERED and outcome.price and not _too_old(query, outcome, unix_ns):
            line = answers.render_price(query, outcome, bound=bound, tier=outcome.tier)
            return Answer(line, _TIERS.get(outcome.tier, Outcome.SERVED))
        return _refuse(deferred, outcome, unix_ns)

    def unasked(self, deferred: Deferred[str], *, unix_ns: int) -> Answer:
        """The answer where nobody can be asked: why the replica's own price does not do."""
        return _refuse(deferred, self._replica.get(_asset(deferred)), unix_ns)

    def crowded(self, deferred: Deferred[str], /) -> Drop:
        """Silence: a client asks again, and the replica may know by then."""
        return Drop.LOOKUPS_FULL

    def _at_hand(self, query: Query, asset: str) -> price_pb2.Price | None:
        price = None if query.method else self._replica.get(asset)
        return price if price is not None and price.state in ANSWERED and price.price else None

    def _fits(self, query: Query, bound: int) -> bool:
        """Whether each answer has a form that its bound allows; of a binary reply, all of them together."""
        if query.frame is None and query.cookie is None and len(query.assets) == 1:
            return True  # It is told what it lacks, which is shorter than any cookie.
        used = 0
        for asset in query.assets:
            price = self._at_hand(query, asset)
            if query.form is not None:
                used += _ENTRY_BYTES if price is None else len(query.form.price(price, price_pb2.TIER_LOCAL))
                if used > bound and (price is not None or len(query.assets) > 1):
                    return False
            elif price is not None and not answers.render_price(query, price, bound=bound).startswith(b"OK"):
                return False
        return True


def _asset(deferred: Deferred[str]) -> str:
    return deferred.subject.partition(":")[0]


def _too_old(query: Query, price: price_pb2.Price, unix_ns: int) -> bool:
    return bool(query.max_age_ms) and unix_ns - price.receive_time.ToNanoseconds() > query.max_age_ms * 1_000_000


def _refuse(deferred: Deferred[str], price: price_pb2.Price | None, unix_ns: int) -> Answer:
    reason, fact = Reason.NO_PRICE, ""
    if price is not None and (price.state == price_pb2.STATE_STALE or _too_old(deferred.query, price, unix_ns)):
        reason, fact = Reason.STALE_PRICE, _age(price, unix_ns // 1_000_000_000)
    query, asset = deferred.query, _asset(deferred)
    return Answer(answers.render_error(query, reason, bound=deferred.bound, fact=fact, asset=asset), Outcome.FAILED)


def _age(price: price_pb2.Price | None, unix_s: int) -> str:
    return "" if price is None else f"age={max(0, unix_s - price.receive_time.seconds)}"
