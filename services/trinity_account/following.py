"""Keeps the board true to the database: reads what changed when it is announced, and asks now and then besides."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from trinity_account.board import Encoded, KeyBoard, encoded
from trinity_core.accounts import AccountRepo
from trinity_core.errors import TrinityError
from trinity_mesh.clock import Clock

log = logging.getLogger(__name__)

_PAGE: Final = 250
_PRUNE_NS: Final = 60 * 10**9


class Following:
    """The one writer of a board."""

    def __init__(
        self,
        *,
        repo: AccountRepo,
        board: KeyBoard,
        clock: Clock,
        poll_ms: int,
        gather_ms: int,
        silence_ms: int,
        copies_ms: int,
        changed: Callable[[Sequence[str]], None],
        renewed: Callable[[], None],
    ) -> None:
        """`changed` hears of keys that have something new, `renewed` that all keys were read from the beginning.

        Args:
            repo: the truth.
            board: what is kept true to it.
            clock: times.
            poll_ms: longest time between two looks at the database.
            gather_ms: how long announcements are gathered before a look.
            silence_ms: how long the database may be silent before the board counts as old.
            copies_ms: how long an old board, or one made of copies, is better than none.
            changed: called after the board has the changes.
            renewed: likewise.
        """
        self._repo = repo
        self._board = board
        self._clock = clock
        self._poll_s = poll_ms / 1_000
        self._gather_s = gather_ms / 1_000
        self._silence_ns = silence_ms * 1_000_000
        self._copies_ns = copies_ms * 1_000_000
        self._changed = changed
        self._renewed = renewed
        self._wake = asyncio.Event()
        self._looking = asyncio.Lock()
        self._version = 0
        self._plans_version = 0
        self._plans_changed = asyncio.Event()
        self._life = 0
        self._began_ns = clock.monotonic_ns()
        self._confirmed_ns: int | None = None
        self._pruned_ns = clock.monotonic_ns()
        self.loaded = asyncio.Event()
        """The board has had all keys once."""
        self.failed = asyncio.Event()
        """A look at the database has failed."""
        self.failures = 0
        """Looks at the database that failed in a row."""

    @property
    def is_current(self) -> bool:
        """Whether the board was true not longer than `silence_ms` ago."""
        return self._confirmed_ns is not None and self._clock.monotonic_ns() - self._confirmed_ns <= self._silence_ns

    @property
    def is_better_than_none(self) -> bool:
        """Whether who has no keys at all should take what is on the board."""
        since_ns = self._began_ns if self._confirmed_ns is None else self._confirmed_ns
        return len(self._board) > 0 and self._clock.monotonic_ns() - since_ns <= self._copies_ns

    def wake(self) -> None:
        """Something has changed, or may have."""
        self._wake.set()

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_plans())
            while True:
                self._wake.clear()
                try:
                    await self.look()
                except TrinityError as error:
                    if self.failures == 1:
                        log.warning("changes of accounts are not seen for now: %s", error.message)
                await self._pause()

    async def look(self) -> None:
        """Read what is new, once. Raises TrinityError when the database does not answer."""
        async with self._looking:
            began_ns = self._clock.monotonic_ns()
            try:
                await self._read()
            except TrinityError:
                self.failures += 1
                self.failed.set()
                raise
            if self.failures:
                log.info("changes of accounts are seen again")
            self.failures = 0
            self._confirmed_ns = began_ns
            self.loaded.set()
            if began_ns - self._pruned_ns > _PRUNE_NS:
                self._pruned_ns = began_ns
                self._board.prune(self._clock.unix_ns())

    async def _read(self) -> None:
        version = await self._repo.version()
        if version == self._version:
            return
        # Nothing is known yet, or the database was set back: then only what is there now counts.
        anew = not self._version or version < self._version
        reading: list[Encoded] = []
        version = await self._repo.read_records(
            since=0 if anew else self._version,
            now_ns=self._clock.unix_ns(),
            take=lambda part: reading.extend(encoded(part)),
        )
        if anew:
            self._life += 1
            self._version = self._plans_version = version
            self._board.begin_anew(reading, version)
            self._renewed()
            return
        page = await self._plan_page("")
        self._version = version
        if page:
            # A plan can have very many keys: others must not wait until all are read.
            self._plans_changed.set()
        else:
            self._plans_version = version
        changed = self._board.apply([*reading, *page])
        self._board.confirm(min(version, self._plans_version))
        self._changed(changed)

    async def _follow_plans(self) -> None:
        while True:
            await self._plans_changed.wait()
            self._plans_changed.clear()
            try:
                await self._read_plans()
            except TrinityError:
                # `look` tells of it, and of the end of it.
                self._plans_changed.set()
                await self._clock.sleep(self._poll_s)

    async def _read_plans(self) -> None:
        """Read the keys of plans that changed, page by page, each as it is by now."""
        life, version, after = self._life, self._version, ""
        while page := await self._plan_page(after):
            if life != self._life:
                return
            after = page[-1].key_id
            self._changed(self._board.apply(page))
        if life == self._life:
            self._plans_version = version
            self._board.confirm(min(self._version, version))
            self._changed(())

    async def _plan_page(self, after: str) -> list[Encoded]:
        return encoded(
            await self._repo.read_plan_records(
                since=self._plans_version, now_ns=self._clock.unix_ns(), after=after, limit=_PAGE
            )
        )

    async def _pause(self) -> None:
        woken = asyncio.ensure_future(self._wake.wait())
        await first_of(woken, asyncio.ensure_future(self._clock.sleep(self._poll_s)))
        if self._wake.is_set() and self._gather_s:
            await self._clock.sleep(self._gather_s)


async def first_of(*waits: asyncio.Future[Any]) -> None:
    """Return when one of some futures is done; the others are cancelled."""
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
