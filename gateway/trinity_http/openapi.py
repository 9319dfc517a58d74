"""The OpenAPI 3.1 document of a contract: every route, its parameters, bodies, answers and errors."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator
from typing import Any, Final
from urllib.parse import quote

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.rpc import status_pb2

from trinity_http.bind import Binding
from trinity_http.contract import Contract
from trinity_http.endpoint import Endpoint
from trinity_http.framing import EVENTS, JSON_ARRAY, NDJSON
from trinity_http.leaves import TEXT_MESSAGES, Leaf
from trinity_http.openapi_errors import CONDITIONAL_PARAMETER, ETAG, REQUEST_ID, error_components, error_responses
from trinity_http.protojson_fields import WRAPPERS
from trinity_http.schemas import Schema, Schemas
from trinity_http.settings import GatewaySettings
from trinity_http.template import Wild


def openapi_document(
    contract: Contract,
    endpoints: Iterable[Endpoint],
    *,
    settings: GatewaySettings,
    secured: bool,
    conditional: Container[str] = (),
) -> dict[str, Any]:
    """The document as plain values, ready for JSON.

    `secured` says that calls need a bearer key; `conditional` holds the full names of methods
    whose answers have an ETag.
    """
    schemas = Schemas(contract)
    errors = error_components(schemas.message(status_pb2.Status.DESCRIPTOR))
    paths: dict[str, dict[str, Any]] = {}
    used: set[str] = set()
    tags: dict[str, str] = {}
    same: dict[str, str] = {}
    for endpoint in endpoints:
        binding = endpoint.binding
        if binding.rule.http_method.lower() not in _OPERATIONS:
            continue
        # OpenAPI takes /a/{b} and /a/{c} for one path: the first names the parameters of all.
        own = path_of(binding)
        path = same.setdefault(_PARAMETER.sub("{}", own), own)
        operation = _operation(contract, endpoint, schemas, used, path, endpoint.method.full_name in conditional)
        if secured:
            operation["security"] = [] if endpoint.method.anonymous else [{"bearer": list(endpoint.method.scopes)}]
        paths.setdefault(path, {})[binding.rule.http_method.lower()] = operation
        tags[_tag(endpoint)] = contract.comments.get(endpoint.method.service, "")
    if not settings.ignore_unknown_fields:
        _close(paths, schemas)
    components: dict[str, Any] = {"schemas": schemas.components, "responses": errors}
    if secured:
        components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": settings.title, "version": settings.version},
        "paths": paths,
        "components": components,
        "tags": [{"name": name, **({"description": text} if text else {})} for name, text in tags.items()],
    }


def _close(paths: dict[str, dict[str, Any]], schemas: Schemas) -> None:
    """Say of every message that a request's body can hold that it takes no other names than its own."""
    bodies = [operation.get("requestBody") for methods in paths.values() for operation in methods.values()]
    waiting: list[Any] = [body for body in bodies if body is not None]
    closed: set[str] = set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, dict):
            if value.get("type") == "object" and "properties" in value and "additionalProperties" not in value:
                value["additionalProperties"] = False
            name = str(value.get("$ref", "")).removeprefix(_SCHEMAS)
            if name in schemas.components and name not in closed:
                closed.add(name)
                waiting.append(schemas.components[name])
            waiting.extend(item for key, item in value.items() if key != "examples")


def path_of(binding: Binding) -> str:
    """The template as OpenAPI writes it: "/v1/{name=messages/*}" becomes "/v1/messages/{name}"."""
    template = binding.template
    names = iter(_wild_names(binding))
    steps = [next(names)[0] if isinstance(step, Wild) else quote(step, safe=_PCHAR) for step in template.segments]
    return "/" + "/".join(steps) + (f":{template.verb}" if template.verb else "")


