"""What is counted of an answer, and the hours, days and months it is counted in. All of them are UTC."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import IntEnum
from typing import Final

HOUR_S: Final = 3_600
HOUR_NS: Final = HOUR_S * 1_000_000_000
COUNT_MAX: Final = 9_000_000_000_000_000
"""Greatest figure that one counter may send; see usage.proto."""


class Transport(IntEnum):
    """How a request came; numbers of trinity.account.v1.Transport."""

    HTTP = 1
    UDP = 2
    GRPC = 3


class Outcome(IntEnum):
    """What became of a request; numbers of trinity.usage.v1.Outcome."""

    LOCAL = 1
    CACHE = 2
    LIVE = 3
    SERVED = 4
    REFUSED = 5
    FAILED = 6

    @property
    def billed(self) -> bool:
        """Whether the customer pays for it, and whether it uses up quota."""
        return self <= Outcome.SERVED


@dataclass(frozen=True, slots=True)
class Counted:
    """What one counter counts: answers of one kind to one key in one hour.

    Raises ValueError for what the contract (usage.proto) would refuse.
    """

    key_id: str
    """Public id of the key."""
    hour: int
    """Start of the hour, unix seconds."""
    transport: int
    method: str
    """Short name of what was asked for: "GetPrice"."""
    asset: str
    """Asset id; empty for methods about none or several."""
    outcome: int

    def __post_init__(self) -> None:
        if not (
            _KEY_ID.fullmatch(self.key_id)
            and _METHOD.fullmatch(self.method)
            and _ASSET.fullmatch(self.asset)
            and self.transport in _TRANSPORTS
            and self.outcome in _OUTCOMES
            and 0 <= self.hour <= _UNIX_MAX
            and self.hour % HOUR_S == 0
        ):
            raise ValueError(f"no counter can count this: {self!r}")


def hour_of(unix_ns: int) -> int:
    """Start of the hour that holds a time, unix seconds."""
    return unix_ns // HOUR_NS * HOUR_S


def month_of(unix_ns: int) -> date:
    """First day of the month that holds a time."""
    return datetime.fromtimestamp(unix_ns // 1_000_000_000, UTC).date().replace(day=1)


def next_month(month: date) -> date:
    """First day of the month after the one that begins with `month`."""
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


def previous_month(month: date) -> date:
    """First day of the month before the one that begins with `month`."""
    return date(month.year - (month.month == 1), (month.month - 2) % 12 + 1, 1)


def start_of(day: date) -> datetime:
    """The moment at which a day begins."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


_KEY_ID: Final = re.compile(r"[0-9A-Za-z._-]{1,64}")
_METHOD: Final = re.compile(r"[A-Za-z][A-Za-z0-9]{0,63}")
_ASSET: Final = re.compile(r"[A-Z0-9]{0,16}")
_TRANSPORTS: Final = frozenset(int(each) for each in Transport)
_OUTCOMES: Final = frozenset(int(each) for each in Outcome)
_UNIX_MAX: Final = 253_402_300_799
