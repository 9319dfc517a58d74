"""JSON Schemas of messages, as ProtoJSON writes them, with bounds from the contract's rules."""

from __future__ import annotations

import re
from typing import Any, Final, TypeAlias

from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from trinity.options.v1 import options_pb2
from trinity_http.contract import Contract
from trinity_http.digits import whole_pattern
from trinity_http.leaves import alias_of
from trinity_mesh.validate import rules_of

Schema: TypeAlias = dict[str, Any]


class Schemas:
    """Collects the schemas that an OpenAPI document needs, each message and enum once."""

    def __init__(self, contract: Contract) -> None:
        self._comments = contract.comments
        self._rules = contract.has_rules
        self.components: dict[str, Schema] = {}
        """By full name: what `$ref` points to."""

    def message(self, descriptor: Descriptor) -> Schema:
        """A message where a value of it stands."""
        special = _WELL_KNOWN.get(descriptor.full_name)
        if special is not None:
            return dict(special)
        name = descriptor.full_name
        if name not in self.components:
            # Placed before it is filled: messages may hold themselves.
            schema: Schema = {"type": "object"}
            self.components[name] = schema
            self._describe(schema, name)
            schema["properties"] = {field.json_name: self.field(field) for field in descriptor.fields}
            required = [field.json_name for field in descriptor.fields if self.required(field)]
            if required:
                schema["required"] = required
        return {"$ref": f"#/components/schemas/{name}"}

    def body(self, descriptor: Descriptor, taken: set[tuple[str, ...]], *, change: bool) -> Schema:
        """A message as the body of a request.

        `taken` are paths of fields that the URL sets, which the body must leave out; `change`
        says that the message holds new values for some of its fields, so that none is needed.
        """
        if not taken and not change:
            return self.message(descriptor)
        properties: Schema = {}
        for field in descriptor.fields:
            inner = {path[1:] for path in taken if path[0] == field.name}
            if () not in inner:
                nested = field.message_type
                properties[field.json_name] = (
                    self.body(nested, inner, change=change) if inner and nested is not None else self.field(field)
                )
        schema: Schema = {"type": "object"}
        self._describe(schema, descriptor.full_name)
        schema["properties"] = properties
        if not change:
            needed = [field.json_name for field in descriptor.fields if self.required(field)]
            if left := [name for name in needed if name in properties]:
                schema["required"] = left
        return schema

    def required(self, field: FieldDescriptor) -> bool:
        """Whether the contract asks for the field: says so, or leaves no room for its zero."""
        rules = self._field_rules(field)
        if rules is None:
            return False
        return rules.required or (rules.gte > 0 and not field.is_repeated and not field.has_presence)

    def field(self, field: FieldDescriptor) -> Schema:
        """A field's value, with its comment."""
        schema = self._value(field)
        comment = self._comments.get(field.full_name)
        if comment:
            schema = {**schema, "description": comment}
        if field.GetOptions().deprecated:
            schema = {**schema, "deprecated": True}
        if field_behavior_pb2.OUTPUT_ONLY in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]:
            schema = {**schema, "readOnly": True}
        return schema

    def parameter(self, field: FieldDescriptor) -> Schema:
        """A field's value as one text of a path or query, one schema an item where it is repeated."""
        if field.enum_type is not None:
            aliases = list(alias_of(field.enum_type)) if self._rules else []
            one: Schema = {"type": "string", "enum": [*aliases, *_names(field)]}
        else:
            one = self._one(field)
        one = self._bounded(field, one)
        return self._items(field, one) if field.is_repeated else one

    def _value(self, field: FieldDescriptor) -> Schema:
        entry = field.message_type
        if entry is not None and entry.GetOptions().map_entry:
            return {"type": "object", "additionalProperties": self._one(entry.fields_by_name["value"])}
        one = self._bounded(field, self._one(field))
        return self._items(field, one) if field.is_repeated else one

    def _one(self, field: FieldDescriptor) -> Schema:
        if field.message_type is not None:
            return self.message(field.message_type)
        if field.enum_type is not None:
            return {"type": "string", "enum": _names(field)} if _without_zero(field) else self._enum(field.enum_type)
        return dict(_SCALARS[field.type])

    def _enum(self, enum: EnumDescriptor) -> Schema:
        if enum.full_name == "google.protobuf.NullValue":
            return {"type": "null"}
        if enum.full_name not in self.components:
            lines = [
                f"- `{value.name}`: {text}"
                for value in enum.values
                if (text := self._comments.get(f"{enum.full_name}.{value.name}"))
            ]
            schema: Schema = {"type": "string", "enum": [value.name for value in enum.values]}
            self.components[enum.full_name] = schema
            self._describe(schema, enum.full_name, "\n".join(lines))
        return {"$ref": f"#/components/schemas/{enum.full_name}"}

    def _describe(self, schema: Schema, name: str, more: str = "") -> None:
        text = "\n\n".join(part for part in (self._comments.get(name, ""), more) if part)
        if text:
            schema["description"] = text

    def _field_rules(self, field: FieldDescriptor) -> options_pb2.FieldRules | None:
        return rules_of(field) if self._rules else None

    def _bounded(self, field: FieldDescriptor, one: Schema) -> Schema:
        rules = self._field_rules(field)
        if rules is None:
            return one
        bounds: Schema = {}
        if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            bounds = _text_bounds(field, rules)
        elif one.get("type") == "integer":
            if rules.HasField("gte"):
                bounds["minimum"] = rules.gte
            if rules.HasField("lte"):
                bounds["maximum"] = rules.lte
        elif field.type in _RANGES:
            smallest, largest = _RANGES[field.type]
            smallest = rules.gte if rules.HasField("gte") else smallest
            largest = rules.lte if rules.HasField("lte") else largest
            bounds["pattern"] = f"^(?:{whole_pattern(smallest, largest)})$"
        elif rules.HasField("duration_ms_gte") and rules.HasField("duration_ms_lte"):
            bounds["pattern"] = _duration_pattern(rules.duration_ms_gte, rules.duration_ms_lte)
        if rules.example and not field.is_repeated:
            bounds["examples"] = [_example(rules.example, one)]
        return {**one, **bounds}

    def _items(self, field: FieldDescriptor, one: Schema) -> Schema:
        schema: Schema = {"type": "array", "items": one}
        rules = self._field_rules(field)
        if rules is not None:
            if rules.items_min or rules.required:
                schema["minItems"] = max(rules.items_min, 1)
            if rules.items_max:
                schema["maxItems"] = rules.items_max
            if rules.unique:
                schema["uniqueItems"] = True
            if rules.example:
                schema["examples"] = [[_example(rules.example, one)]]
        return schema


