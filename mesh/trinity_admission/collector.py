"""The collector: tells the usage service what the ledgers of this host counted, until every count is in the database.

One process of a host collects for all; when it dies, another takes over. What is sent is absolute,
so that sending it twice, late, in another order, or by two processes at once changes nothing; only
an answer, which comes after the commit, ends the sending.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from pathlib import Path
from typing import Final, Self

from trinity_admission.ledger_config import CollectorConfig
from trinity_admission.recording import Record, Recording
from trinity_admission.spool import Spool
from trinity_core.backoff import Backoff
from trinity_core.errors import Code, TrinityError
from trinity_mesh.clock import Clock

log = logging.getLogger(__name__)

_CLEAN_NS: Final = 3_600_000_000_000
_SECOND_NS: Final = 1_000_000_000
_DRAIN_POLL_S: Final = 0.05


class Collector:
    """The collector of one process.

    `async with Collector(...), Ledger(...) as ledger:` closes the ledger first, and then
    waits, no longer than `drain_ms`, until what it counted is recorded.
    """

    def __init__(
        self, config: CollectorConfig, *, spool: Path, record: Record, clock: Clock, rng: random.Random | None = None
    ) -> None:
        """`rng` makes the jitter of repetitions, so that a seed repeats it."""
        self._config = config
        self._spool = Spool(spool, clock=clock)
        self._record = record
        self._clock = clock
        self._backoff = Backoff(cap_ms=config.backoff_ms_max, rng=rng)
        self._recordings: dict[Path, Recording] = {}
        self._hopeless: set[Path] = set()
        self._cleaned_ns: int | None = None
        self._resent_ns = clock.monotonic_ns()
        self._task: asyncio.Task[None] | None = None
        self._failing = False
        self.leading = False
        """This process collects for all of the host."""
        self.good_ns = clock.monotonic_ns()
        """When the last attempt ended well."""
        self.files_done = 0
        """Files of ended processes that were recorded completely."""
        self.failures = 0
        """Attempts that the usage service did not answer well."""

    @property
    def files(self) -> int:
        """Files that this process reads, because not all that is counted in them need be recorded yet."""
        return len(self._recordings)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Record what ended processes left, this one's ledger included, for at most `drain_ms`, and let go."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        try:
            async with asyncio.timeout(self._config.drain_ms / 1_000):
                # What another process has taken over is that one's to record.
                while not (await self._turn() and self.leading) and self._pending():
                    await self._clock.sleep(_DRAIN_POLL_S)
        except TimeoutError:
            log.warning("stopped with counts that are not recorded yet; whoever collects next records them")
        finally:
            for recording in self._recordings.values():
                recording.close()
            self._recordings.clear()
            self._spool.follow()
            self.leading = False

    async def _run(self) -> None:
        while True:
            good = await self._turn()
            if not self.leading:
                await self._clock.sleep(self._config.lock_ms / 1_000)
            elif good:
                await self._clock.sleep(self._config.flush_ms / 1_000)
            else:
                await self._clock.sleep(max(self._config.flush_ms / 1_000, self._backoff.failed_s()))

    async def _turn(self) -> bool:
        """Collect once, if this process is the one that does; whether nothing went wrong."""
        try:
            self.leading = self._spool.lead()
            if self.leading:
                self._look()
                await self._send()
        except TrinityError as error:
            self._failed(f"the usage service does not take what was counted: {error}")
            return False
        except OSError as error:
            self._failed(f"the spool cannot be used: {error}")
            return False
        except Exception as error:  # whatever it is, counting goes on, and so must this
            if not self._failing:
                log.exception("unforeseen error of the collector")
            self._failed(f"something went wrong: {error!r}")
            return False
        if self._failing:
            log.info("the usage service takes what was counted again")
        self._failing = False
        self.good_ns = self._clock.monotonic_ns()
        self._backoff.succeeded()
        return True

    def _failed(self, what: str) -> None:
        self.failures += 1
        if not self._failing:
            log.warning("%s; nothing is lost, and it is sent again until it is taken", what)
        self._failing = True

    def _pending(self) -> bool:
        """Whether files of ended processes wait for nobody, or for this one."""
        return any(recording.ours for recording in self._recordings.values()) or self._spool.orphans()

    def _look(self) -> None:
        """Find new files, forget those that are gone, and once in a while tell everything again."""
        now_ns = self._clock.monotonic_ns()
        found = self._spool.files()
        for path in self._recordings.keys() - set(found):
            self._recordings.pop(path).close()
        self._hopeless &= set(found)
        for path in found:
            if len(self._recordings) >= self._config.readers_max:
                break
            if path not in self._recordings and path not in self._hopeless:
                self._open(path)
        if now_ns - self._resent_ns >= self._config.resend_s * _SECOND_NS:
            self._resent_ns = now_ns
            for recording in self._recordings.values():
                recording.start_again()
        if self._cleaned_ns is None or now_ns - self._cleaned_ns >= _CLEAN_NS:
            self._cleaned_ns = now_ns
            self._spool.clean(keep_days=self._config.keep_days, keep_mib_max=self._config.keep_mib_max)

    def _open(self, path: Path) -> None:
        """Begin to record a file. One that cannot be read must not hold up the others."""
        try:
            self._recordings[path] = Recording(path, record=self._record, batch_max=self._config.batch_max)
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            # It got its name when it was whole, so this is damage, not a file under way.
            log.error("%s cannot be read, and is put aside: %s", path, error)  # noqa: TRY400 - the text says all
            self._hopeless.add(path)
            with contextlib.suppress(OSError):  # then it stays where it is
                self._spool.put_away(path, self._spool.refused)

    async def _send(self) -> None:
        """Send what changed in every file; put away those of ended processes once all of it is committed."""
        failed: TrinityError | OSError | None = None
        for path, recording in tuple(self._recordings.items()):
            # First whether it has ended, then what it counted: so nothing comes after the last look.
            ended = recording.taken_over()
            try:
                await recording.send()
                if ended:
                    if recording.in_place():
                        self._put_away(path, recording)
                    self._recordings.pop(path).close()
            except TrinityError as error:
                if error.row.code is Code.UNAVAILABLE:
                    raise
                failed = error  # this file's; the others can go on
            except OSError as error:
                failed = error
        if failed is not None:
            raise failed

    def _put_away(self, path: Path, recording: Recording) -> None:
        if recording.empty:
            self._spool.remove(path)
        else:
            self._spool.put_away(path, self._spool.done if recording.complete else self._spool.refused)
        self.files_done += 1
