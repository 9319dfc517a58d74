"""The text forms of Timestamp, Duration and FieldMask, both ways, with their bounds."""

from __future__ import annotations

import datetime as dt
import re
from functools import lru_cache
from typing import Any, Final

from trinity_http.scalars import Unfit, shown


class Unwritable(ValueError):  # noqa: N818 - named after what the message is
    """A message whose content has no JSON form."""


def read_timestamp(message: Any, value: Any) -> None:
    """Fill a google.protobuf.Timestamp from RFC 3339 text such as "2026-01-02T03:04:05.678Z"."""
    found = _TIMESTAMP.fullmatch(value) if type(value) is str else None
    if found is None:
        raise Unfit(f"a time such as 2026-01-02T03:04:05.678Z is expected, not {shown(value)}")
    date, fraction, sign, hours, minutes = found.group(1, 2, 3, 4, 5)
    try:
        moment = dt.datetime.fromisoformat(date).replace(tzinfo=dt.UTC)
    except ValueError:
        raise Unfit(f"{shown(value)} is not a day and time that exists") from None
    seconds = int((moment - _EPOCH).total_seconds())
    if sign:
        if int(hours) > _HOUR_MAX or int(minutes) > _MINUTE_MAX:
            raise Unfit(f"{shown(value)} has an offset that does not exist")
        offset = int(hours) * 3600 + int(minutes) * 60
        seconds += offset if sign == "-" else -offset
    if not _SECONDS_MIN <= seconds <= _SECONDS_MAX:
        raise Unfit(f"{shown(value)} is out of bounds; it must lie in the years 0001 to 9999")
    message.seconds = seconds
    message.nanos = int(fraction.ljust(9, "0")) if fraction else 0


def write_timestamp(message: Any) -> str:
    """A google.protobuf.Timestamp as text in UTC with 0, 3, 6 or 9 digits. Raises Unwritable out of bounds."""
    seconds, nanos = message.seconds, message.nanos
    if not (_SECONDS_MIN <= seconds <= _SECONDS_MAX and 0 <= nanos < _NANOS):
        raise Unwritable("a google.protobuf.Timestamp is out of bounds")
    return f"{_second(seconds)}{_fraction(nanos)}Z" if nanos else f"{_second(seconds)}Z"


def read_duration(message: Any, value: Any) -> None:
    """Fill a google.protobuf.Duration from text such as "1.5s"."""
    found = _DURATION.fullmatch(value) if type(value) is str else None
    if found is None:
        raise Unfit(f"a duration such as 1.5s is expected, not {shown(value)}")
    sign, whole, fraction = found.groups()
    seconds, nanos = int(whole), int(fraction.ljust(9, "0")) if fraction else 0
    if seconds > _DURATION_MAX:
        raise Unfit(f"{shown(value)} is out of bounds; it must be within ±{_DURATION_MAX}s")
    message.seconds, message.nanos = (-seconds, -nanos) if sign else (seconds, nanos)


def write_duration(message: Any) -> str:
    """A google.protobuf.Duration as text. Raises Unwritable out of bounds."""
    seconds, nanos = message.seconds, message.nanos
    if abs(seconds) > _DURATION_MAX or abs(nanos) >= _NANOS or seconds * nanos < 0:
        raise Unwritable("a google.protobuf.Duration is out of bounds")
    sign = "-" if seconds < 0 or nanos < 0 else ""
    return f"{sign}{abs(seconds)}{_fraction(abs(nanos))}s" if nanos else f"{seconds}s"


def read_field_mask(message: Any, value: Any) -> None:
    """Fill a google.protobuf.FieldMask from text such as "name,maxAge"."""
    if type(value) is not str:
        raise Unfit(f"field names joined by commas are expected, not {shown(value)}")
    if not value:
        return
    for path in value.split(","):
        if not _MASK_JSON.fullmatch(path):
            raise Unfit(f"{shown(path)} is not a field path in lowerCamelCase")
        message.paths.append(_CAPITAL.sub(lambda found: f"_{found[0].lower()}", path))


def write_field_mask(message: Any) -> str:
    """A google.protobuf.FieldMask as text. Raises Unwritable for a path that could not be read back."""
    paths = []
    for path in message.paths:
        if not _MASK_PROTO.fullmatch(path):
            raise Unwritable(f"the field mask path {path[:64]!a} has no JSON form")
        paths.append(_AFTER_UNDERSCORE.sub(lambda found: found[1].upper(), path))
    return ",".join(paths)


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    """Prices of one moment share their second; the rest of the text is cheap."""
    return (_EPOCH + dt.timedelta(seconds=seconds)).isoformat()[:19]


def _fraction(nanos: int) -> str:
    if nanos % 1_000_000 == 0:
        return f".{nanos // 1_000_000:03d}"
    if nanos % 1_000 == 0:
        return f".{nanos // 1_000:06d}"
    return f".{nanos:09d}"


_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_NANOS: Final = 1_000_000_000
_SECONDS_MIN: Final = -62_135_596_800
_SECONDS_MAX: Final = 253_402_300_799
_DURATION_MAX: Final = 315_576_000_000
_HOUR_MAX: Final = 23
_MINUTE_MAX: Final = 59
_TIMESTAMP: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9])(?:\.([0-9]{1,9}))?"
    r"(?:Z|([+-])([0-9]{2}):([0-9]{2}))"
)
_DURATION: Final = re.compile(r"(-?)([0-9]{1,12})(?:\.([0-9]{1,9}))?s")
_MASK_JSON: Final = re.compile(r"[a-zA-Z0-9]+(?:\.[a-zA-Z0-9]+)*")
_MASK_PROTO: Final = re.compile(r"(?:[a-z0-9]|_[a-z])+(?:\.(?:[a-z0-9]|_[a-z])+)*")
"""Exactly what `read_field_mask` makes."""
_CAPITAL: Final = re.compile(r"[A-Z]")
_AFTER_UNDERSCORE: Final = re.compile(r"_([a-z])")
