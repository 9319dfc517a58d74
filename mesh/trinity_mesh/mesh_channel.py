"""A channel of the mesh: one or several backends behind what looks like grpc's own channel.

grpc.aio's client interceptors cost each call a task and an object of their own. Here everything that stands around
a call is put together once a stub, when the stub is made, as the server does with its handlers.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

import grpc
import grpc.aio

from trinity_core.errors import TrinityError
from trinity_mesh.addresses import Addresses, resolve
from trinity_mesh.attempts import sends
from trinity_mesh.backend_health import ended, follow_health
from trinity_mesh.balancing import Backend, Balancer, BalancingSettings, Make, Stub
from trinity_mesh.call_plan import CallPlan, Tally
from trinity_mesh.calling import CallDetails, ClientInterceptor, Method, RefusedCall, Send
from trinity_mesh.clock import Clock, SystemClock
from trinity_mesh.hedging import HedgeSettings
from trinity_mesh.ordering import CLIENT_ORDER, checked
from trinity_mesh.retrying import RetryBudget, RetrySettings

RESOLVE_EVERY_S: Final = 30.0
"""How often a `dns:` name is resolved anew while its backends are well."""
RESOLVE_AGAIN_S: Final = 1.0
"""How often while none of them is, or the name cannot be resolved."""
RETIRE_S: Final = 30.0
"""How long calls under way may go on at an address that the name no longer has."""


@dataclass(frozen=True, slots=True)
class CallSettings:
    """How a channel makes calls. Raises ValueError for a setting out of its bounds."""

    retry: RetrySettings = field(default_factory=RetrySettings)
    hedge: HedgeSettings = field(default_factory=HedgeSettings)
    balancing: BalancingSettings = field(default_factory=BalancingSettings)


class MeshChannel(grpc.aio.Channel):
    """Calls to one service. Opened by `trinity_mesh.channels.open_channel`."""

    def __init__(
        self,
        addresses: Addresses,
        *,
        make: Make,
        interceptors: Sequence[ClientInterceptor],
        settings: CallSettings | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """`make` opens grpc's own channel to one address. Raises OrderError for a wrong list of interceptors."""
        checked([each.name for each in interceptors], CLIENT_ORDER, side="the channel")
        self._addresses = addresses
        self._make = make
        self._interceptors = tuple(interceptors)
        self._settings = settings or CallSettings()
        self._clock = clock or SystemClock()
        self._rng = rng or random.Random()  # noqa: S311 - jitter keeps no secret
        self._budget = RetryBudget(self._settings.retry)
        self.tally = Tally()
        """What its calls took beyond one attempt each."""
        self.balancer = Balancer(self._settings.balancing, clock=self._clock)
        """Its backends."""
        self.at_close: Callable[[], object] | None = None
        """Called once it is closed."""
        # Until a name is resolved, grpc's own resolver finds one of its addresses.
        self.balancer.replace([self._backend(each) for each in addresses.static or (addresses.name,)])
        self._following: dict[Backend, asyncio.Task[None]] = {}
        self._resolving: asyncio.Task[None] | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self._started = bool(addresses.static) and len(addresses.static) == 1
        self._closed = False

    async def __aenter__(self) -> Self:
        self._start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        """End the calls under way, after `grace` seconds, and the connections."""
        self._closed = True
        for task in (*self._following.values(), *self._retiring, *((self._resolving,) if self._resolving else ())):
            await ended(task)
        self._following.clear()
        await asyncio.gather(*(backend.channel.close(grace) for backend in self.balancer.backends))
        if self.at_close is not None:
            self.at_close()

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """The best state of a backend."""
        states = [backend.channel.get_state(try_to_connect) for backend in self.balancer.backends]
        return min(states, key=_STATES.index, default=grpc.ChannelConnectivity.TRANSIENT_FAILURE)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Return once the best state is another."""
        while self.get_state() is last_observed_state:
            waits = [
                asyncio.ensure_future(backend.channel.wait_for_state_change(backend.channel.get_state()))
                for backend in self.balancer.backends
            ]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()

    async def channel_ready(self) -> None:
        """Return once a backend is connected."""
        while (state := self.get_state(try_to_connect=True)) is not grpc.ChannelConnectivity.READY:
            await self.wait_for_state_change(state)

    def unary_unary(self, method: str, *how: Any, **named: Any) -> Any:
        """Calls with one request and one answer: these are retried and hedged."""
        return self._stub("unary_unary", method, *how, **named)

    def unary_stream(self, method: str, *how: Any, **named: Any) -> Any:
        """Streams of answers: these go to a backend that is well, and their reader opens them again."""
        return self._stub("unary_stream", method, *how, **named)

    def stream_unary(self, method: str, *how: Any, **named: Any) -> Any:
        """Streams of requests."""
        return self._stub("stream_unary", method, *how, **named)

    def stream_stream(self, method: str, *how: Any, **named: Any) -> Any:
        """Streams both ways."""
        return self._stub("stream_stream", method, *how, **named)

    def _stub(
        self,
        kind: str,
        path: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = False,
    ) -> Callable[..., Any]:
        method = Method(path, kind)
        stub = self.balancer.stub(method, request_serializer, response_deserializer)
        send = self._attempts(stub) if method.kind == "unary_unary" else self._streams(stub)
        for interceptor in reversed(self._interceptors):
            send = interceptor.around(method, send)

        def call(
            request: Any = None,
            *,
            timeout: float | None = None,
            metadata: Any = None,
            credentials: Any = None,
            wait_for_ready: bool | None = None,
            compression: Any = None,
        ) -> Any:
            if not self._started:
                self._start()
            return send(request, CallDetails(timeout, metadata, credentials, wait_for_ready, compression))

        def call_stream(request_iterator: Any = None, **how: Any) -> Any:
            return call(request_iterator, **how)

        return call_stream if method.kind.startswith("stream_") else call

    def _attempts(self, stub: Stub) -> Send:
        plan = CallPlan(
            self.balancer,
            stub,
            retry=self._settings.retry,
            hedge=self._settings.hedge,
            budget=self._budget,
            tally=self.tally,
            clock=self._clock,
            rng=self._rng,
        )
        return sends(plan)

    def _streams(self, stub: Stub) -> Send:
        balancer, clock = self.balancer, self._clock

        def send(request: Any, details: CallDetails) -> Any:
            try:
                backend = balancer.pick(clock.monotonic_ns())
            except TrinityError as error:
                return RefusedCall(error)
            return stub.call(backend, request, details)

        return send

    def _backend(self, address: str) -> Backend:
        return Backend(address, self._make(address), self._settings.balancing)

    def _start(self) -> None:
        """Follow the backends' health, and the name; with one fixed backend there is nothing to follow."""
        if self._started or self._closed:
            return
        self._started = True
        if self._addresses.static:
            self._follow()
        else:
            self._resolving = asyncio.get_running_loop().create_task(self._resolve())

    def _follow(self) -> None:
        for backend in self.balancer.backends:
            if backend not in self._following:
                following = follow_health(backend, clock=self._clock, rng=self._rng)
                self._following[backend] = asyncio.get_running_loop().create_task(following)

    async def _resolve(self) -> None:
        """Keep the backends those that the name stands for."""
        while True:
            try:
                found = await resolve(self._addresses)
            except OSError:
                found = ()
            if found:
                self._moved(found)
            well = found and any(backend.healthy is not False for backend in self.balancer.backends)
            await self._clock.sleep(RESOLVE_EVERY_S if well else RESOLVE_AGAIN_S)

    def _moved(self, found: Sequence[str]) -> None:
        known = {backend.address: backend for backend in self.balancer.backends}
        if set(known) == set(found):
            return
        self.balancer.replace([known.get(address) or self._backend(address) for address in found])
        self._follow()
        for address, backend in known.items():
            if address not in found:
                following = self._following.pop(backend, None)
                if following is not None:
                    following.cancel()
                retiring = asyncio.get_running_loop().create_task(backend.channel.close(RETIRE_S))
                self._retiring.add(retiring)
                retiring.add_done_callback(self._retiring.discard)


_STATES: Final = [
    grpc.ChannelConnectivity.READY,
    grpc.ChannelConnectivity.CONNECTING,
    grpc.ChannelConnectivity.IDLE,
    grpc.ChannelConnectivity.TRANSIENT_FAILURE,
    grpc.ChannelConnectivity.SHUTDOWN,
]
