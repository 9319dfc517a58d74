"""One JSON value to one scalar field, as ProtoJSON has it; used for bodies, queries and paths alike."""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from typing import Any, Final, TypeAlias

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

from trinity_core.errors import TrinityError, invalid_field
from trinity_http.json_text import Number

Convert: TypeAlias = Callable[[Any], Any]
"""Takes a parsed JSON value; returns what the field is set to. Raises Unfit."""


class Unfit(Exception):  # noqa: N818 - it is caught where it is raised and never seen outside
    """A value that its field cannot take; whoever passes it up adds its part of the path."""

    def __init__(self, description: str) -> None:
        super().__init__(description)
        self.description = description
        self.path: list[str] = []

    def under(self, part: str) -> Unfit:
        """The same, one step further out."""
        self.path.append(part)
        return self

    def error(self) -> TrinityError:
        """INVALID_FIELD with the whole path, as the caller wrote it."""
        parts = (part if part[:1] == "[" else f".{part}" for part in reversed(self.path))
        return invalid_field(shown_path("".join(parts).removeprefix(".")), self.description)


class UnknownEnumName(Unfit):
    """A name that the enum does not have; ignored with other unknown things where that is asked for."""


def shown(value: object) -> str:
    """A value for an error message: short, printable, never a way to smuggle anything."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    text = str(value)
    text = text if len(text) <= _SHOWN_LENGTH_MAX else f"{text[:_SHOWN_LENGTH_MAX]}…"
    return ascii(text) if type(value) is str else text


def shown_path(path: str) -> str:
    """A path that a caller gave, for an error: short, printable, and `""` for an empty name."""
    return path[:_PATH_LENGTH_MAX].encode("ascii", "backslashreplace").decode() or '""'


def scalar(field: FieldDescriptor) -> Convert:
    """The converter for one value of a scalar or enum field."""
    if field.enum_type is not None:
        return _enum(field.enum_type)
    return _BY_TYPE[field.type]


def boolean(value: Any) -> bool:
    """True or false, and nothing else."""
    if value is True or value is False:
        return bool(value)
    raise Unfit(f"true or false is expected, not {shown(value)}")


def boolean_text(value: str) -> bool:
    """The texts `true` and `false`: map keys and query parameters."""
    if value == "true":
        return True
    if value == "false":
        return False
    raise Unfit(f"true or false is expected, not {shown(value)}")


def text(value: Any) -> str:
    """A string."""
    if type(value) is str:
        return value
    raise Unfit(f"a string is expected, not {shown(value)}")


def octets(value: Any) -> bytes:
    """Base64 in the standard or the URL-safe alphabet, with or without padding."""
    if type(value) is not str:
        raise Unfit(f"a base64 string is expected, not {shown(value)}")
    body = value.rstrip("=")
    padding = len(value) - len(body)
    if (padding and (padding > _PADDING_MAX or len(value) % 4)) or not _BASE64.fullmatch(body):
        raise Unfit("it is not base64")
    try:
        return base64.b64decode(body.replace("-", "+").replace("_", "/") + "=" * (-len(body) % 4), validate=True)
    except binascii.Error:
        raise Unfit("it is not base64") from None


def integer(smallest: int, largest: int) -> Convert:
    """A converter for whole numbers in bounds: 5, 5.0, 5e0 and the same in quotes."""

    def convert(value: Any) -> int:
        if type(value) is int:
            number = value
        elif isinstance(value, str):
            number = _integer_text(value)
        else:
            raise Unfit(f"a whole number is expected, not {shown(value)}")
        if smallest <= number <= largest:
            return number
        raise Unfit(f"{shown(value)} is out of bounds; it must be from {smallest} to {largest}")

    return convert


def double(value: Any) -> float:
    """A number, in quotes or not, or "NaN", "Infinity", "-Infinity"."""
    if type(value) is int:
        return float(value)
    if isinstance(value, str):
        if _NUMBER.fullmatch(value):
            number = float(value)
            if math.isfinite(number):
                return number
            raise Unfit(f"{shown(value)} is out of bounds for a double")
        if type(value) is str and value in _SPECIAL:
            return _SPECIAL[value]
    raise Unfit(f"a number is expected, not {shown(value)}")


def single(value: Any) -> float:
    """Like double, within the bounds of 32 bits."""
    number = double(value)
    if math.isfinite(number):
        try:
            struct.pack("<f", number)
        except OverflowError:
            raise Unfit(f"{shown(value)} is out of bounds for a float") from None
    return number


def _integer_text(value: str) -> int:
    if _INTEGER.fullmatch(value):
        return int(value)
    if not _NUMBER.fullmatch(value):
        raise Unfit(f"a whole number is expected, not {shown(value)}")
    # A double first: it bounds the exponent, so that what comes after cannot grow without end.
    if not abs(float(value)) < _BEYOND_64_BITS:
        raise Unfit(f"{shown(value)} is out of bounds")
    try:
        exact = Decimal(value)
        number = int(exact)
    except ArithmeticError:
        raise Unfit(f"a whole number is expected, not {shown(value)}") from None
    if exact != number:
        raise Unfit(f"a whole number is expected, not {shown(value)}")
    return number


@cache
def _enum(enum: EnumDescriptor) -> Convert:
    names = {value.name: value.number for value in enum.values}
    numbers = frozenset(names.values())
    nullable = enum.full_name == "google.protobuf.NullValue"
    # NullValue is written as null whatever its number, so no other number may come in.
    closed = enum.is_closed or nullable
    number_of = integer(-(1 << 31), (1 << 31) - 1)

    def convert(value: Any) -> int:
        if type(value) is str:
            if value in names:
                return names[value]
            raise UnknownEnumName(f"{shown(value)} is not one of its values; they are {_some(names)}")
        if value is None and nullable:
            return 0
        if isinstance(value, bool) or not isinstance(value, int | Number):
            raise Unfit(f"the name or number of a value is expected, not {shown(value)}")
        number: int = number_of(value)
        if closed and number not in numbers:
            raise Unfit(f"{number} is not one of its values; they are {_some(names)}")
        return number

    return convert


def _some(names: dict[str, int]) -> str:
    few = list(names)[:_NAMES_SHOWN_MAX]
    return ", ".join(few) + (", …" if len(names) > len(few) else "")


_PATH_LENGTH_MAX: Final = 256
_SHOWN_LENGTH_MAX: Final = 48
_NAMES_SHOWN_MAX: Final = 12
_PADDING_MAX: Final = 2
_BEYOND_64_BITS: Final = 2.0**65
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,18}|1[0-9]{19})")
"""Everything that a 64-bit field can hold, and a little more."""
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]*")
_SPECIAL: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

_INT32: Final = integer(-(1 << 31), (1 << 31) - 1)
_INT64: Final = integer(-(1 << 63), (1 << 63) - 1)
_UINT32: Final = integer(0, (1 << 32) - 1)
_UINT64: Final = integer(0, (1 << 64) - 1)

_BY_TYPE: Final[dict[int, Convert]] = {
    FieldDescriptor.TYPE_INT32: _INT32,
    FieldDescriptor.TYPE_SINT32: _INT32,
    FieldDescriptor.TYPE_SFIXED32: _INT32,
    FieldDescriptor.TYPE_INT64: _INT64,
    FieldDescriptor.TYPE_SINT64: _INT64,
    FieldDescriptor.TYPE_SFIXED64: _INT64,
    FieldDescriptor.TYPE_UINT32: _UINT32,
    FieldDescriptor.TYPE_FIXED32: _UINT32,
    FieldDescriptor.TYPE_UINT64: _UINT64,
    FieldDescriptor.TYPE_FIXED64: _UINT64,
    FieldDescriptor.TYPE_FLOAT: single,
    FieldDescriptor.TYPE_DOUBLE: double,
    FieldDescriptor.TYPE_BOOL: boolean,
    FieldDescriptor.TYPE_STRING: text,
    FieldDescriptor.TYPE_BYTES: octets,
}