def _example(text: str, schema: Schema) -> Any:
    return int(text) if schema.get("type") == "integer" and _WHOLE.fullmatch(text) else text


def _names(field: FieldDescriptor) -> list[str]:
    assert field.enum_type is not None
    zero = _without_zero(field)
    return [value.name for value in field.enum_type.values if value.number or not zero]


def _without_zero(field: FieldDescriptor) -> bool:
    """Of a list of values that the contract defines, none is "unspecified"."""
    rules = rules_of(field)
    return field.is_repeated and rules is not None and rules.defined_only


def _text_bounds(field: FieldDescriptor, rules: options_pb2.FieldRules) -> Schema:
    """An empty text is an unset field, for which no rule holds, unless the field is needed or has a least length."""
    bounds: Schema = {}
    may_be_empty = not rules.len_min and not rules.required and not field.is_repeated
    if rules.len_min or not may_be_empty:
        bounds["minLength"] = max(rules.len_min, 1)
    if rules.len_max:
        bounds["maxLength"] = rules.len_max
    if rules.pattern:
        bounds["pattern"] = f"^$|{rules.pattern}" if may_be_empty else rules.pattern
    if allowed := list(getattr(rules, "in")):
        bounds["enum"] = ["", *allowed] if may_be_empty else allowed
    return bounds


