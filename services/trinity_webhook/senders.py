"""How a worker's messages reach their endpoints: signed and posted over HTTPS, or pushed as datagrams."""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from trinity_core.webhook_addresses import AddressPolicy
from trinity_core.webhook_payload import Message
from trinity_core.webhook_retry import Outcome
from trinity_core.webhook_ticks import Item
from trinity_core.webhook_urls import Kind
from trinity_core.webhooks import Delivery, DeliveryClass
from trinity_mesh.clock import Clock
from trinity_webhook.https_sender import HttpsSender
from trinity_webhook.lanes import Lane
from trinity_webhook.sending import Sender, Sent
from trinity_webhook.signing import Signing
from trinity_webhook.udp_sender import UdpSender
from trinity_webhook.worker_config import WebhookWorkerConfig

log = logging.getLogger(__name__)


class Courier(Protocol):
    """What desks hand messages to. Calls MUST end within bounded time and MUST NOT raise for what endpoints do."""

    async def ticks(self, lane: Lane, items: Sequence[Item], message: Message) -> Sent:
        """Make one attempt to tell prices; `message` is the batch rendered."""
        ...

    async def deliver(self, lane: Lane, delivery: Delivery) -> Sent:
        """Make one attempt to deliver."""
        ...

    def follow(self, lanes: Mapping[str, Lane]) -> None:
        """These endpoints are seen to from now on, and no others."""
        ...

    def take_renewed(self) -> Mapping[str, int]:
        """Endpoints that asked to be sent on since the last look, with the unix time of it."""
        ...


class Senders:
    """Courier over the two senders."""

    def __init__(self, *, https: Sender, udp: UdpSender | None, signing: Signing, clock: Clock) -> None:
        """`udp` None: this worker pushes no datagrams."""
        self._https = https
        self._udp = udp
        self._signing = signing
        self._clock = clock
        self._followed: dict[str, Lane] = {}
        self._refused: dict[str, str] = {}

    async def ticks(self, lane: Lane, items: Sequence[Item], message: Message) -> Sent:
        """See Courier."""
        if lane.target.kind is Kind.HTTP:
            return await self._post(lane, message.message, message.body)
        if self._udp is None or lane.endpoint.endpoint in self._refused:
            return self._unable(lane)
        return self._udp.push_ticks(lane.endpoint.endpoint, items)

    async def deliver(self, lane: Lane, delivery: Delivery) -> Sent:
        """See Courier."""
        if lane.target.kind is Kind.HTTP:
            return await self._post(lane, delivery.delivery, delivery.payload)
        name = lane.endpoint.endpoint
        if self._udp is not None and delivery.kind is DeliveryClass.CHALLENGE:
            keys = self._signing.shared_keys(lane.standing.secrets, now_ns=self._clock.unix_ns())
            return await self._udp.challenge(name, lane.target, keys, delivery.delivery, delivery.payload)
        if self._udp is None or name in self._refused:
            return self._unable(lane)
        return await self._udp.push_message(name, delivery.delivery, delivery.payload)

    def follow(self, lanes: Mapping[str, Lane]) -> None:
        """See Courier."""
        for name, lane in self._followed.items():
            now = lanes.get(name)
            if now is None:
                self._forget(name, lane.target.kind)
            elif now.target != lane.target and lane.target.kind is Kind.HTTP:
                self._https.forget(name)
        self._refused = {}
        for name, lane in lanes.items():
            if lane.target.kind is Kind.UDP and self._udp is not None:
                self._hold(name, lane, self._udp)
        self._followed = dict(lanes)

    def take_renewed(self) -> Mapping[str, int]:
        """See Courier."""
        return {} if self._udp is None else self._udp.take_renewed()

    def _hold(self, name: str, lane: Lane, udp: UdpSender) -> None:
        if not lane.is_open:
            udp.forget(name)
            return
        try:
            udp.hold(name, lane.target, self._signing.shared_keys(lane.standing.secrets, now_ns=self._clock.unix_ns()))
        except ValueError as error:
            self._refused[name] = str(error)
            log.warning("%s gets no datagrams: %s", name, error)

    def _forget(self, name: str, kind: Kind) -> None:
        if kind is Kind.HTTP:
            self._https.forget(name)
        elif self._udp is not None:
            self._udp.forget(name)

    def _unable(self, lane: Lane) -> Sent:
        why = self._refused.get(lane.endpoint.endpoint, "this worker pushes no datagrams")
        return Sent(outcome=Outcome.NOT_CONNECTED, error=why)

    async def _post(self, lane: Lane, message: str, body: bytes) -> Sent:
        posting = self._signing.posting(lane.standing.secrets, message, body, now_ns=self._clock.unix_ns())
        return await self._https.post(lane.endpoint.endpoint, lane.target, posting)


Opened = Callable[[WebhookWorkerConfig, AddressPolicy, Signing, Clock], AbstractAsyncContextManager[Courier]]
"""Opens what sends."""


@contextlib.asynccontextmanager
async def opened_senders(
    config: WebhookWorkerConfig, policy: AddressPolicy, signing: Signing, clock: Clock
) -> AsyncIterator[Courier]:
    """Both senders, until the block ends."""
    async with (
        HttpsSender(config.https, policy=policy, clock=clock) as https,
        UdpSender(config.udp, policy=policy, clock=clock, random_bytes=secrets.token_bytes) as udp,
    ):
        yield Senders(https=https, udp=udp, signing=signing, clock=clock)
