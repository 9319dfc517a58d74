"""ProtoJSON to messages, strictly: every text is either taken whole or refused with the field named.

A reader compiles each message type once into a table of setters. A setter takes the parsed
JSON value and raises `Unfit`; on the way out every level adds its part of the path, so that
a good request pays nothing for the error messages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import EncodeError, Message

from trinity_http import wellknown
from trinity_http.json_text import misfit, parse_json
from trinity_http.message_types import Types
from trinity_http.protojson_fields import WRAPPERS, Setter, alone_in, map_key, takes_null, unknown_name
from trinity_http.scalars import Unfit, UnknownEnumName, scalar, shown

DEPTH_MAX: Final = 100
"""Objects and arrays inside each other; protobuf's own parsers stop there too."""

Merge: TypeAlias = Callable[[Any, Any, int], None]
"""Fills a message (first) from a JSON value (second) at a depth (third). Raises Unfit."""


class JsonReader:
    """Reads ProtoJSON into messages of one contract."""

    def __init__(self, types: Types, *, ignore_unknown: bool = False, depth_max: int = DEPTH_MAX) -> None:
        self.ignore_unknown = ignore_unknown
        self._types = types
        self._depth_max = depth_max
        self._merges: dict[Descriptor, Merge] = {}
        self._setters: dict[FieldDescriptor, Setter] = {}
        self._special: Mapping[str, Merge] = {
            "google.protobuf.Timestamp": _without_depth(wellknown.read_timestamp),
            "google.protobuf.Duration": _without_depth(wellknown.read_duration),
            "google.protobuf.FieldMask": _without_depth(wellknown.read_field_mask),
            "google.protobuf.Struct": self._struct,
            "google.protobuf.Value": self._value,
            "google.protobuf.ListValue": self._list_value,
            "google.protobuf.Any": self._any,
            **dict.fromkeys(WRAPPERS, self._wrapper),
        }

    def read(self, data: bytes, message: Message) -> Any:
        """Fill `message` from a JSON text and return the parsed value.

        Raises TrinityError: INVALID_JSON for what is no JSON or no value of that type at all,
        INVALID_FIELD with the path for anything else.
        """
        value = parse_json(data)
        self.fill(value, message)
        return value

    def parse(self, data: bytes) -> Any:
        """The parsed value of a JSON text, for `fill` and `set_field`. Raises TrinityError INVALID_JSON."""
        return parse_json(data)

    def fill(self, value: Any, message: Message) -> None:
        """Fill `message` from a parsed JSON value. Raises TrinityError as `read` does."""
        guarded(lambda: self.merge_of(message.DESCRIPTOR)(message, value, 0))

    def set_field(self, value: Any, message: Message, field: FieldDescriptor) -> None:
        """Set one field of `message` from a parsed JSON value. Raises TrinityError as `read` does."""
        guarded(lambda: self.setter_of(field)(message, value, 0))

    def merge_of(self, descriptor: Any) -> Merge:
        """The function that fills messages of a type, given its Descriptor."""
        found = self._merges.get(descriptor)
        if found is None:
            found = self._special.get(descriptor.full_name) or self._plain(descriptor)
            self._merges[descriptor] = found
        return found

    def setter_of(self, field: FieldDescriptor) -> Setter:
        """The function that sets one field."""
        found = self._setters.get(field)
        if found is None:
            found = self._setters[field] = self._make_setter(field)
        return found

    def _plain(self, descriptor: Descriptor) -> Merge:
        names = {field.name: field for field in descriptor.fields}
        names.update({field.json_name: field for field in descriptor.fields})
        setters: dict[str, tuple[str, Setter]] = {}

        def merge(message: Any, value: Any, depth: int) -> None:
            if type(value) is not dict:
                raise Unfit(f"an object is expected, not {shown(value)}")
            if depth >= self._depth_max:
                raise Unfit(f"nested more than {self._depth_max} deep")
            seen: set[str] = set()
            for key, item in value.items():
                found = setters.get(key)
                if found is None:
                    field = names.get(key)
                    if field is None:
                        if self.ignore_unknown:
                            continue
                        raise unknown_name(key, [field.json_name for field in descriptor.fields]).under(key)
                    found = setters[key] = (field.name, self.setter_of(field))
                name, setter = found
                if name in seen:
                    raise Unfit("the field is given twice, in both of its spellings").under(key)
                seen.add(name)
                try:
                    setter(message, item, depth + 1)
                except Unfit as unfit:
                    raise unfit.under(key) from None

        return merge

    def _make_setter(self, field: FieldDescriptor) -> Setter:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            setter = self._map_setter(field)
        elif field.is_repeated:
            setter = self._repeated_setter(field)
        elif field.message_type is not None:
            setter = self._message_setter(field)
        else:
            setter = self._scalar_setter(field)
        oneof = field.containing_oneof
        return setter if oneof is None or len(oneof.fields) == 1 else alone_in(oneof.name, setter)

    def _scalar_setter(self, field: FieldDescriptor) -> Setter:
        name, convert, nullable = field.name, scalar(field), takes_null(field)

        def set_scalar(message: Any, value: Any, _: int) -> None:
            if value is None and not nullable:
                return
            try:
                setattr(message, name, convert(value))
            except UnknownEnumName:
                if not self.ignore_unknown:
                    raise

        return set_scalar

    def _message_setter(self, field: FieldDescriptor) -> Setter:
        name, nullable = field.name, takes_null(field)
        descriptor = field.message_type
        assert descriptor is not None

        def set_message(message: Any, value: Any, depth: int) -> None:
            if value is None and not nullable:
                return
            inner = getattr(message, name)
            inner.SetInParent()
            self.merge_of(descriptor)(inner, value, depth)

        return set_message

    def _repeated_setter(self, field: FieldDescriptor) -> Setter:
        name, nullable, descriptor = field.name, takes_null(field), field.message_type
        convert = None if descriptor is not None else scalar(field)

        def set_repeated(message: Any, value: Any, depth: int) -> None:
            if value is None:
                return
            if type(value) is not list:
                raise Unfit(f"an array is expected, not {shown(value)}")
            items = getattr(message, name)
            for index, item in enumerate(value):
                try:
                    if item is None and not nullable:
                        raise Unfit("null cannot stand in this array")
                    if convert is not None:
                        items.append(convert(item))
                    else:
                        self.merge_of(descriptor)(items.add(), item, depth + 1)
                except UnknownEnumName as unknown:
                    if not self.ignore_unknown:
                        raise unknown.under(f"[{index}]") from None
                except Unfit as unfit:
                    raise unfit.under(f"[{index}]") from None

        return set_repeated

    def _map_setter(self, field: FieldDescriptor) -> Setter:
        assert field.message_type is not None
        name = field.name
        key_field, value_field = field.message_type.fields_by_name["key"], field.message_type.fields_by_name["value"]
        key_of, descriptor, nullable = map_key(key_field), value_field.message_type, takes_null(value_field)
        convert = None if descriptor is not None else scalar(value_field)

        def set_map(message: Any, value: Any, depth: int) -> None:
            if value is None:
                return
            if type(value) is not dict:
                raise Unfit(f"an object is expected, not {shown(value)}")
            entries = getattr(message, name)
            for text, item in value.items():
                try:
                    if item is None and not nullable:
                        raise Unfit("null cannot be a value of this map")
                    key = key_of(text)
                    if convert is not None:
                        entries[key] = convert(item)
                    else:
                        self.merge_of(descriptor)(entries[key], item, depth + 1)
                except UnknownEnumName as unknown:
                    if not self.ignore_unknown:
                        raise unknown.under(f"[{text}]") from None
                except Unfit as unfit:
                    raise unfit.under(f"[{text}]") from None

        return set_map

    def _wrapper(self, message: Any, value: Any, depth: int) -> None:
        if value is None:
            raise Unfit("null cannot stand here")
        self.setter_of(message.DESCRIPTOR.fields_by_name["value"])(message, value, depth)

    def _struct(self, message: Any, value: Any, depth: int) -> None:
        self.setter_of(message.DESCRIPTOR.fields_by_name["fields"])(message, _object(value), depth)

    def _list_value(self, message: Any, value: Any, depth: int) -> None:
        if type(value) is not list:
            raise Unfit(f"an array is expected, not {shown(value)}")
        self.setter_of(message.DESCRIPTOR.fields_by_name["values"])(message, value, depth)

    def _value(self, message: Any, value: Any, depth: int) -> None:
        if depth > self._depth_max:
            raise Unfit(f"nested more than {self._depth_max} deep")
        if value is None:
            message.null_value = 0
        elif value is True or value is False:
            message.bool_value = value
        elif type(value) is str:
            message.string_value = value
        elif type(value) is dict:
            message.struct_value.SetInParent()
            self._struct(message.struct_value, value, depth)
        elif type(value) is list:
            message.list_value.SetInParent()
            self._list_value(message.list_value, value, depth)
        else:
            message.number_value = scalar(message.DESCRIPTOR.fields_by_name["number_value"])(value)

    def _any(self, message: Any, value: Any, depth: int) -> None:
        rest = dict(_object(value))
        if not rest:
            return
        if depth >= self._depth_max:
            raise Unfit(f"nested more than {self._depth_max} deep")
        url = rest.pop("@type", None)
        if type(url) is not str:
            raise Unfit('"@type" with the URL of a type is needed').under("@type")
        kind = self._types.find_url(url)
        if kind is None:
            raise Unfit(f"{shown(url)} is not the URL of a type known here").under("@type")
        inner = kind()
        if kind.DESCRIPTOR.full_name in self._special:
            if rest.keys() != {"value"}:
                raise Unfit(f'"value", and nothing else, is needed beside "@type" for {kind.DESCRIPTOR.full_name}')
            rest = rest["value"]
        self.merge_of(kind.DESCRIPTOR)(inner, rest, depth + 1)
        message.type_url = url
        try:
            message.value = inner.SerializeToString(deterministic=True)
        except EncodeError:
            raise Unfit("nested too deeply") from None


def guarded(act: Callable[[], None]) -> None:
    """Run `act`; whatever a value from outside makes it raise becomes a TrinityError."""
    try:
        act()
    except Unfit as unfit:
        raise unfit.error() if unfit.path else misfit(unfit.description) from None
    except RecursionError:
        raise misfit("nested too deeply") from None


def _without_depth(read: Callable[[Any, Any], None]) -> Merge:
    return lambda message, value, _: read(message, value)


def _object(value: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise Unfit(f"an object is expected, not {shown(value)}")
    return value
