"""Prices in Valkey: one key an asset, `price:<ASSET>`, set in one pipeline, gone after its time to live.

Commands used: SET with PX, GET, PTTL, MULTI, EXEC; all of Redis 2.6 and later.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from trinity_core.errors import Reason, TrinityError
from trinity_core.price_mirror import VALUE_BYTES_MAX, MirroredPrice

KEY_PREFIX: Final = "price:"


class ValkeyPriceMirror:
    """PriceMirror on a server that speaks RESP."""

    def __init__(self, *, url: str, ttl_ms: int, timeout_ms: int, connections_max: int = 4) -> None:
        """Nothing is opened yet.

        Args:
            url: "redis://host:port/0", "rediss://…" or "unix:///path".
            ttl_ms: how long a value lives.
            timeout_ms: bound of each call, connecting included.
            connections_max: most connections; a call beyond them fails at once.
        """
        self._ttl_ms = ttl_ms
        self._timeout_s = timeout_ms / 1_000
        self._closed = False
        self._client: redis.asyncio.Redis = redis.asyncio.Redis.from_url(
            url,
            protocol=2,
            socket_timeout=self._timeout_s,
            socket_connect_timeout=self._timeout_s,
            retry=Retry(NoBackoff(), 0),
            max_connections=connections_max,
        )

    async def store(self, values: Mapping[str, bytes]) -> None:
        """See PriceMirror."""
        async with self._renamed("store prices"), self._client.pipeline(transaction=False) as pipeline:
            for asset, value in values.items():
                if len(value) <= VALUE_BYTES_MAX:
                    pipeline.set(f"{KEY_PREFIX}{asset}", value, px=self._ttl_ms)
            if len(pipeline):
                await pipeline.execute()

    async def load(self, assets: Sequence[str]) -> Mapping[str, MirroredPrice]:
        """See PriceMirror. What has no time to live is not ours and counts as absent."""
        # One transaction: a value set between GET and PTTL would lend its age to the older one.
        async with self._renamed("load prices"), self._client.pipeline(transaction=True) as pipeline:
            for asset in assets:
                pipeline.get(f"{KEY_PREFIX}{asset}")
                pipeline.pttl(f"{KEY_PREFIX}{asset}")
            answers: list[Any] = await pipeline.execute() if len(pipeline) else []
        found = {}
        for asset, value, left_ms in zip(assets, answers[::2], answers[1::2], strict=True):
            if value is not None and 0 <= left_ms <= self._ttl_ms and len(value) <= VALUE_BYTES_MAX:
                # PTTL is rounded to the nearer millisecond: one more keeps the age from being told too small.
                found[asset] = MirroredPrice(bytes(value), self._ttl_ms - left_ms + 1)
        return found

    async def close(self) -> None:
        """See PriceMirror."""
        self._closed = True
        await self._client.aclose()

    @asynccontextmanager
    async def _renamed(self, what: str) -> AsyncIterator[None]:
        if self._closed:
            raise TrinityError(Reason.STORE_UNAVAILABLE, f"cannot {what}: the mirror is closed")
        try:
            async with asyncio.timeout(self._timeout_s):
                yield
        except TimeoutError as error:
            raise TrinityError(
                Reason.STORE_UNAVAILABLE, f"cannot {what}: no answer within {self._timeout_s:g} s"
            ) from error
        except (RedisError, OSError) as error:
            raise TrinityError(Reason.STORE_UNAVAILABLE, f"cannot {what}: {type(error).__name__}") from error
