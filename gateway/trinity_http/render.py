"""Response messages as the bytes of one rule: the whole, its `response_body`, or google.api.HttpBody as it is."""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.message import DecodeError, Message

from trinity_core.errors import Reason, TrinityError
from trinity_http.bind import HTTP_BODY, Binding
from trinity_http.contract import ContractError
from trinity_http.message_types import Types
from trinity_http.protojson_write import JsonWriter
from trinity_http.wellknown import Unwritable

JSON: Final = b"application/json"
OCTETS: Final = b"application/octet-stream"


class Renderer:
    """Renders the responses of one binding."""

    def __init__(self, binding: Binding, *, types: Types, writer: JsonWriter) -> None:
        self._field = binding.response_field
        self._writer = writer
        self._make = types.of(binding.method.output)
        shown = binding.method.output if self._field is None else self._field.message_type
        self.raw = shown is not None and shown.full_name == HTTP_BODY and not (self._field and self._field.is_repeated)
        """The answer is google.api.HttpBody: its own media type, bytes as they are."""
        self.other = binding.method.other_form
        """Field that is the answer where it is set, and whose service judges Accept; "" for none."""
        if self.other:
            found = binding.method.output.fields_by_name.get(self.other)
            kind = found.message_type if found is not None and not found.is_repeated else None
            if kind is None or kind.full_name != HTTP_BODY or binding.method.server_streaming:
                raise ContractError(
                    f"{binding.method.full_name}: other_form must name a google.api.HttpBody of its one response"
                )

    def parse(self, data: bytes) -> Message:
        """The response in protobuf's binary form as a message. Raises TrinityError BACKEND_ERROR."""
        try:
            return self._make.FromString(data)
        except DecodeError:
            raise TrinityError(Reason.BACKEND_ERROR, "the service's answer does not fit its contract") from None

    def body(self, message: Message) -> tuple[bytes, bytes]:
        """Media type and bytes of a response. Raises TrinityError BACKEND_ERROR when it has no JSON form."""
        field = self._field
        shown: Any
        if self.other and message.HasField(self.other):
            shown = getattr(message, self.other)
            return _media_type(shown.content_type), shown.data
        if self.raw:
            shown = message if field is None else getattr(message, field.name)
            return _media_type(shown.content_type), shown.data
        try:
            if field is None:
                return JSON, self._writer.write(message)
            if field.has_presence and not message.HasField(field.name):
                return JSON, b"null"
            return JSON, self._writer.write_field(message, field)
        except Unwritable as error:
            raise TrinityError(Reason.BACKEND_ERROR, f"the service's answer has no JSON form: {error}") from None


def _media_type(text: str) -> bytes:
    """What a service calls its content, unless it is no header's value."""
    return text.encode("ascii") if text and text.isascii() and text.isprintable() else OCTETS
