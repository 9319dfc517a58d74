"""GetPrice in bytes: a plain question answered with the frame that watchers are sent, made once a change.

A frame is the field `prices` of WatchPricesResponse, number 1; `price` of GetPriceResponse has the same number
and type, so the frame alone is the response.
"""

from __future__ import annotations

from typing import Final

from google.protobuf.message import DecodeError

from trinity.price.v1 import price_pb2
from trinity_core.assets import AssetTable
from trinity_core.book_page import judge
from trinity_core.errors import TrinityError
from trinity_core.prices import State
from trinity_mesh.clock import Clock
from trinity_mesh.validate import validate
from trinity_price.publication import Publication

_PLANS_MAX: Final = 4_096
_SERVED: Final = frozenset({State.FRESH, State.DELAYED, State.DIVERGENT})
_PLAIN_METHODS: Final = (price_pb2.METHOD_UNSPECIFIED, price_pb2.METHOD_MEDIAN)


class QuickPrices:
    """Answers GetPrice where only the asset is named and its newest price is as it was when it was published."""

    def __init__(self, *, assets: AssetTable, publication: Publication, clock: Clock) -> None:
        self._assets = assets
        self._publication = publication
        self._monotonic_ns = clock.monotonic_ns
        self._plans: dict[bytes, str] = {}
        self.answered = 0
        """Answers given here; they are from the book."""

    def __call__(self, request: bytes) -> bytes | None:
        """The serialised response to a serialised request; None for the long way."""
        asset = self._plans.get(request) or self._plan(request)
        if asset is None:
            return None
        found = self._publication.frame_of(asset)
        if found is None:
            return None
        frame, price = found
        if price.state not in _SERVED or judge(price, self._monotonic_ns()) is not price.state:
            return None
        self.answered += 1
        return frame

    def _plan(self, request: bytes) -> str | None:
        """The asset that a plain request names; remembered by its bytes."""
        try:
            message = price_pb2.GetPriceRequest.FromString(request)
            validate(message)
            asset = self._assets.get(message.asset).asset
        except (DecodeError, TrinityError):
            return None
        if message.source or message.method not in _PLAIN_METHODS or message.min_sources or message.HasField("max_age"):
            return None
        if len(self._plans) >= _PLANS_MAX:
            self._plans.clear()
        self._plans[request] = asset
        return asset
