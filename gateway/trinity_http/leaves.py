"""Set a field by its path and a text: what path variables and query parameters do.

A leaf is a field that one text can hold: a scalar, an enum, a wrapper, a Timestamp, a
Duration or a FieldMask, alone or repeated, inside messages, or as a value of a map:
"max_age", "filter.name", "labels[env]". Each step is written as in the contract, in
lowerCamelCase, or by its json_name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from trinity.options.v1 import options_pb2
from trinity_http.json_text import Number
from trinity_http.protojson_fields import WRAPPERS, map_key
from trinity_http.protojson_read import JsonReader
from trinity_http.scalars import Unfit, boolean_text, scalar, shown

TextLeaf: TypeAlias = Callable[[Any, str], None]
"""Puts a text into the message that holds the leaf. Raises Unfit."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One field that a text can set."""

    path: tuple[str, ...]
    """Field names as in the contract, and a map's key last: tells two spellings of one field apart from two fields."""
    field: FieldDescriptor
    repeated: bool
    put: TextLeaf
    """Sets the field of the outermost message, or adds to it."""


class UnknownLeafError(Exception):
    """A path that leads to no field, or to one that no text can hold."""

    def __init__(self, step: str, names: tuple[str, ...], why: str = "") -> None:
        super().__init__(step)
        self.step = step
        """The step that leads nowhere, as the caller wrote it."""
        self.names = names
        """What could stand there."""
        self.why = why
        """Why the field cannot be set by a text; empty when there is no such field."""


class Leaves:
    """Finds the leaves of one message type."""

    def __init__(self, descriptor: Descriptor, *, reader: JsonReader, aliases: bool) -> None:
        """`aliases` also takes enum values by their (trinity.options.v1.value).alias."""
        self._descriptor = descriptor
        self._reader = reader
        self._aliases = aliases

    def find(self, path: str) -> Leaf:
        """The leaf at a path. Raises UnknownLeafError."""
        descriptor = self._descriptor
        fields: list[FieldDescriptor] = []
        rest = path
        while True:
            found = _STEP.match(rest)
            step = found[0] if found else rest
            field = _field(descriptor, step)
            if found is None or field is None:
                raise UnknownLeafError(path, tuple(_names(self._descriptor)))
            rest = rest[found.end() :]
            if rest[:1] == "[" and rest[-1:] == "]" and _is_map(field):
                return self._map_leaf(fields, field, rest[1:-1])
            if not rest:
                return self._leaf(fields, field)
            inner = field.message_type
            if rest[0] != "." or inner is None or field.is_repeated:
                raise UnknownLeafError(path, tuple(_names(self._descriptor)))
            if len(fields) >= _DEPTH_MAX:
                raise UnknownLeafError(path, (), f"it is more than {_DEPTH_MAX} messages deep")
            fields.append(field)
            descriptor, rest = inner, rest[1:]

    def text_of(self, field: FieldDescriptor) -> Callable[[str], Any]:
        """The converter from text for a scalar or enum field. What it returns raises Unfit."""
        if field.type == FieldDescriptor.TYPE_BOOL:
            return boolean_text
        if field.enum_type is not None:
            return _enum_text(field, self._aliases)
        return scalar(field)

    def _leaf(self, fields: list[FieldDescriptor], field: FieldDescriptor) -> Leaf:
        name = field.name
        if _is_map(field):
            raise UnknownLeafError(name, (), f"it is a map; write {name}[key]=value")
        if field.message_type is not None:
            put_inner = self._message_text(field)
            if field.is_repeated:
                put: TextLeaf = lambda holder, text: put_inner(getattr(holder, name).add(), text)  # noqa: E731
            else:
                put = lambda holder, text: put_inner(_present(getattr(holder, name)), text)  # noqa: E731
        else:
            convert = self.text_of(field)
            if field.is_repeated:
                put = lambda holder, text: getattr(holder, name).append(convert(text))  # noqa: E731
            else:
                put = lambda holder, text: setattr(holder, name, convert(text))  # noqa: E731
        path = (*(step.name for step in fields), name)
        return Leaf(path, field, field.is_repeated, _reach(fields, _alone(field, put)))

    def _map_leaf(self, fields: list[FieldDescriptor], field: FieldDescriptor, key: str) -> Leaf:
        entry = field.message_type
        assert entry is not None
        name, value = field.name, entry.fields_by_name["value"]
        key_of = map_key(entry.fields_by_name["key"])
        if value.message_type is not None:
            put_inner = self._message_text(value)
            put: TextLeaf = lambda holder, text: put_inner(_present(getattr(holder, name)[key_of(key)]), text)  # noqa: E731
        else:
            convert = self.text_of(value)
            put = lambda holder, text: getattr(holder, name).__setitem__(key_of(key), convert(text))  # noqa: E731
        return Leaf((*(step.name for step in fields), name, f"[{key}]"), field, False, _reach(fields, put))

    def _message_text(self, field: FieldDescriptor) -> TextLeaf:
        descriptor = field.message_type
        assert descriptor is not None
        if descriptor.full_name in WRAPPERS:
            convert = self.text_of(descriptor.fields_by_name["value"])
            return lambda wrapper, text: setattr(wrapper, "value", convert(text))
        if descriptor.full_name in TEXT_MESSAGES:
            merge = self._reader.merge_of(descriptor)
            return lambda message, text: merge(message, text, 0)
        raise UnknownLeafError(field.name, (), "it is a message; name one of its fields")


