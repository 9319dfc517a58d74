"""Streams of keys: a snapshot or what changed since, then changes as they come, and a sign of life besides.

A stream goes by the board's order. What changes while a slow caller takes a batch is folded
into the next; its backlog is never more than one record a key.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Final

from trinity_account.board import KeyBoard
from trinity_account.encoding import batch
from trinity_account.following import Following, first_of
from trinity_core.errors import Reason, TrinityError
from trinity_mesh.clock import Clock

_OPENING_S: Final = 5.0


class Watching:
    """Opens streams on one board."""

    def __init__(
        self,
        *,
        board: KeyBoard,
        following: Following,
        clock: Clock,
        heartbeat_ms: int,
        streams_max: int,
        batch_keys_max: int,
    ) -> None:
        """`heartbeat_ms` is the longest silence, `batch_keys_max` the most keys in one batch."""
        self._board = board
        self._following = following
        self._clock = clock
        self._heartbeat_s = heartbeat_ms / 1_000
        self._streams_max = streams_max
        self._batch_keys_max = batch_keys_max
        self._woken: asyncio.Future[None] | None = None
        self._closed = False
        self.streams = 0
        """Streams open now."""

    def changed(self) -> None:
        """The board has something new."""
        woken, self._woken = self._woken, None
        if woken is not None:
            woken.set_result(None)

    def close(self) -> None:
        """End every stream with UNAVAILABLE (STOPPING)."""
        self._closed = True
        self.changed()

    async def stream(self, resume_version: int) -> AsyncIterator[bytes]:
        """Iterate over one caller's batches, serialised.

        A stream whose board is old ends with STORE_UNAVAILABLE, so that its replica knows that it
        may be old too. Who has nothing (`resume_version` 0) is given what is known all the same,
        before that. Raises TrinityError: that, TOO_MANY_STREAMS, or STOPPING when the service stops.
        """
        self._check_open()
        if self.streams >= self._streams_max:
            raise TrinityError(
                Reason.TOO_MANY_STREAMS,
                f"{self._streams_max} key streams are open already; close one or try again later",
                retry_after_ms=1_000,
            )
        self.streams += 1
        try:
            await self._opened(resume_version)
            board = self._board
            changes = board.since(resume_version) if resume_version else None
            order, version = board.order, board.version
            if changes is None:
                for data in self._cut(board.valid(self._clock.unix_ns()), version, version, snapshot=True):
                    yield data
            else:
                for data in self._cut(changes, resume_version, version):
                    yield data
            while True:
                self._check_open()
                self._check_current()
                if board.order == order and board.version == version and not await self._is_woken():
                    yield batch([], version=version)
                    continue
                changes, before = board.after(order), version
                order, version = board.order, board.version
                if changes or version != before:
                    for data in self._cut(changes, before, version):
                        yield data
        finally:
            self.streams -= 1

    async def _opened(self, resume_version: int) -> None:
        """Return once there is something true to begin with. Raises STORE_UNAVAILABLE where there is nothing."""
        following = self._following
        if not following.loaded.is_set():
            await first_of(
                asyncio.ensure_future(following.loaded.wait()),
                asyncio.ensure_future(following.failed.wait()),
                asyncio.ensure_future(self._clock.sleep(_OPENING_S)),
            )
        if resume_version > self._board.version and following.is_current:
            # The caller comes from a service that is ahead of this one, by a moment.
            await following.look()
        if resume_version or not following.is_better_than_none:
            self._check_current()

    def _cut(self, records: list[bytes], before: int, version: int, *, snapshot: bool = False) -> Iterator[bytes]:
        """Batches of bounded size; only the last says that everything up to `version` was sent."""
        most = self._batch_keys_max
        for start in range(0, max(1, len(records)), most):
            is_last = start + most >= len(records)
            yield batch(
                records[start : start + most],
                version=version if is_last else before,
                snapshot=snapshot,
                complete=snapshot and is_last,
            )

    async def _is_woken(self) -> bool:
        """Wait for something new, but no longer than a heartbeat; False when only that has passed."""
        if self._woken is None:
            self._woken = asyncio.get_running_loop().create_future()
        woken = self._woken
        pause = asyncio.ensure_future(self._clock.sleep(self._heartbeat_s))
        try:
            await asyncio.wait((woken, pause), return_when=asyncio.FIRST_COMPLETED)
        finally:
            pause.cancel()
        return woken.done()

    def _check_open(self) -> None:
        if self._closed:
            raise TrinityError(
                Reason.STOPPING, "the account service is stopping; open the stream again", retry_after_ms=500
            )

    def _check_current(self) -> None:
        if not self._following.is_current:
            raise TrinityError(
                Reason.STORE_UNAVAILABLE,
                "the database has been silent for too long to say that nothing has changed",
                retry_after_ms=1_000,
            )
