"""Pushes datagrams to UDP endpoints: prices while they renew, messages until they are confirmed.

Nothing but heartbeats and challenges goes to an address that has not renewed within 60 s; see
`trinity_core.webhook_flow`. A message is sent up to three times under one id until it is
confirmed: datagrams get lost, and receivers tell a repetition by its id.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final, Self

from trinity_core.webhook_addresses import Address, AddressPolicy
from trinity_core.webhook_datagram import REPLY_LABEL, Datagram, beat, is_genuine, message, read, ticks
from trinity_core.webhook_flow import Flow
from trinity_core.webhook_retry import Outcome
from trinity_core.webhook_ticks import Item
from trinity_core.webhook_urls import Kind, Target
from trinity_mesh.clock import Clock
from trinity_webhook.datagram_socket import DatagramSocket, Peer
from trinity_webhook.resolving import Resolver, SystemResolver, checked_addresses
from trinity_webhook.sending import Failed, Sent
from trinity_webhook.udp_config import UdpSenderConfig

_S: Final = 10**9
_MS: Final = 10**6
_TURN_S: Final = 0.25
_REPEATS: Final = (0.0, 0.15, 0.5)
"""When a message is sent, as parts of the time that it waits to be confirmed."""
_RESOLVED_AT_ONCE: Final = 8
_THREADS: Final = 4
_RESOLVE_S: Final = 5.0


@dataclass(slots=True)
class _Held:
    """An endpoint whose flow runs, or may."""

    target: Target
    keys: tuple[bytes, ...] = field(repr=False)
    resolved_ns: int | None = None
    peer: Peer | None = None
    flow: Flow | None = None
    why: Failed | None = None
    """Why there is no address."""


@dataclass(slots=True)
class _Waiting:
    """A message that is not confirmed yet."""

    peer: Peer
    run: str
    number: int
    keys: tuple[bytes, ...] = field(repr=False)
    confirmed: asyncio.Future[str] = field(repr=False)


class UdpSender:
    """Pushes datagrams. Used as an async context manager; `hold` an endpoint first."""

    def __init__(
        self,
        config: UdpSenderConfig,
        *,
        policy: AddressPolicy,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        resolver: Resolver | None = None,
    ) -> None:
        """`random_bytes` must be cryptographically strong; `resolver` looks names up, None: the system's."""
        self._config = config
        self._policy = policy
        self._clock = clock
        self._random_bytes = random_bytes
        self._own = SystemResolver(threads=_THREADS) if resolver is None else None
        self._resolver: Resolver = resolver or self._own  # type: ignore[assignment] # one of the two is there
        self._socket = DatagramSocket(self._heard, buffer_bytes_max=config.buffer_bytes_max)
        self._held: dict[str, _Held] = {}
        self._waiting: dict[tuple[str, str], _Waiting] = {}
        self._renewed: dict[str, int] = {}
        self._resolving = asyncio.Semaphore(_RESOLVED_AT_ONCE)
        self._stack = AsyncExitStack()
        self.dropped: Counter[str] = Counter()
        """Replies that were not taken, by why."""
        self.sent = 0
        """Datagrams sent."""

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            if self._own is not None:
                await stack.enter_async_context(self._own)
            await stack.enter_async_context(self._socket)
            turning = asyncio.create_task(self._turn_for_ever(), name="webhook heartbeats")

            async def end() -> None:
                turning.cancel()
                await asyncio.gather(turning, return_exceptions=True)

            stack.push_async_callback(end)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    def hold(self, endpoint: str, target: Target, keys: Sequence[bytes]) -> None:
        """Begin heartbeats to an active endpoint, or change its target or keys: `v1` secrets, newest first.

        Raises ValueError when there are too many, or no key.
        """
        assert target.kind is Kind.UDP
        if not keys:
            raise ValueError("datagrams need a v1 secret")
        held = self._held.get(endpoint)
        if held is not None and held.target == target:
            held.keys = tuple(keys)
            return
        if held is None and len(self._held) >= self._config.flows_max:
            raise ValueError(f"{self._config.flows_max} UDP endpoints are held already")
        self._held[endpoint] = _Held(target, tuple(keys))

    def forget(self, endpoint: str) -> None:
        """End the flow to an endpoint."""
        self._held.pop(endpoint, None)
        self._renewed.pop(endpoint, None)

    def is_live(self, endpoint: str) -> bool:
        """Whether an endpoint has renewed and may be sent to."""
        held = self._held.get(endpoint)
        return held is not None and held.flow is not None and held.flow.is_live(self._clock.monotonic_ns())

    def take_renewed(self) -> dict[str, int]:
        """Endpoints that renewed since the last look, with the unix nanoseconds of it."""
        found, self._renewed = self._renewed, {}
        return found

    def push_ticks(self, endpoint: str, items: Sequence[Item]) -> Sent:
        """Send prices to an endpoint that renews; nobody confirms them."""
        held = self._held[endpoint]
        if held.flow is None or held.peer is None or not held.flow.is_live(self._clock.monotonic_ns()):
            return self._not_live(held)
        for data in ticks(items, held.flow.heads(self._unix_s()), held.keys):
            if not self._send(data, held.peer):
                return Sent(outcome=Outcome.NOT_CONNECTED, error="the network takes no more datagrams")
        return Sent(outcome=Outcome.DELIVERED)

    async def push_message(self, endpoint: str, message_id: str, body: bytes) -> Sent:
        """Send a message to an endpoint that renews, until it is confirmed."""
        held = self._held[endpoint]
        if held.flow is None or held.peer is None or not held.flow.is_live(self._clock.monotonic_ns()):
            return self._not_live(held)
        return await self._confirmed(held.flow, held.peer, held.keys, message_id, body)

    async def challenge(
        self, endpoint: str, target: Target, keys: Sequence[bytes], message_id: str, body: bytes
    ) -> Sent:
        """Send a challenge to an address that has proved nothing yet; `challenge_answer` finds the answer."""
        began_ns = self._clock.monotonic_ns()
        try:
            addresses = await self._addresses(target)
        except Failed as failed:
            return Sent(outcome=failed.outcome, error=failed.error, latency_us=self._since_us(began_ns))
        flow = Flow(endpoint, random_bytes=self._random_bytes)
        return await self._confirmed(flow, (addresses[0], target.port), tuple(keys), message_id, body)

    async def _confirmed(self, flow: Flow, peer: Peer, keys: tuple[bytes, ...], message_id: str, body: bytes) -> Sent:
        began_ns = self._clock.monotonic_ns()
        place = (flow.endpoint, message_id)
        if place in self._waiting or len(self._waiting) >= self._config.waiting_max:
            return Sent(outcome=Outcome.NOT_CONNECTED, error="too many messages wait to be confirmed")
        head = flow.head(self._unix_s())
        try:
            data = message(head, message_id, body, keys)
        except ValueError as error:
            return Sent(outcome=Outcome.NOT_CONNECTED, error=str(error))
        loop = asyncio.get_running_loop()
        confirmed: asyncio.Future[str] = loop.create_future()
        self._waiting[place] = _Waiting(peer, head.run, head.number, keys, confirmed)
        wait_s = self._config.receipt_ms / 1_000
        timers = [loop.call_later(part * wait_s, self._send, data, peer) for part in _REPEATS[1:]]
        try:
            self._send(data, peer)
            async with asyncio.timeout(wait_s):
                answer = await confirmed
        except TimeoutError:
            return Sent(
                outcome=Outcome.NO_RECEIPT,
                error="nobody confirmed the datagram",
                latency_us=self._since_us(began_ns),
            )
        finally:
            for timer in timers:
                timer.cancel()
            del self._waiting[place]
        return Sent(outcome=Outcome.DELIVERED, answer=answer.encode("ascii"), latency_us=self._since_us(began_ns))

    def _not_live(self, held: _Held) -> Sent:
        if held.why is not None:
            return Sent(outcome=held.why.outcome, error=held.why.error)
        return Sent(
            outcome=Outcome.NO_RECEIPT,
            error="the endpoint has not renewed within 60 s; answer heartbeats with RENEW",
        )

    def _send(self, data: bytes, peer: Peer) -> bool:
        done = self._socket.send(data, peer)
        self.sent += done
        return done

    # Replies.

    def _heard(self, data: bytes, peer: Peer) -> None:
        """A reply. It counts only from the very address that was asked, with a MAC by one of the endpoint's keys."""
        datagram = read(data)
        if datagram is None or datagram.word not in ("RENEW", "ACK"):
            self.dropped["malformed"] += 1
            return
        if datagram.word == "ACK":
            self._confirm(datagram, peer)
            return
        held = self._held.get(datagram.marks["e"])
        if held is None or held.flow is None or held.peer != peer or held.flow.run != datagram.marks["r"]:
            self.dropped["stranger"] += 1
        elif not is_genuine(datagram, REPLY_LABEL, held.keys):
            self.dropped["mac"] += 1
        elif not held.flow.renew(datagram.marks["k"], self._clock.monotonic_ns()):
            self.dropped["token"] += 1
        else:
            self._renewed[datagram.marks["e"]] = self._clock.unix_ns()

    def _confirm(self, datagram: Datagram, peer: Peer) -> None:
        waiting = self._waiting.get((datagram.marks["e"], datagram.marks["i"]))
        if waiting is None or waiting.peer != peer or waiting.run != datagram.marks["r"]:
            self.dropped["stranger"] += 1
        elif waiting.number != datagram.number("n"):
            self.dropped["late"] += 1
        elif not is_genuine(datagram, REPLY_LABEL, waiting.keys):
            self.dropped["mac"] += 1
        elif not waiting.confirmed.done():
            waiting.confirmed.set_result(datagram.marks.get("a", ""))

    # Heartbeats.

    async def _turn_for_ever(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                self.turn(group)
                await self._clock.sleep(_TURN_S)

    def turn(self, group: asyncio.TaskGroup) -> None:
        """Send the heartbeats that are due and resolve the names whose time has come."""
        now_ns = self._clock.monotonic_ns()
        for endpoint, held in self._held.items():
            if held.resolved_ns is None or now_ns - held.resolved_ns >= self._config.resolve_ms * _MS:
                held.resolved_ns = now_ns
                group.create_task(self._resolve(endpoint, held))
            flow = held.flow
            if flow is None or held.peer is None or now_ns < flow.beat_due_ns(now_ns):
                continue
            token = flow.beat(now_ns)
            self._send(beat(flow.head(self._unix_s()), token, held.keys), held.peer)

    async def _resolve(self, endpoint: str, held: _Held) -> None:
        """Find the endpoint's address; where it is another than before, a new flow begins, which nobody has renewed."""
        try:
            addresses = await self._addresses(held.target)
        except Failed as failed:
            if failed.outcome is Outcome.ADDRESS_REFUSED or held.peer is None:
                held.why, held.peer, held.flow = failed, None, None
            return
        held.why = None
        if held.peer is not None and held.peer[0] in addresses:
            return
        held.peer = addresses[0], held.target.port
        held.flow = Flow(endpoint, random_bytes=self._random_bytes)

    async def _addresses(self, target: Target) -> list[Address]:
        async with self._resolving:
            try:
                async with asyncio.timeout(_RESOLVE_S):
                    return await checked_addresses(target, policy=self._policy, resolver=self._resolver)
            except TimeoutError:
                raise Failed(Outcome.NOT_CONNECTED, "the name could not be resolved in time") from None

    def _unix_s(self) -> int:
        return self._clock.unix_ns() // _S

    def _since_us(self, began_ns: int) -> int:
        return (self._clock.monotonic_ns() - began_ns) // 1_000