def _wild_names(binding: Binding) -> Iterator[tuple[str, Leaf | None]]:
    """Of each wildcard: its name in braces, and the field that it is (a part of)."""
    for index, step in enumerate(binding.template.segments):
        if not isinstance(step, Wild):
            continue
        owner, leaf = next(
            (
                (variable, leaf)
                for variable, leaf in zip(binding.template.variables, binding.path_leaves, strict=True)
                if variable.start <= index < variable.end
            ),
            (None, None),
        )
        if owner is None:
            yield f"{{segment_{index + 1}}}", None
            continue
        wilds = [at for at in range(owner.start, owner.end) if isinstance(binding.template.segments[at], Wild)]
        yield f"{{{owner.field_path}{f'_{wilds.index(index) + 1}' if len(wilds) > 1 else ''}}}", leaf


def _operation(
    contract: Contract, endpoint: Endpoint, schemas: Schemas, used: set[str], path: str, conditional: bool
) -> dict[str, Any]:
    method, binding = endpoint.method, endpoint.binding
    comment = contract.comments.get(method.full_name, "")
    headers = {"X-Request-Id": REQUEST_ID, **({"ETag": ETAG} if conditional else {})}
    operation: dict[str, Any] = {
        "operationId": _unique(f"{_tag(endpoint)}_{method.name}", used),
        "tags": [_tag(endpoint)],
        "parameters": [
            *_path_parameters(binding, schemas, path),
            *_query_parameters(binding, schemas),
            *([CONDITIONAL_PARAMETER] if conditional else ()),
        ],
        "responses": {
            "200": {**_response(endpoint, schemas), "headers": headers},
            **error_responses(takes_body=binding.takes_body, conditional=conditional),
        },
    }
    if comment:
        operation["summary"] = _summary(comment)
        operation["description"] = comment
    if method.deprecated:
        operation["deprecated"] = True
    body = _body(endpoint, schemas)
    if body is not None:
        operation["requestBody"] = body
    return operation


def _path_parameters(binding: Binding, schemas: Schemas, path: str) -> Iterator[dict[str, Any]]:
    whole = {f"{{{variable.field_path}}}" for variable in binding.template.variables if not variable.multi}
    for (name, leaf), shown in zip(_wild_names(binding), _PARAMETER.findall(path), strict=True):
        parameter: dict[str, Any] = {"name": shown, "in": "path", "required": True}
        if leaf is None:
            yield {**parameter, "schema": {"type": "string"}}
            continue
        # A part of a longer variable is judged with the rest of it, not alone.
        schema = schemas.parameter(leaf.field) if name in whole else {"type": "string"}
        note = "" if name in whole else f"Part of `{'.'.join(leaf.path)}` in `{binding.template.source}`."
        yield _described({**parameter, "schema": schema}, schemas.field(leaf.field).get("description", ""), note)


def _query_parameters(binding: Binding, schemas: Schemas) -> Iterator[dict[str, Any]]:
    if binding.rule.body == "*" or binding.method.client_streaming:
        return
    taken = {leaf.path for leaf in binding.path_leaves}
    for path, field in _leaves(binding.method.input, (), (binding.method.input.full_name,)):
        if path in taken or (binding.body_field is not None and path[0] == binding.body_field.name):
            continue
        name = ".".join(path)
        if _is_map(field):
            yield _described(
                {"name": f"{name}[key]", "in": "query", "schema": {"type": "string"}}, "One value of the map."
            )
            continue
        schema = schemas.parameter(field)
        parameter: dict[str, Any] = {"name": name, "in": "query", "schema": schema}
        if "minItems" in schema or (len(path) == 1 and name in _required(binding.method.input, schemas)):
            parameter["required"] = True
        yield _described(parameter, schemas.field(field).get("description", ""))


def _leaves(
    descriptor: Descriptor, path: tuple[str, ...], seen: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], FieldDescriptor]]:
    """What a query can set; messages inside themselves are shown once."""
    for field in descriptor.fields:
        inner = field.message_type
        here = (*path, field.name)
        if inner is None or inner.full_name in TEXT_MESSAGES or inner.full_name in WRAPPERS:
            yield here, field
        elif _is_map(field):
            if inner.fields_by_name["value"].message_type is None:
                yield here, field
        elif (
            not field.is_repeated and inner.full_name not in seen and not inner.full_name.startswith("google.protobuf.")
        ):
            yield from _leaves(inner, here, (*seen, inner.full_name))


