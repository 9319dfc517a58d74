"""Literals of venue frames: decimals exactly as written, times in nanoseconds."""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal
from typing import Annotated, Final

import msgspec

DIGITS_MAX: Final = 48
"""Characters of the longest number that is believed; real ones have at most 36."""
EXPONENT_MAX: Final = 32
"""A number outside 1e-32 … 1e32 is no price and no volume."""
TIME_MIN_NS: Final = 1_230_940_800_000_000_000
"""2009-01-03, the first block: no market is older. Earlier times are placeholders (year 1, 1970)."""
TIME_MAX_NS: Final = 7_258_118_400_000_000_000
"""2200-01-01, far below 2^63."""
ID_MAX: Final = (1 << 63) - 1
"""Larger ordering numbers are not ordering numbers."""

Ordinal = Annotated[int, msgspec.Meta(ge=0, le=ID_MAX)]
"""A field with an ordering number."""
UnixS = Annotated[int, msgspec.Meta(ge=TIME_MIN_NS // 1_000_000_000, lt=TIME_MAX_NS // 1_000_000_000)]
"""A field with a market time in seconds."""
UnixMs = Annotated[int, msgspec.Meta(ge=TIME_MIN_NS // 1_000_000, lt=TIME_MAX_NS // 1_000_000)]
"""A field with a market time in milliseconds."""
UnixNs = Annotated[int, msgspec.Meta(ge=TIME_MIN_NS, lt=TIME_MAX_NS)]
"""A field with a market time in nanoseconds."""

_PLAIN: Final = "0123456789."
_NUMBER: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)
_ISO: Final = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d{1,18}))?(?:Z|\+00:00)", re.ASCII)
_SCALES: Final[tuple[int, ...]] = tuple(10 ** (9 - digits) for digits in range(10))
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def number(text: str) -> Decimal | None:
    """The number of a literal, exact and at least 0; None for everything else.

    "Everything else" is text that only Python would read ("1_000", " 1", "١"), NaN and
    infinities, negatives, and sizes beyond DIGITS_MAX and EXPONENT_MAX.
    """
    try:
        if len(text) <= EXPONENT_MAX and not text.strip(_PLAIN):
            return Decimal(text)
        if len(text) > DIGITS_MAX or _NUMBER.fullmatch(text) is None:
            return None
        value = Decimal(text)
    except ArithmeticError:
        return None
    return value if not value.is_signed() and abs(value.adjusted()) <= EXPONENT_MAX else None


def price_of(literal: str | bytes | None) -> Decimal | None:
    """A positive number; None for everything else."""
    return volume_of(literal) or None


def volume_of(literal: str | bytes | None) -> Decimal | None:
    """A number that is at least 0; None for everything else."""
    if literal is None:
        return None
    return number(literal if isinstance(literal, str) else unquoted(literal))


class Volumes(dict[str | bytes | None, Decimal | None]):
    """Literal to number, remembered: values come back again and again, and a look-up costs less than a parse.

    Keys are a JSON string's content (str) or a JSON value as it stood in the frame (bytes).
    What is no number is None. At most `MAX` literals are remembered.
    """

    MAX: Final = 4096

    def __missing__(self, literal: str | bytes | None) -> Decimal | None:
        value = volume_of(literal)
        if literal is None or len(literal) <= DIGITS_MAX:
            if len(self) >= self.MAX:
                self.clear()
            self[literal] = value
        return value


class Prices(Volumes):
    """The same for prices: zero is None."""

    def __missing__(self, literal: str | bytes | None) -> Decimal | None:
        # As above, with the calls written out: of a thousand literals, hundreds are new.
        if literal is None:
            return None
        text = literal if isinstance(literal, str) else unquoted(literal)
        if len(text) <= EXPONENT_MAX and not text.strip(_PLAIN):
            try:
                value = Decimal(text) or None
            except ArithmeticError:
                value = None
        else:
            value = number(text) or None
        if len(literal) <= DIGITS_MAX:
            if len(self) >= self.MAX:
                self.clear()
            self[literal] = value
        return value


def unquoted(literal: bytes) -> str:
    """A JSON value without the quotes of a string; never fails, escapes are left as they are."""
    text = literal.decode("latin-1")
    return text[1:-1] if text[:1] == '"' else text


class Times:
    """Reads RFC 3339 UTC times to the nanosecond; remembers the second it last read."""

    def __init__(self) -> None:
        self._second = ""
        self._second_ns = 0

    def ns(self, text: str | None) -> int | None:
        """Unix nanoseconds; None where the text is missing, no such time, or no market time."""
        if text is None:
            return None
        if text[:19] == self._second and text[19:20] == "." and text[-1] == "Z":
            fraction = text[20:-1]
            if len(fraction) <= 9 and fraction.isdecimal() and fraction.isascii():
                return self._second_ns + int(fraction) * _SCALES[len(fraction)]
        return self._slow_ns(text)

    def _slow_ns(self, text: str) -> int | None:
        match = _ISO.fullmatch(text)
        if match is None:
            return None
        day, clock, fraction = match.groups(default="")
        try:
            moment = dt.datetime.fromisoformat(f"{day}T{clock}+00:00")
        except ValueError:
            return None
        second_ns = ((moment - _EPOCH) // dt.timedelta(seconds=1)) * 1_000_000_000
        if not TIME_MIN_NS <= second_ns < TIME_MAX_NS:
            return None
        self._second, self._second_ns = text[:19], second_ns
        return second_ns + int(fraction[:9].ljust(9, "0"))
