"""A request's body, read within its bound, and judged by its media type."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final, TypeAlias

from trinity_core.errors import Reason, TrinityError
from trinity_http.bind import Binding, Body
from trinity_http.json_text import misfit, parse_json

Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]

NDJSON: Final = "application/x-ndjson"


class ClientGoneError(Exception):
    """The client went away before it had sent its request."""


async def read_body(headers: Mapping[bytes, bytes], receive: Receive, *, bytes_max: int) -> bytes:
    """The whole body. Raises TrinityError BODY_TOO_LARGE (413) as soon as that is known, and ClientGoneError."""
    length = headers.get(b"content-length")
    if length is None and b"transfer-encoding" not in headers:
        return b""
    if length is not None and length.isdigit() and int(length) > bytes_max:
        raise _too_large(bytes_max)
    parts: list[bytes] = []
    size = 0
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise ClientGoneError
        part: bytes = event.get("body", b"")
        size += len(part)
        if size > bytes_max:
            raise _too_large(bytes_max)
        parts.append(part)
        if not event.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def check_media_type(headers: Mapping[bytes, bytes], binding: Binding) -> str:
    """The Content-Type as it was given, "" for none. Raises TrinityError UNSUPPORTED_MEDIA_TYPE (415).

    JSON is taken as application/json, a google.api.HttpBody as anything, the items of a
    client stream also as application/x-ndjson. No Content-Type counts as the right one.
    """
    if headers.get(b"content-encoding", b"identity").strip().lower() not in (b"identity", b""):
        raise TrinityError(Reason.UNSUPPORTED_MEDIA_TYPE, "compressed bodies are not taken; send it as it is")
    given = headers.get(b"content-type", b"").decode("latin-1")
    if not given or binding.raw_body:
        return given
    name, _, parameters = given.partition(";")
    taken = ("application/json", NDJSON) if binding.method.client_streaming else ("application/json",)
    if name.strip().lower() not in taken:
        raise TrinityError(Reason.UNSUPPORTED_MEDIA_TYPE, f"the body must be {' or '.join(taken)}")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if charset not in ("", "utf-8", "utf8"):
        raise TrinityError(Reason.UNSUPPORTED_MEDIA_TYPE, "JSON must be in UTF-8")
    return given


def items_of(body: Body) -> list[Any]:
    """The parsed items of a client stream's body: a JSON array, or one JSON value a line. Raises INVALID_JSON."""
    if body.content_type.partition(";")[0].strip().lower() == NDJSON:
        return [parse_json(line) for line in body.data.split(b"\n") if line.strip()]
    if not body.data:
        return []
    value = parse_json(body.data)
    if type(value) is not list:
        raise misfit("an array with an item for each message of the stream is expected")
    return value


def _too_large(bytes_max: int) -> TrinityError:
    return TrinityError(
        Reason.BODY_TOO_LARGE, f"the body is greater than {bytes_max} bytes", {"bytes_max": str(bytes_max)}
    )