def _required(descriptor: Descriptor, schemas: Schemas) -> set[str]:
    schemas.message(descriptor)
    names = schemas.components.get(descriptor.full_name, {}).get("required", [])
    return {field.name for field in descriptor.fields if field.json_name in names}


def _body(endpoint: Endpoint, schemas: Schemas) -> dict[str, Any] | None:
    binding = endpoint.binding
    if not binding.takes_body:
        return None
    if binding.raw_body:
        return {"content": dict(_ANYTHING)}
    taken = {leaf.path for leaf in binding.path_leaves}
    field, input_type = binding.body_field, binding.method.input
    if field is None:
        schema = schemas.body(input_type, taken, change=False)
        needed = any(schemas.required(one) for one in input_type.fields if (one.name,) not in taken)
    else:
        inner = {path[1:] for path in taken if path[0] == field.name and len(path) > 1}
        nested = None if field.is_repeated else field.message_type
        schema = schemas.field(field) if nested is None else schemas.body(nested, inner, change=binding.changes_by_mask)
        needed = schemas.required(field) and not inner
    if binding.method.client_streaming:
        content: dict[str, Any] = {
            JSON_ARRAY: {"schema": {"type": "array", "items": schema}},
            NDJSON: {"schema": schema},
        }
    else:
        content = {JSON_ARRAY: {"schema": schema}}
    return {"content": content, "required": needed}


def _response(endpoint: Endpoint, schemas: Schemas) -> dict[str, Any]:
    method, field = endpoint.method, endpoint.binding.response_field
    if endpoint.renderer.raw:
        return {"description": "The content.", "content": dict(_ANYTHING)}
    schema: Schema = schemas.message(method.output) if field is None else schemas.field(field)
    if not method.server_streaming:
        content = {JSON_ARRAY: {"schema": schema}, **(_ANYTHING if endpoint.renderer.other else {})}
        return {"description": "The answer.", "content": content}
    return {
        "description": 'A stream, in the form that Accept asks for. A last item `{"error": …}` tells of a failure.',
        "content": {
            JSON_ARRAY: {"schema": {"type": "array", "items": schema}},
            NDJSON: {"schema": schema},
            EVENTS: {"schema": _event(schema)},
        },
    }


def _event(schema: Schema) -> Schema:
    """One event of a stream, its fields as they are on the wire."""
    data = {"type": "string", "contentMediaType": JSON_ARRAY, "contentSchema": schema}
    return {
        "type": "object",
        "description": "One event. Of `error` the data is a google.rpc.Status; after `end` nothing comes.",
        "properties": {
            "event": {"type": "string", "enum": ["message", "end", "error"]},
            "id": {"type": "string"},
            "data": data,
        },
        "required": ["data"],
    }


def _described(parameter: dict[str, Any], *texts: str) -> dict[str, Any]:
    text = "\n\n".join(part for part in texts if part)
    return {**parameter, "description": text} if text else parameter


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _tag(endpoint: Endpoint) -> str:
    return endpoint.method.service.rpartition(".")[2]


def _unique(name: str, used: set[str]) -> str:
    chosen, number = name, 1
    while chosen in used:
        number += 1
        chosen = f"{name}_{number}"
    used.add(chosen)
    return chosen


def _summary(comment: str) -> str:
    """The first sentence."""
    first = " ".join(comment.split("\n\n")[0].split())
    found = _SENTENCE.match(first)
    return (found[0] if found else first).rstrip(".")


_OPERATIONS: Final = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})
_ANYTHING: Final[dict[str, Any]] = {"*/*": {}}
"""Bytes as they are: OpenAPI 3.1 has no schema for them."""
_PARAMETER: Final = re.compile(r"\{([^{}]*)\}")
_SCHEMAS: Final = "#/components/schemas/"
_PCHAR: Final = "-._~!$&'()+,;=@"
_SENTENCE: Final = re.compile(r".+?\.(?=\s|$)")
