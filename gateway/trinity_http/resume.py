"""What a stream's own words tell: where it goes on after a break, and when its service is lost."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeAlias

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from trinity_core.errors import invalid_field

Patience: TypeAlias = Callable[[Any], float]
"""Longest silence, in seconds, that a request of one streaming method allows: after more the service is lost.

For methods whose service speaks now and then even where there is nothing to say."""


class StreamResume(Protocol):
    """Maps one streaming method's messages to event ids, and an id back to a request."""

    def event_id(self, message: Message) -> str | None:
        """The id of a message that was streamed: printable, no spaces; None where it has none."""
        ...

    def resume(self, request: Message, event_id: str) -> None:
        """Make a request go on after `event_id`. Raises TrinityError INVALID_FIELD for an id that is not one."""
        ...


class FieldsResume:
    """Event ids made of whole-number fields of the response, put into fields of the request: "7-1042"."""

    def __init__(
        self,
        *,
        request: Descriptor,
        response: Descriptor,
        ids: Sequence[str],
        resumes: Sequence[str],
        when: Callable[[Any], bool] = lambda _: True,
    ) -> None:
        """`ids` are fields of the response, `resumes` those of the request that take them, in the same order.

        Only messages for which `when` is true have an id: those after which nothing before
        is missing. Raises ValueError when a field is missing or holds no whole numbers that are never negative.
        """
        if len(ids) != len(resumes) or not ids:
            raise ValueError("ids and resumes must name as many fields, and at least one")
        self._ids = tuple(_number(response, name).name for name in ids)
        self._resumes = tuple(_number(request, name).name for name in resumes)
        self._when = when
        self._pattern = re.compile("-".join(["([0-9]{1,20})"] * len(ids)))

    def event_id(self, message: Message) -> str | None:
        """The fields' values joined by "-"; None while the first is 0."""
        if not self._when(message):
            return None
        values = [getattr(message, name) for name in self._ids]
        return "-".join(map(str, values)) if values[0] else None

    def resume(self, request: Any, event_id: str) -> None:
        """Set the request's fields."""
        found = self._pattern.fullmatch(event_id)
        values = [int(text) for text in found.groups()] if found else []
        if not values or max(values) > _UINT64_MAX:
            raise invalid_field("Last-Event-ID", f"an id of this stream is expected, not {event_id[:48]!a}")
        for name, value in zip(self._resumes, values, strict=True):
            setattr(request, name, value)


def _number(descriptor: Descriptor, name: str) -> FieldDescriptor:
    field: FieldDescriptor | None = descriptor.fields_by_name.get(name)
    if field is None or field.is_repeated or field.type not in _WHOLE:
        raise ValueError(f"{descriptor.full_name} has no uint64 field {name}")
    return field


_UINT64_MAX: Final = (1 << 64) - 1
_WHOLE: Final = frozenset({FieldDescriptor.TYPE_UINT64, FieldDescriptor.TYPE_FIXED64})
