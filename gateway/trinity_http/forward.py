"""What of a request's headers a gRPC call is given, and what of its metadata goes back."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final, TypeAlias

from trinity_core.errors import Reason, TrinityError, invalid_field
from trinity_http.answer import Headers, Principal
from trinity_http.settings import GatewaySettings
from trinity_mesh.interceptors import REQUEST_ID_KEY

Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...]


def deadline_s(headers: Mapping[bytes, bytes], settings: GatewaySettings, *, streaming: bool) -> float | None:
    """Seconds that a call may take; None for a stream whose client sets no bound.

    Read from `grpc-timeout` (as gRPC writes it: "500m") and `X-Request-Timeout` (seconds: "0.5",
    or with a unit: "0.5s", "500ms"); the shorter counts. Raises TrinityError INVALID_FIELD
    for anything else, DEADLINE_EXCEEDED when there is no time at all.
    """
    asked: float | None = None
    grpc_timeout = headers.get(b"grpc-timeout")
    if grpc_timeout is not None:
        found = _GRPC_TIMEOUT.fullmatch(grpc_timeout)
        if found is None:
            raise invalid_field("grpc-timeout", "up to 8 digits and one of H, M, S, m, u, n are expected, as in 500m")
        asked = int(found[1]) * _GRPC_UNITS[found[2]]
    request_timeout = headers.get(b"x-request-timeout")
    if request_timeout is not None:
        found = _REQUEST_TIMEOUT.fullmatch(request_timeout)
        if found is None:
            raise invalid_field("X-Request-Timeout", "seconds are expected, as in 0.5, 0.5s or 500ms")
        seconds = float(found[1]) * (0.001 if found[2] == b"ms" else 1.0)
        asked = seconds if asked is None else min(asked, seconds)
    if asked is not None and asked <= 0:
        raise TrinityError(Reason.DEADLINE_EXCEEDED, "the request leaves no time to answer it")
    if streaming:
        return asked
    if asked is None:
        return settings.deadline_default_ms / 1_000
    return min(asked, settings.deadline_max_ms / 1_000)


def metadata_of(
    headers: Mapping[bytes, bytes],
    settings: GatewaySettings,
    *,
    request_id: str,
    principal: Principal | None,
) -> Metadata:
    """GRPC metadata: request id and a well-formed trace always, who asks, and the headers that the settings name."""
    found: list[tuple[str, str | bytes]] = [(REQUEST_ID_KEY, request_id)]
    if principal is not None:
        found.extend(principal.metadata)
    traceparent = headers.get(b"traceparent")
    if traceparent is not None and _TRACEPARENT.fullmatch(traceparent) and not _NO_TRACE.search(traceparent):
        found.append(("traceparent", traceparent.decode("ascii")))
        tracestate = headers.get(b"tracestate", b"")
        if tracestate and len(tracestate) <= _TRACESTATE_LENGTH_MAX and _PRINTABLE.fullmatch(tracestate):
            found.append(("tracestate", tracestate.decode("ascii")))
    for name in settings.forward_headers:
        value = headers.get(name.encode("ascii"))
        if value is None:
            continue
        if name.endswith("-bin"):
            try:
                found.append((name, base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)))
            except binascii.Error:
                raise invalid_field(name, "base64 is expected") from None
        elif _PRINTABLE.fullmatch(value):
            found.append((name, value.decode("ascii")))
    return tuple(found)


def returned(metadata: Iterable[tuple[str, str | bytes]] | None, wanted: Collection[str]) -> Headers:
    """What of a call's metadata goes back to the client; what is no header's value is left out."""
    return [
        (key.encode("ascii"), value.encode("ascii"))
        for key, value in metadata or ()
        if key in wanted and isinstance(value, str) and _HEADER_VALUE.fullmatch(value)
    ]


_GRPC_UNITS: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_GRPC_TIMEOUT: Final = re.compile(rb"([0-9]{1,8})([HMSmun])")
_REQUEST_TIMEOUT: Final = re.compile(rb"([0-9]{1,9}(?:\.[0-9]{1,9})?)(s|ms)?")
_TRACEPARENT: Final = re.compile(rb"(?!ff)[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_NO_TRACE: Final = re.compile(rb"-0{32}-|-0{16}-")
_PRINTABLE: Final = re.compile(rb"[\x20-\x7e]*")
_HEADER_VALUE: Final = re.compile(r"[\x20-\x7e]*")
_TRACESTATE_LENGTH_MAX: Final = 512
