"""One HTTP request or WebSocket handshake, as the bridge looks at it."""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

TRAILERS: Final = "http.response.trailers"
"""The ASGI extension, and the message, of trailers."""


class Request:
    """What an ASGI scope says, taken apart once."""

    __slots__ = (
        "address",
        "headers",
        "http_version",
        "method",
        "query",
        "raw_path",
        "request_id",
        "route",
        "takes_trailers",
    )

    def __init__(self, scope: Scope) -> None:
        headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            headers[name] = headers[name] + b", " + value if name in headers else value
        self.headers = headers
        """By name in lower case; a header given twice has its values joined by commas."""
        client = scope.get("client")
        self.address: str = client[0] if client else ""
        """Of the peer that is connected, a proxy's perhaps; empty where it has none."""
        self.method: str = scope.get("method", "GET")
        self.raw_path: bytes = scope.get("raw_path") or scope["path"].encode("utf-8")
        self.query: bytes = scope["query_string"]
        self.http_version: str = scope.get("http_version", "1.1")
        self.takes_trailers: bool = TRAILERS in scope.get("extensions", ())
        """The server can send trailers after the body."""
        self.route = ""
        """Template of the path, once it is known which one serves it."""
        given = headers.get(b"x-request-id")
        self.request_id = (
            given.decode("ascii") if given is not None and _REQUEST_ID.fullmatch(given) else os.urandom(16).hex()
        )
        """The client's own where it is short and printable, else a new one."""


_REQUEST_ID: Final = re.compile(rb"[\x21-\x7e]{1,64}")
