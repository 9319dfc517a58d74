"""What ProtoJSON says of a field whatever its value is: null, map keys, groups, names."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from google.protobuf.descriptor import FieldDescriptor

from trinity_http.scalars import Convert, Unfit, boolean_text, scalar

Setter: TypeAlias = Callable[[Any, Any, int], None]
"""Sets one field of a message (first) from a JSON value (second) at a depth (third). Raises Unfit."""

WRAPPERS: Final = tuple(
    f"google.protobuf.{kind}Value"
    for kind in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
)
"""Full names of the wrapper types, whose JSON is that of their one field."""


def takes_null(field: FieldDescriptor) -> bool:
    """Whether null is a value of the field itself, not the absence of one."""
    if field.message_type is not None:
        return field.message_type.full_name == "google.protobuf.Value"
    return field.enum_type is not None and field.enum_type.full_name == "google.protobuf.NullValue"


def map_key(field: FieldDescriptor) -> Convert:
    """The converter for a map's key, which is text in JSON and in a query."""
    if field.type == FieldDescriptor.TYPE_BOOL:
        return boolean_text
    return scalar(field)


def unknown_name(name: str, names: list[str]) -> Unfit:
    """The error for a name that a message does not have, with the nearest that it has."""
    near = difflib.get_close_matches(name[:64], names, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return Unfit(f"there is no such field{hint}")


def alone_in(oneof: str, setter: Setter) -> Setter:
    """A setter that refuses to take the place of another member of its group."""

    def set_alone(message: Any, value: Any, depth: int) -> None:
        before = message.WhichOneof(oneof)
        setter(message, value, depth)
        if before is not None and message.WhichOneof(oneof) != before:
            raise Unfit(f"only one of its group ({oneof}) can be set, and {before} is set already")

    return set_alone
