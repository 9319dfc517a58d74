"""Bind path values, query and body to a request message, by one google.api.http rule.

Every field has one place. A query parameter or a body that would set a field which the path
sets, a scalar given twice, a name that no field has, a body where none is bound: each is
refused (400) with the field named. Path variables are bound first, then the query, then
the body; what remains unset stays unset.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import EncodeError, Message

from trinity_core.errors import FieldViolation, Reason, TrinityError, invalid_field
from trinity_http.contract import Contract, ContractError, HttpRule, Method
from trinity_http.field_mask import mask_field, mask_paths
from trinity_http.json_text import misfit
from trinity_http.leaves import Leaf, Leaves, UnknownLeafError
from trinity_http.protojson_read import JsonReader
from trinity_http.query import PARAMETERS_MAX, parse_query
from trinity_http.scalars import Unfit, shown_path
from trinity_http.template import Template, TemplateError, compile_template
from trinity_mesh.validate import validate

HTTP_BODY: Final = "google.api.HttpBody"


@dataclass(frozen=True, slots=True)
class Body:
    """What a request carried beside its path."""

    data: bytes
    content_type: str
    """As the client gave it; "" where it gave none."""


class Binding:
    """One rule of one method, compiled. Immutable but for a bounded cache of parameter names."""

    def __init__(
        self,
        contract: Contract,
        method: Method,
        rule: HttpRule,
        *,
        reader: JsonReader,
        parameters_max: int = PARAMETERS_MAX,
    ) -> None:
        """Compile. Raises ContractError, naming the method, when the rule does not fit its messages."""
        self.method = method
        self.rule = rule
        self.template: Template = _template(method, rule)
        self.takes_body = bool(rule.body)
        self.body_field = _top_field(method, method.input, rule.body, "body") if rule.body not in ("", "*") else None
        self.response_field = _top_field(method, method.output, rule.response_body, "response_body")
        body_type = self.body_field.message_type if self.body_field is not None else method.input
        self.raw_body = self.takes_body and body_type is not None and body_type.full_name == HTTP_BODY
        """The body is google.api.HttpBody: any media type, bytes as they are."""
        self._make = contract.types.of(method.input)
        self._reader = reader
        self._parameters_max = parameters_max
        self._leaves = Leaves(method.input, reader=reader, aliases=contract.has_rules)
        self.path_leaves = tuple(self._path_leaf(variable.field_path) for variable in self.template.variables)
        self._taken = {leaf.path for leaf in self.path_leaves}
        self._names: dict[str, Leaf] = {}
        self._mask = (
            mask_field(method.input, self.body_field)
            if rule.http_method == "PATCH" and self.body_field is not None
            else None
        )
        self.changes_by_mask = self._mask is not None
        """The body holds new values for the fields that a FieldMask names; an unset mask is filled from the body."""
        self._judge = validate if contract.has_rules else _no_rules

    def bind(self, values: tuple[str, ...], query: bytes, body: Body | None) -> Message:
        """The request message.

        `values` are what the path's variables matched, `query` is the raw query string, `body`
        is None or empty where the client sent none; a google.api.HttpBody may be empty and have
        a type. Raises TrinityError: INVALID_FIELD, UNKNOWN_PARAMETER, INVALID_JSON, INVALID_REQUEST.
        """
        message = self._make()
        self._bind_path(message, values)
        if query:
            self._bind_query(message, query)
        if body is not None and (body.data or (self.raw_body and body.content_type)):
            self._bind_body(message, body)
        self._judge(message)
        return message

    def bind_item(self, item: Any, *, values: tuple[str, ...] = (), query: bytes = b"") -> Message:
        """One request message of a client stream, from a parsed JSON value.

        The first message of a stream is given the path's values and the query too. Raises
        TrinityError as `bind` does.
        """
        message = self._make()
        if values:
            self._bind_path(message, values)
        if query:
            self._bind_query(message, query)
        self._bind_json(message, item)
        self._judge(message)
        return message

    def parse(self, data: bytes) -> Any:
        """A JSON text as a value for `bind_item`. Raises TrinityError INVALID_JSON."""
        return self._reader.parse(data)

    def serialize(self, message: Message) -> bytes:
        """The message in protobuf's binary form. Raises TrinityError INVALID_JSON when it is nested too deeply."""
        try:
            return message.SerializeToString()
        except EncodeError:
            raise misfit("nested too deeply") from None

    def _bind_path(self, message: Message, values: tuple[str, ...]) -> None:
        for leaf, text in zip(self.path_leaves, values, strict=True):
            _put(leaf, message, text, ".".join(leaf.path))

    def _bind_query(self, message: Message, query: bytes) -> None:
        seen: dict[tuple[str, ...], str] = {}
        for name, texts in parse_query(query, parameters_max=self._parameters_max).items():
            leaf = self._names.get(name) or self._find(name)
            if leaf is None:
                continue
            if not leaf.repeated and len(texts) > 1:
                raise invalid_field(shown_path(name), "it is given more than once and takes one value")
            before = seen.setdefault(leaf.path, name)
            if before != name:
                raise invalid_field(shown_path(name), f"it is given already, spelt {shown_path(before)}")
            for text in texts:
                _put(leaf, message, text, name)

    def _find(self, name: str) -> Leaf | None:
        """The leaf of a parameter; None where unknown ones are ignored."""
        if self.rule.body == "*":
            raise self._unknown(name, "this call takes all its fields in the body, none in the query")
        try:
            leaf = self._leaves.find(name)
        except UnknownLeafError as unknown:
            if unknown.why:
                raise invalid_field(shown_path(name), unknown.why) from None
            if self._reader.ignore_unknown:
                return None
            near = difflib.get_close_matches(name[:64], unknown.names, n=1)
            raise self._unknown(name, f"did you mean {near[0]}?" if near else "", near) from None
        if leaf.path in self._taken:
            raise invalid_field(shown_path(name), "it is given in the path and cannot be given again in the query")
        if self.body_field is not None and leaf.path[0] == self.body_field.name:
            raise invalid_field(shown_path(name), "it is given in the body and cannot be given again in the query")
        if len(self._names) < _NAMES_KEPT_MAX and "[" not in name:
            self._names[name] = leaf
        return leaf

    def _unknown(self, name: str, hint: str, near: list[str] | None = None) -> TrinityError:
        shown = shown_path(name[:64])
        text = f"there is no parameter {shown}" + (f"; {hint}" if hint else "")
        metadata = {"parameter": shown} | ({"nearest": near[0]} if near else {})
        return TrinityError(
            Reason.UNKNOWN_PARAMETER, text, metadata=metadata, violations=(FieldViolation(shown, text),)
        )

    def _bind_body(self, message: Message, body: Body) -> None:
        if not self.takes_body:
            raise TrinityError(
                Reason.INVALID_REQUEST, f"{self.rule.http_method} {self.template.source} takes no body; send none"
            )
        if self.raw_body:
            target: Any = message if self.body_field is None else getattr(message, self.body_field.name)
            target.content_type, target.data = body.content_type, body.data
            return
        self._bind_json(message, self._reader.parse(body.data))

    def _bind_json(self, message: Message, value: Any) -> None:
        field = self.body_field
        for leaf in self.path_leaves:
            if field is None:
                _not_in_body(value, leaf, leaf.path, self.method.input)
            elif leaf.path[0] == field.name and field.message_type is not None:
                _not_in_body(value, leaf, leaf.path[1:], field.message_type)
        if field is None:
            self._reader.fill(value, message)
            return
        self._reader.set_field(value, message, field)
        if self._mask is not None and not getattr(message, self._mask.name).paths and type(value) is dict:
            assert field.message_type is not None
            paths = mask_paths(value, field.message_type)
            mask: Any = getattr(message, self._mask.name)
            mask.SetInParent()
            mask.paths.extend(paths)

    def _path_leaf(self, field_path: str) -> Leaf:
        try:
            leaf = self._leaves.find(field_path)
        except UnknownLeafError as error:
            raise ContractError(
                f"{self.method.full_name}: path variable {field_path} of {self.rule.template} "
                f"is no field of {self.method.input.full_name} that a path can hold. {error.why}".rstrip(". ")
            ) from None
        if leaf.repeated:
            raise ContractError(f"{self.method.full_name}: path variable {field_path} is a repeated field")
        if self.body_field is not None and leaf.path == (self.body_field.name,):
            raise ContractError(f"{self.method.full_name}: {field_path} is both a path variable and the body")
        return leaf


