"""Hot prices, answered in this process from a replica of the price service's book.

A price is rendered at most once a change and state, whoever asks. Only the plain question
is answered here (any asset, default parameters) and only with a price that may be
given to anybody; everything else goes to the service.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from google.protobuf import descriptor_pool
from google.protobuf.message import Message

from trinity.price.v1 import price_pb2
from trinity_http.answer import Answer, Headers, Rendered
from trinity_http.message_types import Types
from trinity_http.protojson_write import JsonWriter
from trinity_http.resume import FieldsResume, Patience, StreamResume
from trinity_mesh.clock import Clock

SERVICE: Final = "trinity.price.v1.PriceService"
GET_PRICE: Final = f"{SERVICE}.GetPrice"
WATCH_PRICES: Final = f"{SERVICE}.WatchPrices"


class Replica(Protocol):
    """The newest price of each asset."""

    def get(self, asset: str, /) -> price_pb2.Price | None:
        """The price of an asset id in upper case, its state judged now; None when there is none. MUST NOT wait."""
        ...


@dataclass(frozen=True, slots=True)
class KeptPrice:
    """One price, rendered."""

    message: price_pb2.Price
    """What it was rendered from."""
    epoch: int
    sequence: int
    state: int
    lasting: Rendered
    """May be used again for a second: the price is fresh for longer than that."""
    lasting_until_ns: int
    """Unix time until which `lasting` holds, nanoseconds."""
    fleeting: Rendered
    """Must be asked for again each time; its ETag makes that cheap."""


class PriceAnswers:
    """Answers GetPrice from a replica."""

    conditional: Final = frozenset({GET_PRICE})

    def __init__(self, replica: Replica, *, clock: Clock, assets_max: int = 4_096) -> None:
        """At most `assets_max` prices are kept rendered; more are rendered each time."""
        self._replica = replica
        self._clock = clock
        self._assets_max = assets_max
        self._kept: dict[str, KeptPrice] = {}
        self._bodies: dict[str, tuple[price_pb2.Price, bytes]] = {}
        self._writer = JsonWriter(Types(descriptor_pool.Default()))
        self.rendered = 0
        """Prices rendered since the start."""

    def answer(self, method: str, request: Message) -> Rendered | None:
        """The answer to a plain GetPrice whose price is fresh, delayed or divergent; None for all else."""
        if method != GET_PRICE or not _is_plain(request):
            return None
        asset: str = request.asset.upper()  # type: ignore[attr-defined]
        price = self._replica.get(asset)
        kept = None if price is None else self.kept(asset, price)
        if kept is None:
            return None
        return kept.lasting if self._clock.unix_ns() <= kept.lasting_until_ns else kept.fleeting

    def kept(self, asset: str, price: price_pb2.Price) -> KeptPrice | None:
        """An asset's price as it is rendered, at most once a change and state; None for one that is not served."""
        kept = self._kept.get(asset)
        if kept is not None:
            if kept.message is price:
                return kept
            if kept.sequence == price.sequence and kept.state == price.state and kept.epoch == price.epoch:
                return kept
        if price.state not in _SERVED:
            return None
        kept = self._render(price)
        if asset in self._kept or len(self._kept) < self._assets_max:
            self._kept[asset] = kept
        return kept

    def body(self, price: price_pb2.Price) -> bytes:
        """A price of any state as JSON, rendered once as long as it is the same message."""
        known = self._bodies.get(price.asset)
        if known is not None and known[0] is price:
            return known[1]
        self.rendered += 1
        body = self._writer.write(price)
        if known is not None or len(self._bodies) < self._assets_max:
            self._bodies[price.asset] = (price, body)
        return body

    def _render(self, price: price_pb2.Price) -> KeptPrice:
        body = self.body(price)
        etag = b'"%d-%d-%d"' % (price.epoch, price.sequence, price.state)
        message = price_pb2.GetPriceResponse(price=price)
        until_ns = price.fresh_until.seconds * _NS + price.fresh_until.nanos - _LASTING_NS

        def rendered(cache_control: bytes) -> Rendered:
            headers: Headers = [
                (b"content-type", b"application/json"),
                (b"cache-control", cache_control),
                (b"etag", etag),
            ]
            return Rendered(Answer(200, headers, body), message, "price")

        return KeptPrice(
            price,
            price.epoch,
            price.sequence,
            price.state,
            rendered(b"private, max-age=1"),
            until_ns if price.state in _LASTING else 0,
            rendered(b"private, no-cache"),
        )


def price_resumes() -> Mapping[str, StreamResume]:
    """How a stream of prices is resumed: the event id is epoch and sequence.

    A part of a snapshot has no id: what followed it in the snapshot would be missing.
    """
    resume = FieldsResume(
        request=price_pb2.WatchPricesRequest.DESCRIPTOR,
        response=price_pb2.WatchPricesResponse.DESCRIPTOR,
        ids=("epoch", "sequence"),
        resumes=("resume_epoch", "resume_sequence"),
        when=lambda message: not message.snapshot or message.snapshot_complete,
    )
    return {WATCH_PRICES: resume}


def price_patience() -> Mapping[str, Patience]:
    """How long a stream of prices may be silent: three heartbeats, and as long as a service that starts may take."""
    return {WATCH_PRICES: lambda request: max(_STARTING_S, 3 * (request.heartbeat_ms or _HEARTBEAT_MS) / 1_000)}


def _is_plain(request: Any) -> bool:
    return (
        not request.source
        and request.method in _DEFAULT_METHODS
        and not request.min_sources
        and not request.HasField("max_age")
    )


_NS: Final = 1_000_000_000
_STARTING_S: Final = 10.0
_HEARTBEAT_MS: Final = 1_000
"""Of a request that names none."""
_LASTING_NS: Final = _NS
_DEFAULT_METHODS: Final = (price_pb2.METHOD_UNSPECIFIED, price_pb2.METHOD_MEDIAN)
_SERVED: Final = frozenset({price_pb2.STATE_FRESH, price_pb2.STATE_DELAYED, price_pb2.STATE_DIVERGENT})
_LASTING: Final = frozenset({price_pb2.STATE_FRESH, price_pb2.STATE_DIVERGENT})
