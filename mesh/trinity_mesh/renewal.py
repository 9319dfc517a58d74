"""Certificates that are read again when their files change, and whose end is told ahead in the log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Self

from trinity_mesh.certificates import Certificates, Files, moment, read_certificates
from trinity_mesh.clock import Clock
from trinity_mesh.config import ConfigError

log = logging.getLogger(__name__)

_HALVINGS_MAX: Final = 12
"""The end of a certificate is told when it comes near, at half of that time, at a quarter …, so often at most."""
_H_NS: Final = 3_600_000_000_000


class Renewal:
    """The certificates of one set of files. `async with` looks after them; `check` does so once."""

    def __init__(
        self,
        files: Files,
        *,
        clock: Clock,
        check_ms: int,
        warn_h: int,
        judge: Callable[[Certificates], None] = lambda _: None,
    ) -> None:
        """Read for the first time.

        Args:
            files: where they are.
            clock: the machine's.
            check_ms: time between two looks.
            warn_h: hours before the end when the log begins to tell of it.
            judge: raises ConfigError for certificates that are good but not for this part.

        Raises ConfigError as `read_certificates` and `judge` do. Later such files are told in the log, and what was
        read before stays in use.
        """
        self._files = files
        self._clock = clock
        self._check_s = check_ms / 1_000
        self._warn_ns = warn_h * _H_NS
        self._judge = judge
        self._seen = self._signature()
        self._told = 0
        self.current = self._read()
        """What is used for new connections."""
        self.generation = 1
        """Grows when `current` is another."""
        self._looking: asyncio.Task[None] | None = None
        self._warn()

    async def __aenter__(self) -> Self:
        self._looking = asyncio.create_task(self._look())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    def check(self) -> None:
        """Look whether the files have changed, and read them again if so; tell of an end that is near."""
        seen = self._signature()
        if seen != self._seen:
            self._seen = seen
            try:
                self.current = self._read()
            except ConfigError as error:
                # Both files of a pair are seldom replaced at one instant: the next look may find them whole.
                log.error("the new certificate is not used, the one before it is: %s", error)  # noqa: TRY400 - it says what to do
            else:
                self.generation += 1
                self._told = 0
                log.info("the certificate was renewed; it ends on %s", moment(self.current.ends_ns))
        self._warn()

    def _read(self) -> Certificates:
        found = read_certificates(self._files, now_ns=self._clock.unix_ns())
        self._judge(found)
        return found

    async def _look(self) -> None:
        while True:
            await self._clock.sleep(self._check_s)
            try:
                self.check()
            except Exception:
                # Whatever a file may hold: to look no more would be worse.
                log.exception("certificates: unforeseen error")

    def _signature(self) -> tuple[object, ...]:
        """What changes when a file is written or replaced."""
        found: list[object] = []
        for path in self._files.all:
            try:
                stat = path.stat()
            except OSError:
                found.append(None)
            else:
                found.append((stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_mode))
        return tuple(found)

    def _warn(self) -> None:
        """Tell of the end once it is near, and again each time that half of what was left has gone."""
        left_ns = self.current.ends_ns - self._clock.unix_ns()
        near = 0
        while near <= _HALVINGS_MAX and left_ns <= self._warn_ns >> near:
            near += 1
        if near <= self._told:
            return
        self._told = near
        told = (self._files.cert, self.current.ends_first, moment(self.current.ends_ns))
        if left_ns <= 0:
            log.error("the certificate %s is over: %s ended on %s; new connections fail until it is renewed", *told)
        else:
            log.warning("the certificate %s must be renewed: %s ends on %s", *told)
