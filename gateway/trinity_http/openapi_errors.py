"""Every status that an operation can answer with but 200, and what each means, for the OpenAPI document."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from trinity_core.errors import HTTP_STATUS, TABLE, Code
from trinity_http.schemas import Schema

Responses = dict[str, Any]


def error_components(status: Schema) -> Responses:
    """What `error_responses` points to, by name; `status` is the schema of google.rpc.Status."""
    return {
        "NotModified": {"description": "What the client has is what it would be sent.", "headers": dict(_CONDITIONAL)},
        **{
            f"Error{number}": {
                "description": _meaning(number),
                "headers": {"X-Request-Id": REQUEST_ID, **_HEADERS.get(number, {})},
                "content": {"application/json": {"schema": status}},
            }
            for number in sorted({*_ANY, _UNSUPPORTED_MEDIA_TYPE})
        },
    }


def error_responses(*, takes_body: bool, conditional: bool) -> Responses:
    """The statuses of one operation, each a reference.

    A service may answer with any gRPC code, so the list is nearly the same for all. It
    has no `default`: what is not in it is not answered.
    """
    found = {"304": {"$ref": "#/components/responses/NotModified"}} if conditional else {}
    for number in sorted({*_ANY, _UNSUPPORTED_MEDIA_TYPE} if takes_body else _ANY):
        found[str(number)] = {"$ref": f"#/components/responses/Error{number}"}
    return found


def _meaning(number: int) -> str:
    codes = [code.name for code in Code if HTTP_STATUS[code] == number and code is not Code.OK]
    reasons = [reason.value for reason, row in TABLE.items() if row.http_status == number]
    phrase = HTTPStatus(number).phrase if number in _PHRASES else "Client Closed Request"
    text = f"{phrase}."
    if codes:
        text += f" A service's {', '.join(codes)}."
    if reasons:
        text += f" Reasons: {', '.join(reasons)}."
    return text


REQUEST_ID: Final = {
    "description": "The request's id: the client's own where it sent one that is well formed.",
    "required": True,
    "schema": {"type": "string", "minLength": 1, "maxLength": 64},
}
_RETRY_AFTER: Final = {
    "description": "Seconds after which a repetition makes sense; absent where it makes none.",
    "schema": {"type": "integer", "minimum": 1},
}
_ETAG: Final = {"description": "Names this version of the price.", "schema": {"type": "string", "pattern": '^(W/)?"'}}
_CONDITIONAL: Final = {"ETag": _ETAG, "X-Request-Id": REQUEST_ID}
CONDITIONAL_PARAMETER: Final = {
    "name": "If-None-Match",
    "in": "header",
    "description": "ETags that the client has; 304 when the answer would be one of them.",
    "schema": {"type": "string"},
}
ETAG: Final = _ETAG
_UNSUPPORTED_MEDIA_TYPE: Final = 415
_ANY: Final = frozenset({row.http_status for row in TABLE.values()} | set(HTTP_STATUS.values())) - {200, 405, 415}
"""405 is left out: it is what other methods of the path answer."""
_PHRASES: Final = frozenset(int(status) for status in HTTPStatus)
_HEADERS: Final[dict[int, Responses]] = {
    401: {
        "WWW-Authenticate": {
            "description": "The scheme that is asked for.",
            "required": True,
            "schema": {"type": "string"},
        }
    },
    429: {"Retry-After": _RETRY_AFTER},
    503: {"Retry-After": _RETRY_AFTER},
}
