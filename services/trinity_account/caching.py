"""Write-behind of keys into the cache, and the way back for a service that starts while the database is away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from itertools import islice
from typing import Final

from trinity_account.board import KeyBoard
from trinity_account.following import Following, first_of
from trinity_core.backoff import Backoff
from trinity_core.errors import TrinityError
from trinity_mesh.clock import Clock
from trinity_storage.account_cache import AccountCache

log = logging.getLogger(__name__)

_AT_ONCE: Final = 500


class KeyCaching:
    """Keeps the copies in the cache as the board is. Nothing ever waits for it."""

    def __init__(
        self,
        *,
        cache: AccountCache,
        board: KeyBoard,
        following: Following,
        clock: Clock,
        flush_ms: int,
        renew_ms: int,
        backoff: Backoff,
    ) -> None:
        """`flush_ms` is the time between two stores, `renew_ms` between two stores of everything."""
        self._cache = cache
        self._board = board
        self._following = following
        self._clock = clock
        self._flush_s = flush_ms / 1_000
        self._renew_ns = renew_ms * 1_000_000
        self._backoff = backoff
        self._waiting: dict[str, None] = {}
        self._drops = False
        self.stored = 0
        """Copies stored since the start."""

    @property
    def waiting(self) -> int:
        """Keys whose newest record is not stored yet; never more than there are keys."""
        return len(self._waiting)

    def changed(self, key_ids: Sequence[str]) -> None:
        """These keys have a new record."""
        for key_id in key_ids:
            self._waiting[key_id] = None

    def renewed(self) -> None:
        """All keys were read from the beginning: copies of others are copies of nothing."""
        self._waiting = {key_id: None for key_id, _ in self._board.records()}
        self._drops = True

    async def run(self) -> None:
        """Fill an empty board while the database is away, then store what changes, for as long as the service runs."""
        following = self._following
        await first_of(asyncio.ensure_future(following.loaded.wait()), asyncio.ensure_future(following.failed.wait()))
        while not following.loaded.is_set() and not await self._fill():
            await self._clock.sleep(self._flush_s)
        await following.loaded.wait()
        renewed_ns = self._clock.monotonic_ns()
        while True:
            await self._flush()
            await self._clock.sleep(self._flush_s)
            if self._clock.monotonic_ns() - renewed_ns > self._renew_ns:
                renewed_ns = self._clock.monotonic_ns()
                self.renewed()

    async def _fill(self) -> bool:
        try:
            copies = await self._cache.load_keys()
        except TrinityError as error:
            log.warning("no copies of keys are to be had: %s", error.message)
            return False
        if not self._following.loaded.is_set():
            self._board.begin_with_copies(copies.items())
            log.warning("the database is away: %d keys are known from copies", len(copies))
        return True

    async def _flush(self) -> None:
        try:
            await self._drop()
            while names := list(islice(self._waiting, _AT_ONCE)):
                await self._store(names)
        except TrinityError as error:
            if self._backoff.failures == 0:
                log.warning("keys are not copied for now: %s", error.message)
            await self._clock.sleep(self._backoff.failed_s())
            return
        if self._backoff.failures:
            log.info("keys are copied again")
        self._backoff.succeeded()

    async def _drop(self) -> None:
        if not self._drops:
            return
        self._drops = False
        try:
            await self._cache.drop_keys(lambda key_id: self._board.record(key_id) is not None)
        except TrinityError:
            self._drops = True
            raise

    async def _store(self, names: Sequence[str]) -> None:
        for name in names:
            del self._waiting[name]
        records = {name: record for name in names if (record := self._board.record(name)) is not None}
        try:
            await self._cache.store_keys(records)
        except TrinityError:
            self.changed(names)
            raise
        self.stored += len(records)
