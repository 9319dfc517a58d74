"""Valkey behind one seam: a bounded pool, short timeouts, no storms of retries, no foreign exception."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from trinity_core.errors import Reason, TrinityError
from trinity_mesh.clock import Clock
from trinity_mesh.config import ConfigError
from trinity_mesh.telemetry import tracing
from trinity_storage.breaker import Breaker

Word = str | bytes | int
"""One word of a command."""

_SCHEMES: Final = ("redis://", "rediss://", "valkey://", "valkeys://", "unix://")


@dataclass(frozen=True, slots=True, kw_only=True)
class ValkeyConfig:
    """Section `storage.valkey`."""

    url: str = field(default="", repr=False)
    """redis://host:port/0, rediss:// for TLS, or unix:///path; empty: an embedded server."""
    pool_size_max: int = 8
    """Connections of one process at most."""
    timeout_ms: int = 250
    """One call, waiting for a connection included."""
    memory_max_mib: int = 64
    """What an embedded server may hold; the least recently used goes first."""

    def __post_init__(self) -> None:
        if self.url and not self.url.startswith(_SCHEMES):
            raise ValueError(f"valkey.url must begin with one of {', '.join(_SCHEMES)}")
        for name in ("pool_size_max", "timeout_ms", "memory_max_mib"):
            if getattr(self, name) < 1:
                raise ValueError(f"valkey.{name} must be positive")


class Valkey:
    """A pool of connections to one server.

    Valkey is only ever a cache, so a call never waits longer than `timeout_ms`, is never
    repeated here, and while the server cannot be reached fails at once with
    STORE_UNAVAILABLE; attempts to reach it are rare however many callers there are.
    """

    def __init__(self, config: ValkeyConfig, *, url: str, clock: Clock, rng: random.Random | None = None) -> None:
        """`url` is the resolved store's. Nothing is opened yet. Raises ConfigError for a wrong one."""
        self._timeout_s = config.timeout_ms / 1_000
        self._breaker = Breaker(clock=clock, rng=rng or random.Random())  # noqa: S311 - jitter
        self._closed = False
        scheme, _, rest = url.partition("://")
        try:
            pool = redis.asyncio.BlockingConnectionPool.from_url(
                f"{scheme.replace('valkey', 'redis')}://{rest}",
                max_connections=config.pool_size_max,
                timeout=self._timeout_s,
                protocol=2,
                socket_timeout=self._timeout_s,
                socket_connect_timeout=self._timeout_s,
                retry=Retry(NoBackoff(), 0),
            )
        except ValueError as error:
            raise ConfigError(f"valkey.url cannot be used: {error}") from None
        self._client: redis.asyncio.Redis = redis.asyncio.Redis.from_pool(pool)
        # Answers as they come: what a command means is its caller's business.
        self._client.response_callbacks.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def call(self, *command: Word) -> Any:
        """One command: `call("SET", "price:BTC", b"…", "PX", 1000)`. Text comes as bytes, numbers as int, nil as None.

        Raises STORE_UNAVAILABLE, or INTERNAL for a command that the server refuses.
        """
        async with self._guarded():
            return await self._client.execute_command(*command)  # type: ignore[no-untyped-call]

    async def pipeline(self, commands: Sequence[Sequence[Word]], *, atomic: bool = False) -> list[Any]:
        """Several commands in one round trip, their answers in order; `atomic` makes them one transaction.

        Raises as `call` does; with INTERNAL, the other commands may have been done.
        """
        if not commands:
            return []
        async with self._guarded(), self._client.pipeline(transaction=atomic) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            return list(await pipeline.execute())

    async def version(self) -> str:
        """What the server says it is, "9.1.2"; a Valkey's own version, not the Redis one it stands for."""
        info: bytes = await self.call("INFO", "server")
        text = info.decode("utf-8", "replace")
        lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        return str(lines.get("valkey_version") or lines.get("redis_version") or "")

    async def close(self) -> None:
        """Close every connection."""
        self._closed = True
        await self._client.aclose()

    @asynccontextmanager
    async def _guarded(self) -> AsyncIterator[None]:
        if self._closed:
            raise TrinityError(Reason.STORE_UNAVAILABLE, "the cache is closed")
        if wait_ms := self._breaker.wait_ms():
            raise TrinityError(Reason.STORE_UNAVAILABLE, "the cache cannot be reached", retry_after_ms=wait_ms)
        try:
            with tracing.within("valkey"):
                async with asyncio.timeout(self._timeout_s):
                    yield
        except ResponseError as error:
            self._breaker.succeeded()
            raise TrinityError(Reason.INTERNAL, "the cache refused a command") from error
        except (RedisError, OSError) as error:
            self._breaker.failed()
            raise TrinityError(
                Reason.STORE_UNAVAILABLE, "the cache cannot be reached", retry_after_ms=self._breaker.wait_ms()
            ) from error
        self._breaker.succeeded()
