"""Sends deliveries over HTTPS: one request an attempt, over kept connections, never twice by itself.

Not followed: redirects, proxies of the environment, a name that leads elsewhere by now. A request
that was written is never written again within its attempt, not even where a kept connection turns
out to be closed: the answer says so (`Sent.stale`), and who called decides.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Final, Self

from trinity_core.webhook_addresses import AddressPolicy
from trinity_core.webhook_retry import Outcome, outcome_of, retry_after_s
from trinity_core.webhook_urls import Kind, Target
from trinity_mesh.clock import Clock
from trinity_webhook.connecting import Connector
from trinity_webhook.pool import Pool, Pooled
from trinity_webhook.resolving import Resolver, SystemResolver
from trinity_webhook.sender_config import SenderConfig
from trinity_webhook.sending import Failed, Posting, Sent

_USER_AGENT: Final = "Trinity-Beast-Webhooks/1"
_HEADS_MAX: Final = 4_096
_PLAIN_PORT: Final = {True: 443, False: 80}


class HttpsSender:
    """A Sender for HTTPS. Used as an async context manager; leaving it closes every connection."""

    def __init__(
        self, config: SenderConfig, *, policy: AddressPolicy, clock: Clock, resolver: Resolver | None = None
    ) -> None:
        """`resolver` looks names up; None: the system's. Raises OSError if `ca_file` cannot be read."""
        self._config = config
        self._clock = clock
        self._own = SystemResolver(threads=config.resolver_threads) if resolver is None else None
        self._connector = Connector(config, policy=policy, resolver=resolver or self._own)  # type: ignore[arg-type]
        self._pool = Pool(config, clock=clock)
        self._slots = asyncio.Semaphore(config.in_flight_max)
        self._heads: dict[Target, bytes] = {}
        self._stack = AsyncExitStack()
        self.opened = 0
        """Connections opened."""
        self.reused = 0
        """Attempts that went over a kept connection."""

    async def __aenter__(self) -> Self:
        if self._own is not None:
            await self._stack.enter_async_context(self._own)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._pool.clear()
        await self._stack.aclose()

    @property
    def idle(self) -> int:
        """Connections that wait for a request."""
        return len(self._pool)

    @property
    def dialled(self) -> int:
        """Addresses that a connection was tried to."""
        return self._connector.dialled

    def forget(self, endpoint: str) -> None:
        """As in Sender."""
        self._pool.forget(endpoint)

    async def post(self, endpoint: str, target: Target, posting: Posting) -> Sent:
        """As in Sender."""
        assert target.kind is Kind.HTTP
        request = b"%b%b" % (self._head(target, posting), posting.body)
        async with self._slots:
            began_ns = self._clock.monotonic_ns()
            until = asyncio.get_running_loop().time() + self._config.total_ms / 1_000
            place = (endpoint, target.host, target.port, target.secure)
            pooled = self._pool.take(place)
            reused = pooled is not None
            try:
                if pooled is None:
                    connection = await self._connector.open(target, until=until)
                    self.opened += 1
                    pooled = Pooled(connection, place, began_ns)
                else:
                    self.reused += 1
                answer = await pooled.connection.ask(request, until=until)
            except Failed as failed:
                return Sent(
                    outcome=failed.outcome,
                    status=failed.status,
                    answer=failed.answer,
                    error=failed.error,
                    latency_us=self._since_us(began_ns),
                    reused=reused,
                    stale=failed.stale,
                )
            latency_us = self._since_us(began_ns)
            if answer.keep:
                self._pool.give(pooled, answer.keep_s)
        outcome = outcome_of(answer.status)
        if outcome is Outcome.DELIVERED:
            return Sent(outcome=outcome, status=answer.status, answer=answer.body, latency_us=latency_us, reused=reused)
        return Sent(
            outcome=outcome,
            status=answer.status,
            answer=answer.body,
            error=_said(outcome, answer.status),
            retry_after_s=retry_after_s(answer.retry_after, now_ns=self._clock.unix_ns()),
            latency_us=latency_us,
            reused=reused,
        )

    def _head(self, target: Target, posting: Posting) -> bytes:
        begun = self._heads.get(target)
        if begun is None:
            if len(self._heads) >= _HEADS_MAX:
                self._heads.clear()
            begun = self._heads[target] = _begin(target)
        more = (
            f"content-length: {len(posting.body)}\r\nwebhook-id: {posting.message}\r\n"
            f"webhook-timestamp: {posting.timestamp_s}\r\nwebhook-signature: {posting.signature}"
        ).encode("ascii")
        # Ids and signatures are made here; were one ever not, it must not become another field.
        if more.count(b"\n") != 3:
            raise ValueError("a header field of a delivery has more than one line")
        return b"%b%b\r\n\r\n" % (begun, more)

    def _since_us(self, began_ns: int) -> int:
        return (self._clock.monotonic_ns() - began_ns) // 1_000


def _begin(target: Target) -> bytes:
    host = f"[{target.host}]" if ":" in target.host else target.host
    port = "" if target.port == _PLAIN_PORT[target.secure] else f":{target.port}"
    text = (
        f"POST {target.path} HTTP/1.1\r\nhost: {host}{port}\r\nuser-agent: {_USER_AGENT}\r\n"
        "content-type: application/json\r\naccept: */*\r\n"
    )
    return text.encode("ascii")


def _said(outcome: Outcome, status: int) -> str:
    match outcome:
        case Outcome.REDIRECTED:
            return f"the answer is a redirect ({status}), which is never followed; register the new URL"
        case Outcome.GONE:
            return "the answer is 410: the endpoint wants no more"
    return f"the answer is {status}"
