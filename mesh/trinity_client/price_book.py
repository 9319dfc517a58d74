"""A live local replica of the price service's book.

    async with PriceBook("127.0.0.1:50051", assets=["BTC", "ETH"]) as book:
        await book.ready()
        price = book.get("BTC")              # a look into a dict, no call
        print(price.price, price.state.name, price.age_ms)
        async for change in book.changes():  # newest of each asset; a slow reader misses, never lags
            print(change.asset, change.price)

The book follows WatchPrices, opens the stream again when it is lost or silent, and resumes
where it was. What a price is worth is judged by this process's monotonic clock whenever it
is looked at: without news every price turns DELAYED and then STALE, connected or not.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Final, Self

import grpc
import grpc.aio

from trinity.price.v1 import price_pb2, price_service_pb2_grpc
from trinity_client.replica import Connection, Replica, StreamBrokenError
from trinity_client.view import PriceView
from trinity_core.backoff import Backoff
from trinity_core.errors import Code, TrinityError
from trinity_mesh.channels import open_channel
from trinity_mesh.clock import Clock, SystemClock, clock_id
from trinity_mesh.fanout import Fanout
from trinity_mesh.status import from_rpc_error
from trinity_mesh.telemetry import tracing

log = logging.getLogger(__name__)

SUBSCRIPTIONS_MAX: Final = 1_000
"""Most `changes` iterators open at once on one book."""

_HEARTBEATS_MISSED: Final = 3
_OPENING_NS: Final = 10_000_000_000
"""A service that has just started lets a stream wait for its own sources, a few seconds at most."""
_KEEPER_S: Final = 0.1
_WAIT_S: Final = 3_600.0
_REFUSALS: Final = frozenset(
    {Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.PERMISSION_DENIED, Code.UNAUTHENTICATED, Code.FAILED_PRECONDITION}
)


class PriceBook:
    """A replica that is kept up to date for as long as the `async with` block runs."""

    def __init__(
        self,
        target: str | grpc.aio.Channel,
        *,
        assets: Iterable[str] | None = None,
        clock: Clock | None = None,
        heartbeat_ms: int = 1_000,
        interval_ms: int = 0,
        metadata: Sequence[tuple[str, str]] = (),
        on_change: Callable[[price_pb2.Price], None] | None = None,
        backoff: Backoff | None = None,
        clock_name: str | None = None,
    ) -> None:
        """Nothing is opened yet.

        Args:
            target: "unix:/path", "host:port", several of them with commas (where one ends, the book follows
                another), "dns:name:port", or a channel, which stays the caller's to close.
            assets: ids to follow, in either case; None for all.
            clock: the clock by which prices age; the machine's by default.
            heartbeat_ms: the service speaks at least this often; after three times as
                long in silence the stream counts as lost.
            interval_ms: shortest time between two batches; 0 for as fast as the service sends.
            metadata: sent with the stream, such as an API key.
            on_change: called with each price that changed, in order, and with a copy of a
                price whose state changed by age (within 100 ms of it) or that is gone
                (HALTED). It must be quick and must not raise; what it raises is logged.
            backoff: waits between attempts; 50 ms doubling up to 2 s, with full jitter, by default.
            clock_name: id of the machine clock that `clock` reads; this host's by default.
        """
        if not 1 <= heartbeat_ms <= 60_000 or not 0 <= interval_ms <= 60_000:
            raise ValueError("heartbeat_ms must be from 1 to 60000, interval_ms from 0 to 60000")
        self._target = target
        self._assets = sorted({asset.upper() for asset in assets}) if assets is not None else []
        if assets is not None and not self._assets:
            raise ValueError("assets must name at least one asset, or be None for all")
        self._clock = clock or SystemClock()
        self._heartbeat_ms = heartbeat_ms
        self._silence_ns = max(heartbeat_ms, interval_ms) * 1_000_000 * _HEARTBEATS_MISSED
        self._interval_ms = interval_ms
        self._metadata = tuple(metadata)
        self._on_change = on_change
        self._backoff = backoff or Backoff(rng=random.Random())  # noqa: S311 - jitter keeps no secret
        self._replica = Replica(clock=self._clock, clock_id=clock_name or clock_id())
        self._views = self._replica.views
        self._fanout: Fanout[str, PriceView] = Fanout(subscriptions_max=SUBSCRIPTIONS_MAX)
        self._ready = asyncio.Event()
        self._refusal: TrinityError | None = None
        self._closed = False
        self._tasks: list[asyncio.Task[None]] = []
        self._call: grpc.aio.UnaryStreamCall[price_pb2.WatchPricesRequest, price_pb2.WatchPricesResponse] | None = None
        self._cut = False
        self._streams = 0
        self._detail = ""
        self._heard_ns: int | None = None
        self._spoke_ns = 0
        self._patience_ns = 0

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._keep())]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._closed = True
        self._fanout.close()

    async def ready(self) -> None:
        """Return once the first snapshot is complete; bound the wait with `asyncio.timeout`.

        Raises TrinityError when the service refuses the stream for good (an unknown asset, a
        missing key); lost connections are tried again instead.
        """
        await self._ready.wait()
        if self._refusal is not None:
            raise self._refusal

    def get(self, asset: str) -> PriceView | None:
        """The newest price of an asset, in either case; None when there is none. Never waits."""
        view = self._views.get(asset)
        return view if view is not None else self._views.get(asset.upper())

    def message(self, asset: str) -> price_pb2.Price | None:
        """The newest price's message with the state it has now, by id in upper case; None when there is none.

        For gateways: as long as neither the price nor its state changes it is the same object.
        Do not alter it.
        """
        view = self._views.get(asset)
        return None if view is None else view.message_at(self._clock.monotonic_ns())

    @property
    def views(self) -> Mapping[str, PriceView]:
        """The newest price of every asset, by id in upper case; a live, read-only mapping."""
        return self._views

    @property
    def connection(self) -> Connection:
        """How the book stands with the price service now."""
        replica = self._replica
        silent_ms = -1.0 if self._heard_ns is None else (self._clock.monotonic_ns() - self._heard_ns) / 1e6
        return Connection(
            connected=self._call is not None and not replica.opening,
            streams=self._streams,
            failures=self._backoff.failures,
            detail=self._detail,
            epoch=replica.epoch,
            sequence=replica.sequence,
            skipped=replica.skipped,
            replacements=replica.replacements,
            silent_ms=silent_ms,
            transit_ms=replica.transit_ns / 1e6,
        )

    async def changes(self, assets: Iterable[str] | None = None) -> AsyncIterator[PriceView]:
        """Iterate over prices: those there are now, then each that changes, newest of each asset only.

        A reader that is slow finds fewer, newer prices; its backlog is one price an asset.
        Prices whose state changed by age are changes too. Ends when the book is closed.
        Raises TrinityError when the service refuses the stream for good, TOO_MANY_STREAMS
        when 1,000 iterators are open.
        """
        if self._refusal is not None:
            raise self._refusal
        if self._closed:
            return
        wanted = frozenset(asset.upper() for asset in assets) if assets is not None else None
        current = sorted(self._views.items(), key=lambda item: item[1].sequence)
        subscription = self._fanout.subscribe(keys=wanted, initial=current)
        try:
            while True:
                await subscription.wait(_WAIT_S)
                views, _ = subscription.take()
                for view in views:
                    yield view
                if subscription.closed:
                    if self._refusal is not None:
                        raise self._refusal
                    return
        finally:
            self._fanout.unsubscribe(subscription)

    async def _follow(self) -> None:
        """Keep a stream open, for as long as the book lives."""
        owned = open_channel(self._target) if isinstance(self._target, str) else None
        channel = owned or self._target
        assert isinstance(channel, grpc.aio.Channel)
        try:
            while self._refusal is None:
                await self._stream(price_service_pb2_grpc.PriceServiceStub(channel))
                if self._refusal is None:
                    await self._clock.sleep(self._backoff.failed_s())
        finally:
            if owned is not None:
                await owned.close()

    async def _stream(self, stub: price_service_pb2_grpc.PriceServiceAsyncStub) -> None:
        """Open one stream and read it to its end, whatever that is."""
        epoch, sequence = self._replica.opened()
        request = price_pb2.WatchPricesRequest(
            assets=self._assets,
            heartbeat_ms=self._heartbeat_ms,
            interval_ms=self._interval_ms,
            resume_epoch=epoch,
            resume_sequence=sequence,
        )
        self._cut = False
        self._streams += 1
        self._spoke_ns = self._clock.monotonic_ns()
        self._patience_ns = max(self._silence_ns, _OPENING_NS)
        call = self._call = stub.WatchPrices(request, metadata=self._metadata)
        try:
            async for batch in call:
                self._receive(batch)
            self._detail = "the service ended the stream"
        except grpc.aio.AioRpcError as error:
            self._failed(from_rpc_error(error))
        except StreamBrokenError as error:
            self._replica.distrust()
            self._detail = f"the stream broke its rules: {error}"
            log.warning("price stream: %s", self._detail)
        except Exception as error:
            # Whatever a batch may hold, a replica that stopped following would be worse.
            self._replica.distrust()
            self._detail = f"unforeseen: {error!r}"
            log.exception("price stream: unforeseen error")
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._cut or (task is not None and task.cancelling()):
                raise
            self._detail = f"nothing came for {self._patience_ns / 1e9:g} s"
        finally:
            self._call = None
            call.cancel()

    def _receive(self, batch: price_pb2.WatchPricesResponse) -> None:
        now_ns = self._heard_ns = self._spoke_ns = self._clock.monotonic_ns()
        self._patience_ns = self._silence_ns
        with tracing.following("replica.apply", batch.traceparent):
            self._tell(self._replica.receive(batch, now_ns))
        if not self._replica.opening:
            self._backoff.succeeded()
            if not self._ready.is_set():
                self._ready.set()

    def _failed(self, error: TrinityError) -> None:
        self._detail = str(error)
        if error.row.code in _REFUSALS:
            self._refusal = error
            self._ready.set()
            self._fanout.close()

    async def _keep(self) -> None:
        """Let prices age where somebody renders them, and cut a stream that fell silent."""
        while True:
            await self._clock.sleep(_KEEPER_S)
            now_ns = self._clock.monotonic_ns()
            self._tell(self._replica.aged(now_ns))
            if self._call is not None and now_ns - self._spoke_ns > self._patience_ns:
                self._cut = True
                self._call.cancel()

    def _tell(self, changed: Sequence[PriceView]) -> None:
        if not changed:
            return
        if len(self._fanout):
            self._fanout.publish((view.asset, view) for view in changed)
        if self._on_change is not None:
            for view in changed:
                try:
                    self._on_change(view.message)
                except Exception:
                    log.exception("on_change raised for %s", view.asset)
