"""JSON Schemas of messages, as ProtoJSON writes them, with bounds from the contract's rules."""

from __future__ import annotations

import re
from typing import Any, Final, TypeAlias

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from trinity.options.v1 import options_pb2
from trinity_http.contract import Contract
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
            required = [field.json_name for field in descriptor.fields if self._required(field)]
            if required:
                schema["required"] = required
        return {"$ref": f"#/components/schemas/{name}"}

    def field(self, field: FieldDescriptor) -> Schema:
        """A field's value, with its comment."""
        schema = self._value(field)
        comment = self._comments.get(field.full_name)
        if comment:
            schema = {**schema, "description": comment}
        if field.GetOptions().deprecated:
            schema = {**schema, "deprecated": True}
        return schema

    def parameter(self, field: FieldDescriptor) -> Schema:
        """A field's value as one text of a path or query, one schema an item where it is repeated."""
        if field.enum_type is not None:
            aliases = list(alias_of(field.enum_type)) if self._rules else []
            names = [value.name for value in field.enum_type.values]
            one: Schema = {"type": "string", "enum": [*aliases, *names]}
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
            return self._enum(field.enum_type)
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

    def _required(self, field: FieldDescriptor) -> bool:
        rules = self._field_rules(field)
        return rules is not None and rules.required

    def _bounded(self, field: FieldDescriptor, one: Schema) -> Schema:
        rules = self._field_rules(field)
        if rules is None:
            return one
        bounds: Schema = {}
        if rules.len_min:
            bounds["minLength"] = rules.len_min
        if rules.len_max:
            bounds["maxLength"] = rules.len_max
        if rules.pattern:
            bounds["pattern"] = rules.pattern
        if getattr(rules, "in"):
            bounds["enum"] = list(getattr(rules, "in"))
        if one.get("type") == "integer":
            if rules.HasField("gte"):
                bounds["minimum"] = rules.gte
            if rules.HasField("lte"):
                bounds["maximum"] = rules.lte
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


def _int64(bounds: Schema) -> Schema:
    return {"type": "string", "pattern": "^-?[0-9]+$", **bounds}


_WHOLE: Final = re.compile("-?[0-9]+")
_NUMBER: Final[Schema] = {"oneOf": [{"type": "number"}, {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}]}
_INT32: Final[Schema] = {"type": "integer", "format": "int32"}
_UINT32: Final[Schema] = {"type": "integer", "format": "int64", "minimum": 0, "maximum": (1 << 32) - 1}
_INT64: Final = _int64({"format": "int64"})
_UINT64: Final = _int64({"format": "uint64", "pattern": "^[0-9]+$"})
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
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$"},
    "google.protobuf.FieldMask": {"type": "string", "description": "Field paths in lowerCamelCase, joined by commas."},
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
