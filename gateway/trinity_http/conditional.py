"""Conditional requests: an answer the client has already is not sent again (RFC 9110, section 13.1.2)."""

from __future__ import annotations

from trinity_http.answer import Answer
from trinity_http.request import Request


def not_modified(request: Request, answer: Answer) -> Answer | None:
    """304 in the answer's place when the request's If-None-Match names its ETag; None otherwise."""
    wanted = request.headers.get(b"if-none-match")
    if wanted is None or request.method not in ("GET", "HEAD"):
        return None
    etag = next((value for name, value in answer.headers if name == b"etag"), None)
    if etag is None:
        return None
    tags = [tag.strip().removeprefix(b"W/") for tag in wanted.split(b",")]
    if etag.removeprefix(b"W/") not in tags and tags != [b"*"]:
        return None
    kept = [header for header in answer.headers if header[0] in _KEPT]
    return Answer(304, kept, b"")


_KEPT = frozenset({b"etag", b"cache-control", b"vary", b"expires"})
