"""Unix nanoseconds to and from what timestamptz holds: whole microseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, overload

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


@overload
def to_moment(unix_ns: int) -> datetime: ...
@overload
def to_moment(unix_ns: None) -> None: ...
@overload
def to_moment(unix_ns: int | None) -> datetime | None: ...
def to_moment(unix_ns: int | None) -> datetime | None:
    """A unix time as a parameter; parts of a microsecond are cut off."""
    return None if unix_ns is None else _EPOCH + timedelta(microseconds=unix_ns // 1_000)


@overload
def from_moment(moment: datetime) -> int: ...
@overload
def from_moment(moment: None) -> None: ...
@overload
def from_moment(moment: datetime | None) -> int | None: ...
def from_moment(moment: datetime | None) -> int | None:
    """A column's value as unix nanoseconds."""
    return None if moment is None else (moment - _EPOCH) // _MICROSECOND * 1_000
