"""Judge a request by the rules that stand in its contract (trinity/options/v1/options.proto).

Each message type is compiled once into a list of checks; a type without rules costs one
dictionary look-up. The first broken rule is raised as INVALID_FIELD with the path of the
field. Rules of a repeated field that speak of strings or numbers hold for each item.

A request with an `update_mask` changes some fields of what it holds: the rules of a field
that is empty there hold only where the mask names it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from trinity.options.v1 import options_pb2
from trinity_core.errors import invalid_field

Check = Callable[[Message, str], None]
"""Takes a message and the path that leads to it ("" at the top); raises TrinityError."""

_MASK, _MASK_TYPE = "update_mask", "google.protobuf.FieldMask"
_NUMBERS = {
    FieldDescriptor.CPPTYPE_INT32,
    FieldDescriptor.CPPTYPE_INT64,
    FieldDescriptor.CPPTYPE_UINT32,
    FieldDescriptor.CPPTYPE_UINT64,
}


def validate(message: Message) -> None:
    """Raise TrinityError INVALID_FIELD for the first rule that the message breaks."""
    for check in _checks(message.DESCRIPTOR):
        check(message, "")


def rules_of(field: FieldDescriptor) -> options_pb2.FieldRules | None:
    """The rules a contract puts on a field; None where it puts none."""
    options = field.GetOptions()
    return options.Extensions[options_pb2.field] if options.HasExtension(options_pb2.field) else None


def method_rules(options: Message) -> options_pb2.MethodRules:
    """The rules a contract puts on a method, given its MethodOptions; empty where it puts none."""
    return cast("options_pb2.MethodRules", cast("Any", options).Extensions[options_pb2.method])


@cache
def _checks(descriptor: Descriptor) -> tuple[Check, ...]:
    return tuple(check for _, check in _checks_by_field(descriptor))


@cache
def _checks_by_field(descriptor: Descriptor) -> tuple[tuple[FieldDescriptor, Check], ...]:
    return tuple(
        (field, check)
        for field in descriptor.fields
        if (check := _field_check(field, frozenset({descriptor.full_name})))
    )


def _field_check(field: FieldDescriptor, seen: frozenset[str]) -> Check | None:
    rules = rules_of(field)
    nested = (
        field.message_type is not None
        and not field.message_type.full_name.startswith("google.protobuf.")
        and not field.message_type.GetOptions().map_entry
        and _has_rules(field.message_type, seen)
    )
    if rules is None and not nested:
        return None
    item_check = _item_check(field, rules) if rules is not None else None
    name = field.name
    repeated = field.is_repeated
    masked = nested and not repeated and _has_mask(field.containing_type)

    def check(message: Message, path: str) -> None:
        here = f"{path}{name}"
        value = getattr(message, name)
        if rules is not None:
            _presence(message, field, rules, value, here)
        if repeated:
            for index, item in enumerate(value):
                if item_check is not None:
                    item_check(item, f"{here}[{index}]")
                if nested:
                    for inner in _checks(field.message_type):
                        inner(item, f"{here}[{index}].")
        else:
            if item_check is not None and (not field.has_presence or message.HasField(name)):
                item_check(value, here)
            if masked and message.HasField(name):
                _check_change(value, frozenset(message.update_mask.paths), f"{here}.")  # type: ignore[attr-defined]
            elif nested and message.HasField(name):
                for inner in _checks(field.message_type):
                    inner(value, f"{here}.")

    return check


def _has_mask(descriptor: Descriptor | None) -> bool:
    field = descriptor.fields_by_name.get(_MASK) if descriptor is not None else None
    return field is not None and field.message_type is not None and field.message_type.full_name == _MASK_TYPE


def _check_change(value: Message, mask: frozenset[str], path: str) -> None:
    for field, check in _checks_by_field(value.DESCRIPTOR):
        present = value.HasField(field.name) if field.has_presence else bool(getattr(value, field.name))
        if present or field.name in mask:
            check(value, path)


def _has_rules(descriptor: Descriptor, seen: frozenset[str]) -> bool:
    if descriptor.full_name in seen:
        return True
    return any(_field_check(field, seen | {descriptor.full_name}) for field in descriptor.fields)


def _presence(message: Message, field: FieldDescriptor, rules: options_pb2.FieldRules, value: Any, path: str) -> None:
    hint = f"; {rules.hint}" if rules.hint else ""
    if field.is_repeated:
        count = len(value)
        if rules.required and not count:
            raise invalid_field(path, f"at least one value is needed{hint}")
        if count < rules.items_min:
            raise invalid_field(path, f"{count} values, at least {rules.items_min} are needed{hint}")
        if rules.items_max and count > rules.items_max:
            raise invalid_field(path, f"{count} values, at most {rules.items_max} are taken{hint}")
        if rules.unique and len(set(value)) != count:
            raise invalid_field(path, f"a value stands in it twice{hint}")
    elif rules.required and not (message.HasField(field.name) if field.has_presence else value):
        raise invalid_field(path, f"it is needed{hint}")


def _item_check(field: FieldDescriptor, rules: options_pb2.FieldRules) -> Callable[[Any, str], None] | None:
    hint = f"; {rules.hint}" if rules.hint else ""
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return _text_check(rules, hint, may_be_empty=not field.is_repeated)
    if field.cpp_type in _NUMBERS:
        return _number_check(rules, hint)
    if field.enum_type is not None and rules.defined_only:
        known = frozenset(field.enum_type.values_by_number)

        def enum_check(value: int, path: str) -> None:
            if value not in known:
                raise invalid_field(path, f"{value} is not one of its values{hint}")

        return enum_check
    if field.message_type is not None and field.message_type.full_name == "google.protobuf.Duration":
        return _duration_check(rules, hint)
    return None


def _text_check(rules: options_pb2.FieldRules, hint: str, *, may_be_empty: bool) -> Callable[[Any, str], None]:
    # In RE2, whose syntax the rules have, \d, \w and \s are of ASCII alone.
    pattern = re.compile(rules.pattern, re.ASCII) if rules.pattern else None
    allowed = frozenset(getattr(rules, "in"))

    def text_check(value: str | bytes, path: str) -> None:
        # An empty field is an unset one; an empty item of a list is a text like any other.
        if not value and may_be_empty and not rules.len_min:
            return
        if len(value) < rules.len_min:
            raise invalid_field(path, f"shorter than {rules.len_min}{hint}")
        if rules.len_max and len(value) > rules.len_max:
            raise invalid_field(path, f"longer than {rules.len_max}{hint}")
        if pattern is not None and (not isinstance(value, str) or not pattern.fullmatch(value)):
            raise invalid_field(path, f"{value[:32]!r} has a form that is not taken{hint}")
        if allowed and value not in allowed:
            raise invalid_field(path, f"{value[:32]!r} is not one of its values{hint}")

    return text_check


def _number_check(rules: options_pb2.FieldRules, hint: str) -> Callable[[Any, str], None]:
    smallest = rules.gte if rules.HasField("gte") else None
    largest = rules.lte if rules.HasField("lte") else None

    def number_check(value: int, path: str) -> None:
        if smallest is not None and value < smallest:
            raise invalid_field(path, f"{value} is less than {smallest}{hint}")
        if largest is not None and value > largest:
            raise invalid_field(path, f"{value} is greater than {largest}{hint}")

    return number_check


def _duration_check(rules: options_pb2.FieldRules, hint: str) -> Callable[[Any, str], None]:
    smallest = rules.duration_ms_gte if rules.HasField("duration_ms_gte") else None
    largest = rules.duration_ms_lte if rules.HasField("duration_ms_lte") else None

    def duration_check(value: Duration, path: str) -> None:
        nanos = value.seconds * 1_000_000_000 + value.nanos
        if smallest is not None and nanos < smallest * 1_000_000:
            raise invalid_field(path, f"shorter than {smallest} ms{hint}")
        if largest is not None and nanos > largest * 1_000_000:
            raise invalid_field(path, f"longer than {largest} ms{hint}")

    return duration_check
