"""Fill an unset FieldMask of a PATCH with the fields that its body names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

FIELD_MASK: Final = "google.protobuf.FieldMask"


def mask_field(request: Descriptor, body: FieldDescriptor) -> FieldDescriptor | None:
    """The field of a request that says which fields of its body count.

    It is the request's only FieldMask, or of several the one called `update_mask`; None where
    neither is so, or the body is no message that has fields of its own.
    """
    if body.is_repeated or body.message_type is None or body.message_type.full_name.startswith("google."):
        return None
    masks = [
        field
        for field in request.fields
        if field.message_type is not None and field.message_type.full_name == FIELD_MASK and not field.is_repeated
    ]
    if len(masks) == 1:
        return masks[0]
    return next((field for field in masks if field.name == "update_mask"), None)


def mask_paths(value: dict[str, Any], descriptor: Descriptor) -> list[str]:
    """Paths of the fields that a parsed JSON body names, in its order, without those it does not know.

    Messages are entered; lists, maps, well-known types, null and empty objects stand for themselves.
    """
    return list(_paths(value, descriptor, ""))


def _paths(value: dict[str, Any], descriptor: Descriptor, prefix: str) -> Iterator[str]:
    by_name = {name: field for field in descriptor.fields for name in (field.json_name, field.name)}
    for key, item in value.items():
        field = by_name.get(key)
        if field is None:
            continue
        path, inner = f"{prefix}{field.name}", field.message_type
        if (
            type(item) is dict
            and item
            and inner is not None
            and not field.is_repeated
            and not inner.full_name.startswith("google.protobuf.")
        ):
            yield from _paths(item, inner, f"{path}.")
        else:
            yield path
