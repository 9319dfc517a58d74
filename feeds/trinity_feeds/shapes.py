"""Shapes of venue frames: decoded at full speed where they fit, field by field where one is dirty."""

from __future__ import annotations

import json
import re
import types
from collections.abc import Callable
from typing import Annotated, Any, Final, Generic, TypeVar, Union, get_args, get_origin

import msgspec

NULL: Final = msgspec.Raw(b"null")
"""What a field of any JSON value holds where it is missing."""

T = TypeVar("T")

_INTEGER: Final = re.compile(r"-?[0-9]{1,19}")


class MisfitError(ValueError):
    """JSON, but nothing of the shape is in it."""


class Shape(Generic[T]):
    """Reads JSON of one shape: at full speed where it fits, field by field where it does not.

    A venue's shape is a msgspec.Struct whose fields all have defaults. A value that does not
    fit its field (a number for a string, `true` for a price) then costs that field only, not
    the frame. Numbers keep their literal.
    """

    def __init__(self, kind: Any) -> None:
        """`kind` is made of Structs, lists, `str`, `int`, `bool`, `msgspec.Raw` and None."""
        self._kind = kind
        self.decode: Callable[[str | bytes | msgspec.Raw], T] = msgspec.json.Decoder(kind, strict=False).decode
        """The fast way. Raises ValidationError where the frame is of another shape, ValueError where it is no JSON."""

    def soften(self, frame: str | bytes | msgspec.Raw) -> T:
        """The slow way.

        Raises MisfitError where the frame has nothing of the shape, ValueError or RecursionError where it is no JSON.
        """
        soft = _soften(self._kind, _loosely(bytes(frame) if isinstance(frame, msgspec.Raw) else frame))
        if soft is None:
            raise MisfitError("of no known shape")
        value: T = soft
        return value

    def read(self, frame: str | bytes | msgspec.Raw) -> T:
        """The fast way, or else the slow one."""
        try:
            return self.decode(frame)
        except msgspec.ValidationError:
            return self.soften(frame)


def _loosely(frame: str | bytes) -> Any:
    """Any JSON, its numbers as text, so that no digit is lost and none of a million is computed with."""
    return json.loads(frame, parse_float=str, parse_int=str, parse_constant=str)


def _soften(kind: Any, value: Any) -> Any:
    """`value` made to fit `kind`; None where nothing of it does."""
    if get_origin(kind) in (Union, types.UnionType):
        options = (_soften(option, value) for option in get_args(kind) if option is not types.NoneType)
        return next((fit for fit in options if fit is not None), None)
    if get_origin(kind) is Annotated:
        return _within(get_args(kind)[1], _soften(get_args(kind)[0], value))
    if get_origin(kind) is list and isinstance(value, list):
        entries = (_soften(get_args(kind)[0], entry) for entry in value)
        return [entry for entry in entries if entry is not None]
    if get_origin(kind) is dict and isinstance(value, dict):
        fits = {key: _soften(get_args(kind)[1], entry) for key, entry in value.items()}
        return {key: fit for key, fit in fits.items() if fit is not None}
    if kind is msgspec.Raw:
        return msgspec.Raw(value.encode("ascii", "replace")) if isinstance(value, str) else NULL
    if kind is bool:
        return value if isinstance(value, bool) else None
    if kind is int:
        return int(value) if isinstance(value, str) and _INTEGER.fullmatch(value) else None
    if kind is str:
        return str(value) if isinstance(value, str) else None
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and isinstance(value, dict):
        return _soften_struct(kind, value)
    return None


def _soften_struct(kind: type[msgspec.Struct], value: dict[str, Any]) -> Any:
    fields = {}
    for field in msgspec.structs.fields(kind):
        fit = _soften(field.type, value.get(field.encode_name))
        if fit is not None:
            fields[field.name] = fit
    return kind(**fields)


def _within(bounds: msgspec.Meta, value: Any) -> Any:
    if value is None or value < bounds.ge or (bounds.le is not None and value > bounds.le):
        return None
    return None if bounds.lt is not None and value >= bounds.lt else value
