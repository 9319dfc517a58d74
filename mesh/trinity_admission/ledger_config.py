"""Settings of the ledger and of the collector; both stand in the section of the part that counts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from trinity_admission.ledger_format import SLOTS_MAX


class Durability(StrEnum):
    """What a count outlives."""

    PROCESS = "process"
    """Any death of the process. Not one of the machine."""
    INTERVAL = "interval"
    """The machine's as well, but for the last `sync_ms`."""
    STRICT = "strict"
    """The machine's as well: answers wait until their counts are on the disk, many together."""


@dataclass(frozen=True, slots=True)
class LedgerConfig:
    """The ledger of one process. Raises ValueError, naming the setting, for a wrong one."""

    durability: Durability = Durability.INTERVAL
    """What a count outlives: "process", "interval" or "strict"; see docs/metering.md."""
    sync_ms: int = 100
    """With "interval": time between two writes to the disk."""
    slots_per_file: int = 16_384
    """Counters in one ledger file; a file takes 176 bytes for each, at once."""
    files_max: int = 16
    """Most ledger files that one process holds; what does not fit is refused as LEDGER_FULL."""
    file_hours_max: int = 24
    """After this time a file is followed by a new one, and goes once nothing counts in it any more."""
    spool_mib_max: int = 1_024
    """Most that all ledger files in the spool may take before no new one is made."""

    def __post_init__(self) -> None:
        _between("sync_ms", self.sync_ms, 1, 60_000)
        _between("slots_per_file", self.slots_per_file, 1, SLOTS_MAX)
        _between("files_max", self.files_max, 1, 1_000)
        _between("file_hours_max", self.file_hours_max, 1, 1_000)
        _between("spool_mib_max", self.spool_mib_max, 1, 1_000_000)


@dataclass(frozen=True, slots=True)
class CollectorConfig:
    """The collector of one process. Raises ValueError, naming the setting, for a wrong one."""

    flush_ms: int = 200
    """Time between two looks at the ledger files."""
    lock_ms: int = 1_000
    """How often a process that does not collect tries to become the one that does."""
    batch_max: int = 500
    """Most counters in one message to the usage service."""
    timeout_ms: int = 10_000
    """Longest that one message may take."""
    backoff_ms_max: int = 5_000
    """Longest wait before a message that failed is sent again."""
    resend_s: int = 600
    """How often everything is sent again, changed or not, so that a restored database learns what it lost."""
    readers_max: int = 1_000
    """Most ledger files of the spool that are looked at; the others wait for their turn."""
    keep_days: int = 7
    """How long files that are recorded completely stay in `done`, to be told again to a restored database."""
    keep_mib_max: int = 512
    """Most that the files in `done` may take; the oldest go first."""
    drain_ms: int = 5_000
    """Longest that a process which stops waits until its last counts are recorded."""

    def __post_init__(self) -> None:
        _between("flush_ms", self.flush_ms, 10, 60_000)
        _between("lock_ms", self.lock_ms, 10, 60_000)
        _between("batch_max", self.batch_max, 1, 5_000)
        _between("timeout_ms", self.timeout_ms, 100, 60_000)
        _between("backoff_ms_max", self.backoff_ms_max, 50, 60_000)
        _between("resend_s", self.resend_s, 1, 86_400)
        _between("readers_max", self.readers_max, 1, 10_000)
        _between("keep_days", self.keep_days, 0, 3_650)
        _between("keep_mib_max", self.keep_mib_max, 0, 1_000_000)
        _between("drain_ms", self.drain_ms, 0, 60_000)


def _between(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}; it must lie between {low} and {high}")