def _put(leaf: Leaf, message: Message, text: str, name: str) -> None:
    try:
        leaf.put(message, text)
    except Unfit as unfit:
        raise unfit.under(name).error() from None


def _not_in_body(value: Any, leaf: Leaf, path: tuple[str, ...], descriptor: Descriptor) -> None:
    """Refuse a body that holds a field which the path sets, in either spelling."""
    step: Any = value
    inner: Descriptor | None = descriptor
    for name in path:
        if type(step) is not dict or inner is None:
            return
        field = inner.fields_by_name[name]
        step = step.get(field.json_name, step.get(name))
        inner = field.message_type
    if step is not None:
        raise invalid_field(".".join(leaf.path), "it is given in the path and cannot be given again in the body")


def _template(method: Method, rule: HttpRule) -> Template:
    try:
        return compile_template(rule.template)
    except TemplateError as error:
        raise ContractError(f"{method.full_name}: {error}") from error


def _top_field(method: Method, descriptor: Descriptor, name: str, what: str) -> FieldDescriptor | None:
    if not name:
        return None
    field: FieldDescriptor | None = descriptor.fields_by_name.get(name)
    if field is None:
        raise ContractError(f"{method.full_name}: {what} {name!r} is no field of {descriptor.full_name}")
    return field


def _no_rules(_: Message) -> None:
    """A contract without our options has no rules to judge by."""


_NAMES_KEPT_MAX: Final = 256
