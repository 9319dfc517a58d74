"""The datagram endpoint's composition root: a replica and a client of the price service in, an endpoint out.

It runs in a gateway worker beside HTTP, on the replica that both share.
"""

from __future__ import annotations

from collections.abc import Collection

from trinity.price.v1 import price_pb2
from trinity_client import PriceBook, PriceClient
from trinity_mesh.clock import Clock
from trinity_udp.config import UdpConfig
from trinity_udp.doors import Doors
from trinity_udp.endpoint import Endpoint


class BookReplica:
    """A PriceBook as the endpoint reads it."""

    def __init__(self, book: PriceBook) -> None:
        self._book = book

    def get(self, asset: str, /) -> price_pb2.Price | None:
        """The newest price with the state that it has now; the same object until either changes."""
        return self._book.message(asset)


def make_endpoint(
    *,
    config: UdpConfig,
    book: PriceBook,
    client: PriceClient | None,
    assets: Collection[str],
    clock: Clock,
    doors: Doors | None = None,
) -> Endpoint:
    """An endpoint that is not open yet.

    Args:
        config: where to listen and how much to give.
        book: the replica that answers; the caller keeps it running.
        client: asked for what the replica lacks; None where nobody is.
        assets: all ids that can have a price.
        clock: the machine's.
        doors: lets lines in and counts their answers; None for no sessions and no count.
    """
    return Endpoint(
        config=config,
        replica=BookReplica(book),
        assets=assets,
        lookup=None if client is None else client.get,
        clock=clock,
        doors=doors,
    )
