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
    if etag is None or not same_version(wanted, etag):
        return None
    return without_body(answer)


def same_version(if_none_match: bytes, etag: bytes) -> bool:
    """Whether a value of If-None-Match names an ETag, by the weak comparison; "*" names any."""
    tags = [tag.strip().removeprefix(b"W/") for tag in if_none_match.split(b",")]
    return etag.removeprefix(b"W/") in tags or tags == [b"*"]


def without_body(answer: Answer) -> Answer:
    """304 in an answer's place."""
    return Answer(304, [header for header in answer.headers if header[0] in _KEPT], b"")


_KEPT = frozenset({b"etag", b"cache-control", b"vary", b"expires"})
