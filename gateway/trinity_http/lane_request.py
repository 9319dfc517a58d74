"""Which bytes are one whole, plain request for a price: a subset of HTTP/1.1 with nothing left to interpret.

What is plain is read here; for everything else the answer is None, and the full parser decides. The
subset is strict on purpose (RFC 9112, sections 3 and 5; RFC 9110, section 5.6.2): each byte that it takes,
the full parser takes as well and understands in the same way. Only headers that cannot change the
answer are passed over, and they stand in a list; one that is not on it makes a request not plain.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

REQUEST_BYTES_MAX: Final = 8_192
"""A longer request is not plain."""


@dataclass(frozen=True, slots=True)
class PlainRequest:
    """A GET of one asset's price with default parameters."""

    asset: str
    """Its id in upper case."""
    key: str
    """The bearer key as it was presented."""
    if_none_match: bytes | None
    request_id: bytes | None
    """The client's own, where it is one that answers repeat."""
    headers: Mapping[bytes, bytes]
    """X-Forwarded-For, where it was given."""


def plain_request(data: bytes) -> PlainRequest | None:
    """The request that `data` is, as a whole and nothing more; None for what is not plain."""
    if len(data) > REQUEST_BYTES_MAX:
        return None
    found = _REQUEST.fullmatch(data)
    if found is None:
        return None
    meant: dict[bytes, bytes] = {}
    for line in found["headers"].split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        # Space behind a value is left where it is, as the full parser leaves it.
        name, value = name.lower(), value.lstrip(b" \t")
        if name in _IGNORED:
            continue
        allowed = _MEANT.get(name)
        # A header given twice is for the full parser to join.
        if allowed is None or name in meant or not allowed.fullmatch(value):
            return None
        meant[name] = value
    bearer = meant.get(b"authorization")
    if bearer is None:
        return None
    forwarded = meant.get(b"x-forwarded-for")
    return PlainRequest(
        asset=(found["asset"] or found["other"]).decode("ascii").upper(),
        key=bearer[_BEARER_LENGTH:].lstrip(b" ").decode("ascii"),
        if_none_match=meant.get(b"if-none-match"),
        request_id=meant.get(b"x-request-id"),
        headers={} if forwarded is None else {b"x-forwarded-for": forwarded},
    )


_REQUEST: Final = re.compile(
    rb"GET /(?:price\?asset=(?P<asset>[A-Za-z0-9]{1,16})|v1/prices/(?P<other>[A-Za-z0-9]{1,16})) HTTP/1\.1\r\n"
    rb"(?P<headers>(?:[A-Za-z0-9\-]{1,64}:[\x20-\x7e\t]*\r\n){1,64})\r\n"
)
_BEARER_LENGTH: Final = len(b"Bearer ")
_IGNORED: Final = frozenset(
    {
        b"host",
        b"user-agent",
        b"accept-encoding",
        b"accept-language",
        b"accept-charset",
        b"cache-control",
        b"pragma",
        b"cookie",
        b"referer",
        b"dnt",
        b"from",
        b"traceparent",
        b"tracestate",
        b"x-amzn-trace-id",
        b"x-forwarded-proto",
        b"x-forwarded-port",
        b"x-forwarded-host",
        b"x-real-ip",
    }
)
"""Headers that nothing on the long way reads for this question."""
_MEANT: Final[Mapping[bytes, re.Pattern[bytes]]] = {
    b"authorization": re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +[A-Za-z0-9\-._~+/]{1,512}=*"),
    b"accept": re.compile(rb"\*/\*|application/json|application/json, ?\*/\*|application/json, ?text/plain, ?\*/\*"),
    b"connection": re.compile(rb"[Kk]eep-[Aa]live"),
    b"if-none-match": re.compile(rb"[\x20-\x7e]{0,512}"),
    b"x-request-id": re.compile(rb"[\x21-\x7e]{1,64}"),
    b"x-forwarded-for": re.compile(rb"[\x20-\x7e]{0,1024}"),
}
"""Headers that are understood, with the values that are plain."""
