"""FeedService on one worker: the hub's streams, REST quotes, and the state of each venue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from trinity.feed.v1 import feed_pb2, feed_service_pb2, feed_service_pb2_grpc
from trinity_core.errors import Reason, TrinityError
from trinity_core.venues import Venue
from trinity_feeds.connection import Connection
from trinity_feeds.hub import Hub
from trinity_feeds.quotes import Quotes, unknown_venue
from trinity_feeds.terms import SessionState
from trinity_mesh.clock import Clock
from trinity_mesh.server import Service
from trinity_mesh.wire import stamp, tick_to_message

if TYPE_CHECKING:
    import grpc.aio

_MS: Final = 1_000_000
_REFUSED_MAX: Final = 200
"""Refused symbols shown, as the contract bounds them."""

_STATES: Final[Mapping[SessionState | None, feed_pb2.ConnectionState.ValueType]] = {
    SessionState.CONNECTING: feed_pb2.CONNECTION_STATE_CONNECTING,
    SessionState.SUBSCRIBING: feed_pb2.CONNECTION_STATE_SUBSCRIBING,
    SessionState.LIVE: feed_pb2.CONNECTION_STATE_LIVE,
    SessionState.MAINTENANCE: feed_pb2.CONNECTION_STATE_MAINTENANCE,
    SessionState.CLOSED: feed_pb2.CONNECTION_STATE_BACKING_OFF,
    None: feed_pb2.CONNECTION_STATE_STOPPED,
}


class FeedServicer(feed_service_pb2_grpc.FeedServiceServicer):
    """Answers for the venues of one worker."""

    def __init__(
        self,
        *,
        worker: str,
        sandbox: bool,
        clock: Clock,
        clock_id: str,
        hub: Hub,
        quotes: Quotes,
        connections: Mapping[Venue, Connection],
        call_ms: int,
    ) -> None:
        """`call_ms` bounds FetchQuote."""
        self._worker = worker
        self._sandbox = sandbox
        self._clock = clock
        self._clock_id = clock_id
        self._hub = hub
        self._quotes = quotes
        self._connections = connections
        self._call_ms = call_ms

    def service(self) -> Service:
        """This servicer as a service of a MeshServer; batches leave as the bytes the hub made."""

        def add(server: grpc.aio.Server) -> None:
            feed_service_pb2_grpc.add_FeedServiceServicer_to_server(self, server)

        descriptor = feed_service_pb2.DESCRIPTOR.services_by_name["FeedService"]
        return Service(descriptor, add, raw_responses=frozenset({"StreamTicks"}))

    async def StreamTicks(  # type: ignore[override]  # noqa: N802 - yields serialised responses
        self, request: feed_pb2.StreamTicksRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[bytes]:
        """A snapshot, then what changed, until the caller leaves.

        Raises TrinityError UNKNOWN_VENUE when none of the venues named is held, TOO_MANY_STREAMS, STOPPING.
        """
        held = tuple(self._connections)
        wanted = [venue for venue in held if not request.venues or venue in request.venues]
        if not wanted:
            raise unknown_venue(", ".join(request.venues), held)
        stream = self._hub.stream(wanted)
        # A generator that grpc drops between two batches is not closed at once; the end of the call is certain.
        context.add_done_callback(lambda _: stream.close())  # type: ignore[arg-type] # the stub wants no plain function
        try:
            while True:
                yield await stream.next()
        finally:
            stream.close()

    async def FetchQuote(  # noqa: N802
        self, request: feed_pb2.FetchQuoteRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> feed_pb2.FetchQuoteResponse:
        """One quote from a venue's REST interface.

        Raises TrinityError as Quotes.fetch does, and DEADLINE_EXCEEDED.
        """
        venue: Venue | None = None
        if request.venue:
            venue = next((held for held in self._connections if held == request.venue), None)
            if venue is None:
                raise unknown_venue(request.venue, tuple(self._connections))
        left_s = cast("float | None", context.time_remaining())
        limit_s = self._call_ms / 1_000
        try:
            async with asyncio.timeout(limit_s if left_s is None else min(limit_s, left_s)):
                tick = await self._quotes.fetch(request.asset, venue)
        except TimeoutError as error:
            raise TrinityError(
                Reason.DEADLINE_EXCEEDED, f"no venue gave a quote of {request.asset.upper()} in time"
            ) from error
        return feed_pb2.FetchQuoteResponse(
            tick=tick_to_message(tick),
            clock_id=self._clock_id,
            sent_monotonic_ns=self._clock.monotonic_ns(),
            sandbox=self._sandbox,
        )

    async def ListVenues(  # noqa: N802
        self, request: feed_pb2.ListVenuesRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> feed_pb2.ListVenuesResponse:
        """The venues held, in the order of their ids."""
        return feed_pb2.ListVenuesResponse(venues=[self._status(venue) for venue in sorted(self._connections)])

    def _status(self, venue: Venue) -> feed_pb2.VenueStatus:
        connection, quotes = self._connections[venue], self._quotes.venues[venue]
        session, counts, now_ns = connection.session, connection.counts, self._clock.monotonic_ns()
        status = feed_pb2.VenueStatus(
            venue=venue,
            worker=self._worker,
            state=_STATES[connection.state],
            url=connection.url,
            sandbox=self._sandbox,
            symbols_wanted=session.wanted,
            symbols_subscribed=session.subscribed,
            symbols_fresh=session.fresh(now_ns),
            symbols_refused=session.refused[:_REFUSED_MAX],
            lag_ms=session.lag_ms or 0,
            frames=counts.frames,
            ticks=counts.ticks,
            frames_invalid=counts.frames_invalid,
            frames_unknown=counts.frames_unknown,
            venue_errors=counts.venue_errors,
            reconnects=connection.reconnects,
            sequence_gaps=counts.sequence_gaps,
            frames_out_of_order=counts.frames_out_of_order,
            circuit=quotes.circuit.value,  # type: ignore[arg-type]
            quotes_fetched=quotes.fetched,
            quotes_failed=quotes.failed,
            detail=session.detail,
        )
        if session.last_frame_mono_ns is not None:
            age_ns = now_ns - session.last_frame_mono_ns
            status.last_frame_time.CopyFrom(stamp(self._clock.unix_ns() - age_ns))
        return status
