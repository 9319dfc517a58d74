"""Ledgers for tests: what stands in a spool, read as anybody would who finds it."""

from __future__ import annotations

import contextlib
import resource
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from trinity_admission.ledger_file import LedgerReader
from trinity_core.usage import HOUR_S

Kind = tuple[str, int, str, str, int]

BTC: Kind = ("key-1", 1, "GetPrice", "BTC", 1)
ETH: Kind = ("key-1", 1, "GetPrice", "ETH", 1)
SOL: Kind = ("key-2", 2, "GetPrice", "SOL", 6)

START_HOUR = 1_790_000_000 // HOUR_S * HOUR_S
"""The hour in which a VirtualClock begins, unix seconds; 800 s of it have passed."""
LEFT_S = HOUR_S - 1_790_000_000 % HOUR_S
"""What is left of it."""


def counted_in(spool: Path) -> Counter[tuple[Kind, int]]:
    """What all files of a spool count together, by kind and hour."""
    sums: Counter[tuple[Kind, int]] = Counter()
    for path in (*spool.glob("*.uctr"), *spool.glob("done/*.uctr")):
        reader = LedgerReader(path)
        for slot, value in reader.changed():
            counted = reader.counted(slot)
            assert counted is not None
            kind = (counted.key_id, counted.transport, counted.method, counted.asset, counted.outcome)
            sums[kind, counted.hour] += value
        reader.close()
    return sums


def is_free(path: Path) -> bool:
    """Whether a file's process has ended or given it up."""
    reader = LedgerReader(path)
    try:
        return reader.orphaned()
    finally:
        reader.close()


def all_free(spool: Path) -> bool:
    """Whether all files of a spool are."""
    return all(map(is_free, spool.glob("*.uctr")))


@contextlib.contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """No file can grow beyond `size` bytes: the nearest to a full disk that needs no rights."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