def _duration_pattern(smallest_ms: int, largest_ms: int) -> str:
    """Durations in bounds of whole seconds exactly; of others those between zero and the seconds that are whole."""
    largest = largest_ms // 1_000
    if smallest_ms < 0 or largest < 1:
        return _DURATION_PATTERN
    smallest = smallest_ms // 1_000
    return rf"^(?:(?:{whole_pattern(smallest, largest - 1)})(?:\.[0-9]{{1,9}})?|{largest}(?:\.0{{1,9}})?)s$"


def _int64(smallest: int, largest: int, name: str) -> Schema:
    return {"type": "string", "format": name, "pattern": f"^(?:{whole_pattern(smallest, largest)})$"}


_WHOLE: Final = re.compile("-?[0-9]+")
_NUMBER: Final[Schema] = {"oneOf": [{"type": "number"}, {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}]}
_INT32: Final[Schema] = {"type": "integer", "format": "int32"}
_UINT32: Final[Schema] = {"type": "integer", "format": "int64", "minimum": 0, "maximum": (1 << 32) - 1}
_I64: Final = (-(1 << 63), (1 << 63) - 1)
_U64: Final = (0, (1 << 64) - 1)
_INT64: Final = _int64(*_I64, "int64")
_UINT64: Final = _int64(*_U64, "uint64")
_RANGES: Final = {
    FieldDescriptor.TYPE_INT64: _I64,
    FieldDescriptor.TYPE_SINT64: _I64,
    FieldDescriptor.TYPE_SFIXED64: _I64,
    FieldDescriptor.TYPE_UINT64: _U64,
    FieldDescriptor.TYPE_FIXED64: _U64,
}
_DURATION_PATTERN: Final = r"^-?[0-9]{1,12}(?:\.[0-9]{1,9})?s$"
_BYTES: Final[Schema] = {"type": "string", "contentEncoding": "base64"}

_SCALARS: Final[dict[int, Schema]] = {
    FieldDescriptor.TYPE_INT32: _INT32,
    FieldDescriptor.TYPE_SINT32: _INT32,
    FieldDescriptor.TYPE_SFIXED32: _INT32,
    FieldDescriptor.TYPE_UINT32: _UINT32,
    FieldDescriptor.TYPE_FIXED32: _UINT32,
    FieldDescriptor.TYPE_INT64: _INT64,
    FieldDescriptor.TYPE_SINT64: _INT64,
    FieldDescriptor.TYPE_SFIXED64: _INT64,
    FieldDescriptor.TYPE_UINT64: _UINT64,
    FieldDescriptor.TYPE_FIXED64: _UINT64,
    FieldDescriptor.TYPE_FLOAT: {**_NUMBER, "format": "float"},
    FieldDescriptor.TYPE_DOUBLE: {**_NUMBER, "format": "double"},
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BYTES: _BYTES,
}

_WELL_KNOWN: Final[dict[str, Schema]] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": _DURATION_PATTERN},
    "google.protobuf.FieldMask": {
        "type": "string",
        "description": "Field paths in lowerCamelCase, joined by commas.",
        "pattern": r"^(?:[a-zA-Z0-9]+(?:[.,][a-zA-Z0-9]+)*)?$",
    },
    "google.protobuf.Struct": {"type": "object"},
    "google.protobuf.Value": {},
    "google.protobuf.ListValue": {"type": "array", "items": {}},
    "google.protobuf.Empty": {"type": "object", "additionalProperties": False},
    "google.protobuf.Any": {
        "type": "object",
        "properties": {"@type": {"type": "string"}},
        "additionalProperties": True,
    },
    "google.api.HttpBody": {"type": "string", "format": "binary"},
    "google.protobuf.DoubleValue": {**_NUMBER, "format": "double"},
    "google.protobuf.FloatValue": {**_NUMBER, "format": "float"},
    "google.protobuf.Int64Value": _INT64,
    "google.protobuf.UInt64Value": _UINT64,
    "google.protobuf.Int32Value": _INT32,
    "google.protobuf.UInt32Value": _UINT32,
    "google.protobuf.BoolValue": {"type": "boolean"},
    "google.protobuf.StringValue": {"type": "string"},
    "google.protobuf.BytesValue": _BYTES,
}
