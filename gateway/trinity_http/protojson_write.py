"""Messages to ProtoJSON: zero values shown, 64-bit integers as strings, enums by name.

A writer compiles each message type once into a plan, turns a message into plain Python
values by it, and lets msgspec's encoder make the bytes. Fields that know presence (messages,
`optional`, members of a oneof) are left out while they are not set, as ProtoJSON has it.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import msgspec
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message

from trinity_http.message_types import Types
from trinity_http.protojson_fields import WRAPPERS
from trinity_http.wellknown import Unwritable, write_duration, write_field_mask, write_timestamp

ToValue: TypeAlias = Callable[[Any], Any]
"""Turns one value of a field into what msgspec encodes. Raises Unwritable."""

Plan: TypeAlias = tuple[tuple[str, str, bool, ToValue | None], ...]
"""Of each field: its JSON name, its name, whether it knows presence, and its converter (None: as it is)."""


class JsonWriter:
    """Writes messages of one contract as ProtoJSON."""

    def __init__(self, types: Types, *, show_zero: bool = True, show_unknown_any: bool = False) -> None:
        """Set what is shown.

        `show_zero` also writes fields that hold their type's zero. `show_unknown_any` writes
        a google.protobuf.Any of an unknown type as its URL and base64 content, for errors
        that must reach the caller whatever they carry; otherwise it is Unwritable.
        """
        self._types = types
        self._show_zero = show_zero
        self._show_unknown_any = show_unknown_any
        self._plans: dict[Descriptor, Plan] = {}
        self._encode = msgspec.json.Encoder().encode
        self._special: Mapping[str, ToValue] = {
            "google.protobuf.Timestamp": write_timestamp,
            "google.protobuf.Duration": write_duration,
            "google.protobuf.FieldMask": write_field_mask,
            "google.protobuf.Struct": self._struct,
            "google.protobuf.Value": self._value,
            "google.protobuf.ListValue": self._list_value,
            "google.protobuf.Any": self._any,
            **dict.fromkeys(WRAPPERS, self._wrapper),
        }

    def write(self, message: Message) -> bytes:
        """The message as JSON text in UTF-8, no spaces. Raises Unwritable."""
        return self._encode(self.value(message))

    def write_field(self, message: Message, field: FieldDescriptor) -> bytes:
        """One field of the message as JSON text, its zero included. Raises Unwritable."""
        convert = self._converter(field)
        value = getattr(message, field.name)
        return self._encode(value if convert is None else convert(value))

    def encode(self, value: Any) -> bytes:
        """What `value` and its like returned, as JSON text."""
        return self._encode(value)

    def value(self, message: Message) -> Any:
        """The message as Python values: a dict, or what a well-known type has in its place."""
        special = self._special.get(message.DESCRIPTOR.full_name)
        return self._fields(message) if special is None else special(message)

    def _fields(self, message: Any) -> dict[str, Any]:
        plan = self._plans.get(message.DESCRIPTOR) or self._plan(message.DESCRIPTOR)
        out: dict[str, Any] = {}
        has = message.HasField
        show_zero = self._show_zero
        for key, name, presence, convert in plan:
            if presence and not has(name):
                continue
            value = getattr(message, name)
            if not (show_zero or presence or value or _is_minus_zero(value)):
                continue
            out[key] = value if convert is None else convert(value)
        return out

    def _plan(self, descriptor: Descriptor) -> Plan:
        plan = tuple(
            (field.json_name, field.name, field.has_presence, self._converter(field)) for field in descriptor.fields
        )
        self._plans[descriptor] = plan
        return plan

    def _converter(self, field: FieldDescriptor) -> ToValue | None:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            key = field.message_type.fields_by_name["key"]
            one = self._one(field.message_type.fields_by_name["value"])
            return _map_of(_key_text if key.type != FieldDescriptor.TYPE_STRING else None, one)
        if field.is_repeated:
            return _list_of(self._one(field))
        return self._one(field)

    def _one(self, field: FieldDescriptor) -> ToValue | None:
        if field.message_type is not None:
            return self._special.get(field.message_type.full_name) or self._fields
        if field.enum_type is not None:
            return _enum_name(field.enum_type)
        return _SCALARS.get(field.type)

    def _wrapper(self, message: Any) -> Any:
        convert = self._one(message.DESCRIPTOR.fields_by_name["value"])
        return message.value if convert is None else convert(message.value)

    def _struct(self, message: Any) -> dict[str, Any]:
        return {key: self._value(value) for key, value in message.fields.items()}

    def _list_value(self, message: Any) -> list[Any]:
        return [self._value(value) for value in message.values]

    def _value(self, message: Any) -> Any:
        kind = message.WhichOneof("kind")
        if kind == "number_value":
            if not math.isfinite(message.number_value):
                raise Unwritable("a google.protobuf.Value holds a number that JSON does not have")
            return message.number_value
        if kind == "struct_value":
            return self._struct(message.struct_value)
        if kind == "list_value":
            return self._list_value(message.list_value)
        return None if kind in (None, "null_value") else getattr(message, kind)

    def _any(self, message: Any) -> dict[str, Any]:
        url: str = message.type_url
        if not url and not message.value:
            return {}
        kind = self._types.find_url(url)
        if kind is None:
            if self._show_unknown_any:
                return {"@type": url, "value": _base64(message.value)}
            raise Unwritable(f"a google.protobuf.Any holds a type that is not known here: {url[:128]!a}")
        inner = kind()
        try:
            inner.ParseFromString(message.value)
        except DecodeError:
            raise Unwritable(f"a google.protobuf.Any holds no {kind.DESCRIPTOR.full_name}") from None
        value = self.value(inner)
        if kind.DESCRIPTOR.full_name in self._special:
            return {"@type": url, "value": value}
        return {"@type": url, **value}


def _list_of(one: ToValue | None) -> ToValue:
    return list if one is None else lambda items: [one(item) for item in items]


def _map_of(key: ToValue | None, one: ToValue | None) -> ToValue:
    def convert(entries: Any) -> dict[str, Any]:
        return {
            name if key is None else key(name): value if one is None else one(value) for name, value in entries.items()
        }

    return convert


def _key_text(key: Any) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    return str(key)


def _enum_name(enum: EnumDescriptor) -> ToValue:
    if enum.full_name == "google.protobuf.NullValue":
        return lambda _: None
    # Of several names with one number the first stands, as in protobuf's own writers.
    names = {value.number: value.name for value in reversed(list(enum.values))}
    return lambda number: names.get(number, number)


def _double(value: float) -> float | str:
    return value if math.isfinite(value) else _special_name(value)


def _single(value: float) -> float | str:
    """The shortest decimal that reads back as the same 32 bits: 0.1, not 0.10000000149011612."""
    if not math.isfinite(value):
        return _special_name(value)
    for digits in range(6, 9):
        short = float(f"{value:.{digits}g}")
        if struct.unpack("<f", struct.pack("<f", short))[0] == value:
            return short
    return float(f"{value:.9g}")


def _special_name(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _is_minus_zero(value: Any) -> bool:
    return type(value) is float and math.copysign(1.0, value) < 0


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


_SCALARS: Final[dict[int, ToValue]] = {
    FieldDescriptor.TYPE_INT64: str,
    FieldDescriptor.TYPE_UINT64: str,
    FieldDescriptor.TYPE_SINT64: str,
    FieldDescriptor.TYPE_FIXED64: str,
    FieldDescriptor.TYPE_SFIXED64: str,
    FieldDescriptor.TYPE_FLOAT: _single,
    FieldDescriptor.TYPE_DOUBLE: _double,
    FieldDescriptor.TYPE_BYTES: _base64,
}
