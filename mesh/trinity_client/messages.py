"""A PriceBook as gateways read it: the service's own messages, with the state that they have now."""

from __future__ import annotations

from trinity.price.v1 import price_pb2
from trinity_client.price_book import PriceBook


class BookReplica:
    """The newest message of each asset; the same object until the price or its state changes."""

    def __init__(self, book: PriceBook) -> None:
        """The caller keeps the book running."""
        self._book = book
        self._views = book.views

    def get(self, asset: str, /) -> price_pb2.Price | None:
        """The newest price of an asset id in upper case, its state judged now."""
        return self._book.message(asset)

    def at(self, asset: str, now_ns: int, /) -> price_pb2.Price | None:
        """The same, for a caller who has just read the monotonic clock."""
        view = self._views.get(asset)
        return None if view is None else view.message_at(now_ns)
