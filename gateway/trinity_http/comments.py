"""Comments of a contract, by the full name of what they stand above."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf import descriptor_pb2


def comments_of(files: descriptor_pb2.FileDescriptorSet) -> dict[str, str]:
    """Leading comment of each message, field, enum, value, service and method; what has none is left out.

    Needs a set made with `--include_source_info`; without it the result is empty.
    """
    found: dict[str, str] = {}
    for file in files.file:
        by_path = {
            tuple(location.path): location.leading_comments
            for location in file.source_code_info.location
            if location.leading_comments
        }
        if by_path:
            for path, full_name in _walk(file, (), file.package, _FILE):
                if path in by_path:
                    found[full_name] = _clean(by_path[path])
    return found


# Of each kind of thing: the field that holds its parts, that field's number, and their kind.
_ENUM = (("value", 2, ()),)
_SERVICE = (("method", 2, ()),)
_MESSAGE: tuple[Any, ...] = (("field", 2, ()), ("enum_type", 4, _ENUM))
_FILE = (("message_type", 4, _MESSAGE), ("enum_type", 5, _ENUM), ("service", 6, _SERVICE))
_NESTED = ("nested_type", 3, _MESSAGE)


def _walk(
    thing: Any, path: tuple[int, ...], name: str, kinds: tuple[Any, ...]
) -> Iterator[tuple[tuple[int, ...], str]]:
    for field, number, inner_kinds in (*kinds, _NESTED) if kinds is _MESSAGE else kinds:
        for index, inner in enumerate(getattr(thing, field)):
            inner_path, inner_name = (*path, number, index), f"{name}.{inner.name}".removeprefix(".")
            yield inner_path, inner_name
            yield from _walk(inner, inner_path, inner_name, inner_kinds)


def _clean(comment: str) -> str:
    """Without the space that stands after each comment mark."""
    lines = [line.removeprefix(" ").rstrip() for line in comment.strip("\n").split("\n")]
    return "\n".join(lines).strip()
