"""One feed worker as the price service sees it: its stream of ticks, followed for ever, and its quotes on demand."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Protocol

import grpc
import grpc.aio

from trinity.feed.v1 import feed_pb2, feed_service_pb2_grpc
from trinity_core.backoff import Backoff
from trinity_core.errors import Reason, TrinityError
from trinity_core.ticks import Liveness, Tick
from trinity_core.transit import Transit
from trinity_core.venues import Venue
from trinity_mesh.channels import call, open_channel
from trinity_mesh.clock import Clock
from trinity_mesh.identity import Identity
from trinity_mesh.status import from_rpc_error
from trinity_mesh.telemetry import tracing
from trinity_mesh.wire import liveness_from_message, tick_from_message

log = logging.getLogger(__name__)

_SLICE: Final = 64
"""Ticks applied before others may run: a snapshot of six venues must not hold up the streams."""
_WATCHDOG_S: Final = 0.1


class Sink(Protocol):
    """Where ticks go; see `Writer`."""

    def take(self, ticks: Iterable[Tick]) -> None:
        """Apply ticks."""
        ...

    def hear(self, signs: Iterable[Liveness]) -> None:
        """Apply signs of life."""
        ...

    def mark_sandbox(self) -> None:
        """The ticks are simulated."""
        ...


class Feed:
    """Follows one worker's stream; when it is lost, its venues are told to be disconnected, and it is opened again."""

    def __init__(
        self,
        *,
        address: str,
        sink: Sink,
        clock: Clock,
        clock_id: str,
        silence_ms: int,
        backoff: Backoff,
        identity: Identity | None = None,
    ) -> None:
        """`silence_ms` is how long a stream may say nothing before it counts as lost; `identity` is the service's."""
        self._identity = identity
        self.address = address
        self._sink = sink
        self._clock = clock
        self._clock_id = clock_id
        self._silence_ns = silence_ms * 1_000_000
        self._backoff = backoff
        self._channel: grpc.aio.Channel | None = None
        self._transit = Transit(clock_id=clock_id)
        self._sender_clock = ""
        self._signs: dict[Venue, Liveness] = {}
        self._heard_ns = 0
        self._cut = False
        self.synced = asyncio.Event()
        """Set once a snapshot was applied."""
        self.connected = False
        """A stream is open and its snapshot applied."""
        self.worker = ""
        """Id of the worker process; empty before it spoke."""
        self.sandbox = False
        """The worker's ticks are simulated."""
        self.streams = 0
        """Streams opened since the start."""
        self.ticks = 0
        self.ticks_invalid = 0
        """Ticks and signs of life that could not be read."""
        self.transit_ns = 0
        """Time the newest batch was under way, nanoseconds."""

    @property
    def venues(self) -> frozenset[Venue]:
        """Venues the worker has spoken of."""
        return frozenset(self._signs)

    async def run(self) -> None:
        """Keep a stream open while the service runs."""
        try:
            while True:
                await self._stream(feed_service_pb2_grpc.FeedServiceStub(self._opened()))
                self._lost()
                await self._clock.sleep(self._backoff.failed_s())
        finally:
            if self._channel is not None:
                await self._channel.close()
                self._channel = None

    async def fetch(self, asset: str, venue: Venue | None, *, timeout_s: float) -> Tick:
        """Have the worker read one quote by REST now; the tick, its time of receipt on our clock.

        Raises TrinityError as FetchQuote does, or BACKEND_UNAVAILABLE.
        """
        stub = feed_service_pb2_grpc.FeedServiceStub(self._opened())
        request = feed_pb2.FetchQuoteRequest(asset=asset, venue=venue or "")
        asked_ns = self._clock.monotonic_ns()
        response = await call(stub.FetchQuote(request, timeout=timeout_s))
        received_ns = response.tick.receive_monotonic_ns
        if response.clock_id == self._sender_clock:
            received_ns = self._transit.local(received_ns)
        elif response.clock_id != self._clock_id:
            # A clock we know nothing of: as if the whole call had been the answer's way back.
            received_ns += asked_ns - response.sent_monotonic_ns
        if response.sandbox:
            self._sink.mark_sandbox()
        received_ns = min(received_ns, self._clock.monotonic_ns())
        try:
            return tick_from_message(response.tick, receive_mono_ns=received_ns)
        except ValueError as error:
            raise TrinityError(Reason.VENUE_UNAVAILABLE, f"{self.address} gave a quote that cannot be read") from error

    def _opened(self) -> grpc.aio.Channel:
        if self._channel is None:
            self._channel = open_channel(self.address, identity=self._identity, service="feeds")
        return self._channel

    async def _stream(self, stub: feed_service_pb2_grpc.FeedServiceAsyncStub) -> None:
        """Open one stream and read it to its end."""
        self.streams += 1
        self._cut = False
        self._heard_ns = self._clock.monotonic_ns()
        call_ = stub.StreamTicks(feed_pb2.StreamTicksRequest())
        watchdog = asyncio.create_task(self._watch(call_))
        detail = "the worker ended the stream"
        try:
            async for batch in call_:
                await self._receive(batch)
        except grpc.aio.AioRpcError as error:
            detail = str(from_rpc_error(error))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._cut or (task is not None and task.cancelling()):
                raise
            detail = f"nothing came for {self._silence_ns / 1e9:g} s"
        except Exception as error:
            detail = f"unforeseen: {error!r}"
            log.exception("feed %s: unforeseen error", self.address)
        finally:
            watchdog.cancel()
            call_.cancel()
        if self.connected or self._backoff.failures == 0:
            log.warning("feed %s is lost: %s", self.address, detail)

    async def _watch(self, call_: grpc.aio.UnaryStreamCall[Any, Any]) -> None:
        while self._clock.monotonic_ns() - self._heard_ns <= self._silence_ns:
            await self._clock.sleep(_WATCHDOG_S)
        self._cut = True
        call_.cancel()

    async def _receive(self, batch: feed_pb2.StreamTicksResponse) -> None:
        now_ns = self._heard_ns = self._clock.monotonic_ns()
        if batch.clock_id != self._sender_clock:
            # A stream that is opened again comes from the same clock as a rule: what is known of it stays known.
            self._transit, self._sender_clock = Transit(clock_id=self._clock_id), batch.clock_id
        self.transit_ns = self._transit.observe(
            clock_id=batch.clock_id, sent_mono_ns=batch.sent_monotonic_ns, now_ns=now_ns
        )
        if batch.worker != self.worker:
            if self.worker:
                self._disconnect()
            self.worker = batch.worker
        if batch.sandbox:
            self.sandbox = True
            self._sink.mark_sandbox()
        if batch.liveness:
            self._sink.hear(self._read_signs(batch.liveness, now_ns))
        if batch.ticks:
            ticks = self._read_ticks(batch.ticks, now_ns)
            with tracing.following("book.apply", batch.traceparent):
                if len(batch.ticks) <= _SLICE:
                    self._sink.take(ticks)
                else:
                    await self._take_in_slices(ticks)
        if not self.connected:
            self.connected = True
            self._backoff.succeeded()
            self.synced.set()
            log.info("feed %s is followed, worker %s", self.address, self.worker)

    async def _take_in_slices(self, ticks: Iterator[Tick]) -> None:
        part: list[Tick] = []
        for tick in ticks:
            part.append(tick)
            if len(part) == _SLICE:
                self._sink.take(part)
                part = []
                await self._clock.sleep(0)
        self._sink.take(part)

    def _read_ticks(self, messages: Iterable[feed_pb2.Tick], now_ns: int) -> Iterator[Tick]:
        offset_ns = self._transit.local(0)
        for message in messages:
            try:
                received_ns = message.receive_monotonic_ns + offset_ns
                yield tick_from_message(message, receive_mono_ns=min(received_ns, now_ns))
                self.ticks += 1
            except ValueError:
                self.ticks_invalid += 1

    def _read_signs(self, messages: Iterable[feed_pb2.Liveness], now_ns: int) -> list[Liveness]:
        signs = []
        for message in messages:
            alive_ns = min(self._transit.local(message.alive_monotonic_ns), now_ns)
            try:
                sign = liveness_from_message(message, worker=self.worker, alive_mono_ns=alive_ns)
            except ValueError:
                self.ticks_invalid += 1
                continue
            self._signs[sign.venue] = sign
            signs.append(sign)
        return signs

    def _lost(self) -> None:
        self.connected = False
        self._disconnect()

    def _disconnect(self) -> None:
        """Say of every venue that this worker no longer holds it."""
        gone = [
            Liveness(sign.venue, sign.worker, sign.alive_mono_ns, False)
            for sign in self._signs.values()
            if sign.connected
        ]
        for sign in gone:
            self._signs[sign.venue] = sign
        if gone:
            self._sink.hear(gone)


def by_reach(feeds: Sequence[Feed], wanted: Sequence[Venue]) -> list[Feed]:
    """The feeds to ask for a quote of one of `wanted`, best first: connected ones by the first venue they hold."""

    def rank(feed: Feed) -> tuple[bool, int]:
        held = feed.venues
        reach = next((index for index, venue in enumerate(wanted) if venue in held), len(wanted))
        return (not feed.connected, reach)

    return sorted(feeds, key=rank)
