"""What a feed worker tells of its venues."""

from __future__ import annotations

from collections.abc import Iterator

from trinity_feeds.limits import Circuit
from trinity_feeds.terms import SessionState
from trinity_feeds.venue_quotes import VenueQuotes
from trinity_feeds.worker import Worker
from trinity_mesh.clock import Clock
from trinity_mesh.telemetry import catalogue
from trinity_mesh.telemetry.metrics import Sample


def feed_samples(worker: Worker, clock: Clock) -> Iterator[Sample]:
    """Of all connections and streams."""
    now_ns = clock.monotonic_ns()
    yield Sample(catalogue.FEED_STREAMS, (), worker.hub.streams)
    yield Sample(catalogue.LIMIT_HITS, ("feed.streams",), worker.hub.refused)
    for venue, connection in worker.connections.items():
        name, session, counts = str(venue), connection.session, connection.counts
        for state in SessionState:
            yield Sample(catalogue.VENUE_STATE, (name, state.name.lower()), connection.state is state)
        if session.lag_ms is not None:
            yield Sample(catalogue.VENUE_LAG, (name,), session.lag_ms / 1_000)
        if session.last_frame_mono_ns is not None:
            yield Sample(catalogue.VENUE_SILENCE, (name,), (now_ns - session.last_frame_mono_ns) / 1e9)
        symbols = {"wanted": session.wanted, "subscribed": session.subscribed, "fresh": session.fresh(now_ns)}
        for kind, count in symbols.items():
            yield Sample(catalogue.VENUE_SYMBOLS, (name, kind), count)
        yield Sample(catalogue.VENUE_FRAMES, (name,), counts.frames)
        yield Sample(catalogue.VENUE_TICKS, (name,), counts.ticks)
        faults = {
            "invalid_frame": counts.frames_invalid,
            "unknown_frame": counts.frames_unknown,
            "late_frame": counts.frames_out_of_order,
            "venue_error": counts.venue_errors,
            "gap": counts.sequence_gaps,
            "reconnect": connection.reconnects,
        }
        for kind, count in faults.items():
            yield Sample(catalogue.VENUE_FAULTS, (name, kind), count)
        yield from _quotes(name, worker.quotes.venues[venue])


def _quotes(name: str, quotes: VenueQuotes) -> Iterator[Sample]:
    yield Sample(catalogue.VENUE_QUOTES, (name, "fetched"), quotes.fetched)
    yield Sample(catalogue.VENUE_QUOTES, (name, "failed"), quotes.failed)
    yield Sample(catalogue.VENUE_CIRCUIT, (name,), quotes.circuit is not Circuit.CLOSED)