TEXT_MESSAGES: Final = frozenset({"google.protobuf.Timestamp", "google.protobuf.Duration", "google.protobuf.FieldMask"})
"""Messages whose JSON is a text."""


def alias_of(enum: EnumDescriptor) -> dict[str, int]:
    """The aliases of an enum's values, with their numbers."""
    found = {}
    for value in enum.values:
        alias = value.GetOptions().Extensions[options_pb2.value].alias
        if alias:
            found[alias] = value.number
    return found


def _enum_text(field: FieldDescriptor, with_aliases: bool) -> Callable[[str], int]:
    assert field.enum_type is not None
    convert = scalar(field)
    aliases = alias_of(field.enum_type) if with_aliases else {}
    names = [value.name for value in field.enum_type.values]

    def enum_text(text: str) -> int:
        number = aliases.get(text)
        if number is not None:
            return number
        if _WHOLE.fullmatch(text):
            return int(convert(Number(text)))
        if text not in names:
            raise Unfit(f"{shown(text)} is not one of its values; they are {', '.join(aliases or names)}")
        return int(convert(text))

    return enum_text


def _field(descriptor: Descriptor, name: str) -> FieldDescriptor | None:
    found = descriptor.fields_by_name.get(name)
    return found if found is not None else descriptor.fields_by_camelcase_name.get(name) or _by_json(descriptor, name)


def _by_json(descriptor: Descriptor, name: str) -> FieldDescriptor | None:
    return next((field for field in descriptor.fields if field.json_name == name), None)


def _names(descriptor: Descriptor) -> list[str]:
    return [name for field in descriptor.fields for name in {field.name, field.json_name}]


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _present(message: Any) -> Any:
    message.SetInParent()
    return message


def _reach(fields: list[FieldDescriptor], put: TextLeaf) -> TextLeaf:
    """Go down through messages before putting; each step must not take the place of another oneof member."""
    for field in reversed(fields):
        put = _alone(field, _inside(field.name, put))
    return put


def _inside(name: str, put: TextLeaf) -> TextLeaf:
    return lambda holder, text: put(getattr(holder, name), text)


def _alone(field: FieldDescriptor, put: TextLeaf) -> TextLeaf:
    oneof = field.containing_oneof
    if oneof is None or len(oneof.fields) == 1:
        return put

    def put_alone(holder: Any, text: str) -> None:
        before = holder.WhichOneof(oneof.name)
        if before not in (None, field.name):
            raise Unfit(f"only one of its group ({oneof.name}) can be set, and {before} is set already")
        put(holder, text)

    return put_alone


_DEPTH_MAX: Final = 32
_STEP: Final = re.compile(r"[^.\[\]]+")
"""The name of a field in either spelling; a json_name of the contract may hold what an identifier cannot."""
_WHOLE: Final = re.compile(r"-?[0-9]{1,11}")
