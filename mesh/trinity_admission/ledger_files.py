"""The ledger files of one process: the one that gives out slots, the next one, and those before."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from typing import Final

from trinity_admission.ledger_config import LedgerConfig
from trinity_admission.ledger_file import LedgerFile
from trinity_admission.ledger_format import SUFFIX, Layout
from trinity_core.errors import Reason, TrinityError
from trinity_core.usage import HOUR_NS
from trinity_mesh.clock import Clock

log = logging.getLogger(__name__)

AGAIN_NS: Final = 1_000_000_000
"""How long a refused attempt to make a file stands for those after it."""


class LedgerFiles:
    """Makes files as they are needed, within bounds, and gives them up. Methods that may wait for the disk say so."""

    def __init__(self, config: LedgerConfig, *, spool: Path, clock: Clock) -> None:
        """Nothing is written yet."""
        self._config = config
        self._spool = spool
        self._clock = clock
        self._names = count()
        self._name = f"{clock.unix_ns() // 1_000_000_000:x}-{secrets.token_hex(8)}"
        self._current_since_ns = 0
        self._spare: LedgerFile | None = None
        self._refused_until_ns = 0
        self.current: LedgerFile | None = None
        """Gives out slots."""
        self.held: list[LedgerFile] = []
        """Those in which something may be counted, `current` included."""
        self.refused = 0
        """How often there was no room."""

    def room(self) -> LedgerFile:
        """A file with a free slot; waits for the disk only where no spare one is ready.

        Raises TrinityError LEDGER_FULL.
        """
        if self.current is not None and not self.current.full:
            return self.current
        if self._spare is None:
            if self._clock.monotonic_ns() < self._refused_until_ns:
                self.refused += 1
                raise full()
            self._spare = self.make()
        return self._begin(self._spare)

    def wants_spare(self) -> bool:
        """Whether the next file should be made soon."""
        file = self.current
        return (
            self._spare is None
            and (file is None or file.used * 4 >= file.layout.slots * 3 or self._current_is_old())
            and self._clock.monotonic_ns() >= self._refused_until_ns
        )

    def make(self) -> LedgerFile:
        """Make a file, in any thread; waits for the disk. Raises TrinityError LEDGER_FULL, and logs why."""
        layout = Layout(f"{self._name}-{next(self._names)}", self._config.slots_per_file, self._clock.unix_ns())
        try:
            self._spool.mkdir(mode=0o700, parents=True, exist_ok=True)
            taken = sum(map(_size, self._spool.glob(f"*{SUFFIX}")))
            if len(self.held) >= self._config.files_max:
                why = f"this process has {self._config.files_max} ledger files"
            elif taken + layout.file_bytes > self._config.spool_mib_max << 20:
                why = f"the ledger files in {self._spool} take {taken >> 20} MiB"
            else:
                return LedgerFile.create(self._spool, layout)
        except OSError as error:
            why = f"{self._spool}: {error.strerror or error}"
        self.refused += 1
        self._refused_until_ns = self._clock.monotonic_ns() + AGAIN_NS
        log.error("no room for another ledger file, so nothing new can be counted: %s", why)
        raise full()

    def take_spare(self, file: LedgerFile) -> LedgerFile | None:
        """Have `file` ready for when the current one is full or old; it, if one is ready already, to be closed."""
        if self._spare is not None:
            return file
        self._spare = file
        if self.current is None or self._current_is_old():
            self._begin(file)
        return None

    def all(self) -> Iterable[LedgerFile]:
        """Every open file, the spare one included."""
        return (*self.held, *(() if self._spare is None else (self._spare,)))

    def _begin(self, file: LedgerFile) -> LedgerFile:
        self._spare = None
        self.current = file
        self._current_since_ns = self._clock.monotonic_ns()
        self.held.append(file)
        return file

    def _current_is_old(self) -> bool:
        age_ns = self._clock.monotonic_ns() - self._current_since_ns
        return self.current is not None and self.current.used > 0 and age_ns >= self._config.file_hours_max * HOUR_NS


def full() -> TrinityError:
    """What is said where there is no room to count."""
    return TrinityError(
        Reason.LEDGER_FULL, "usage cannot be counted now, so nothing is answered; try again", retry_after_ms=1_000
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # recorded meanwhile
        return 0
