"""What the price service tells: its book, its streams, where prices came from, and its feeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from trinity_core.assets import AssetTable
from trinity_core.prices import State
from trinity_mesh.clock import Clock
from trinity_mesh.telemetry import catalogue
from trinity_mesh.telemetry.metrics import Sample

if TYPE_CHECKING:
    from trinity_price.main import PricePart


def price_samples(part: PricePart, *, assets: AssetTable, clock: Clock) -> Iterator[Sample]:
    """Of one price service."""
    now_ns = clock.monotonic_ns()
    states = Counter(part.writer.state_of(asset.asset, now_ns) for asset in assets.assets)
    for state in State:
        yield Sample(catalogue.BOOK_PRICES, (state.name.lower(),), states[state])
    yield Sample(catalogue.BOOK_TICKS, (), part.writer.ticks)
    yield Sample(catalogue.BOOK_CHANGES, (), part.publication.changes)
    yield Sample(catalogue.PRICE_STREAMS, (), part.watching.streams)
    yield Sample(catalogue.LIMIT_HITS, ("price.streams",), part.watching.refused)
    lookup = part.lookup
    for tier, count in (
        ("local", lookup.local + part.quick.answered),
        ("cache", lookup.cached),
        ("live", lookup.live),
    ):
        yield Sample(catalogue.PRICE_FOUND, (tier,), count)
    yield Sample(catalogue.PRICE_MISSING, (), lookup.missing)
    yield Sample(catalogue.MIRROR_FAILURES, (), lookup.mirror_failures)
    for feed in part.feeds:
        yield Sample(catalogue.FEED_CONNECTED, (feed.address,), feed.connected)
        yield Sample(catalogue.FEED_TRANSIT, (feed.address,), feed.transit_ns / 1e9)
