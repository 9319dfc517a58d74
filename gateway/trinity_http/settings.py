"""Settings of the HTTP/JSON bridge and of the server that carries it."""

from __future__ import annotations

from dataclasses import dataclass

from trinity_admission.networks import Networks


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """What one bridge allows and forwards."""

    title: str = "Trinity Beast"
    """Title of the OpenAPI document and of /docs."""
    version: str = "0"
    """Version of the OpenAPI document."""
    body_bytes_max: int = 1 << 20
    """Greatest request body; beyond it 413."""
    parameters_max: int = 1_000
    """Most values in one query string; beyond it 400."""
    deadline_default_ms: int = 10_000
    """Deadline of a unary call whose client names none."""
    deadline_max_ms: int = 60_000
    """Greatest deadline of a unary call a client may ask for; longer ones are shortened."""
    stream_open_ms: int = 1_000
    """A stream whose service is silent this long is opened towards the client all the same; one of bytes is not."""
    stream_keepalive_ms: int = 15_000
    """Longest silence on a text/event-stream before a comment is sent."""
    streams_max: int = 5_000
    """Streams open at once in this process; beyond it 429."""
    watch_after_ms: int = 20
    """A unary call longer than this is given up when its client disconnects."""
    ignore_unknown_fields: bool = False
    """Take requests with names that the contract does not have, and ignore those."""
    forward_headers: tuple[str, ...] = ()
    """Request headers sent on as gRPC metadata, lower case; tracing and request id always go."""
    return_metadata: tuple[str, ...] = ()
    """gRPC initial metadata sent back as response headers, lower case; of streams as well."""
    return_trailers: tuple[str, ...] = ()
    """gRPC trailing metadata of streams of google.api.HttpBody sent back as HTTP/1.1 trailers, lower case."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks (CIDR) of proxies in front of this gateway whose X-Forwarded-For, or PROXY header, tells a client's
    address. Nobody else's does."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may call, as in "https://example.com"; "*" for any."""
    cors_max_age_s: int = 600
    """How long a browser may remember the answer to a preflight."""
    docs: bool = True
    """Serve /docs and /openapi.json."""
    docs_assets: str = ""
    """Folder with swagger-ui-bundle.js and swagger-ui.css; empty looks for an installed package that has them."""

    def __post_init__(self) -> None:
        """Raise ValueError for values out of their bounds."""
        for name in ("body_bytes_max", "parameters_max", "deadline_default_ms", "deadline_max_ms", "streams_max"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        for name in ("stream_open_ms", "stream_keepalive_ms"):
            if getattr(self, name) < _STREAM_MS_MIN:
                raise ValueError(f"{name} must be at least {_STREAM_MS_MIN}")
        if self.deadline_default_ms > self.deadline_max_ms:
            raise ValueError("deadline_default_ms must not be greater than deadline_max_ms")
        for name in ("forward_headers", "return_metadata", "return_trailers"):
            for header in getattr(self, name):
                if header != header.lower() or not header or not header.isascii():
                    raise ValueError(f"{name}: {header!r} must be a header's name in lower case")
                if header.startswith(("grpc-", ":")) or header in _HOP_BY_HOP:
                    raise ValueError(f"{name}: {header!r} belongs to one hop and cannot be passed on")
                if header.startswith("x-trinity-"):
                    raise ValueError(f"{name}: {header!r} is what the parts of the mesh tell each other")
        for header in self.return_trailers:
            if header in _NEVER_TRAILERS:
                raise ValueError(f"return_trailers: {header!r} must be known before the body and cannot come after it")
        Networks(self.trusted_proxies)


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What one HTTP server allows its connections; a connection that breaks one is answered and closed."""

    head_bytes_max: int = 32 << 10
    """Request line and headers together; beyond it 431."""
    head_ms: int = 10_000
    """Time from the first byte of a request, or from connecting, to the end of its headers; then 408."""
    body_ms: int = 30_000
    """Time from the end of the headers to the end of the body; then 408."""
    idle_ms: int = 75_000
    """How long a connection may rest between two requests."""
    write_stall_ms: int = 30_000
    """How long a client may take nothing of an answer; then it is cut off."""
    connections_max: int = 10_000
    """Connections open at once in this process; beyond it 503."""
    connections_per_address_max: int = 0
    """Connections open at once from one address; beyond it 503. 0 sets no bound. Those of trusted_proxies are many
    clients' and not bounded; behind a PROXY header the client's own address counts."""
    write_buffer_bytes: int = 64 << 10
    """Bytes of answers kept for one slow client before its stream waits."""
    send_buffer_bytes: int = 256 << 10
    """Kernel buffer of one connection (SO_SNDBUF); bounds how old a slow stream's bytes can be. 0: the system's."""
    websocket_message_bytes_max: int = 64 << 10
    """Greatest message a client may send on a WebSocket."""
    drain_ms: int = 5_000
    """How long requests under way may take to finish once the server stops."""
    backlog: int = 2_048
    """Connections the kernel keeps waiting to be taken."""

    def __post_init__(self) -> None:
        """Raise ValueError for values out of their bounds."""
        for name in ("head_bytes_max", "head_ms", "body_ms", "idle_ms", "write_stall_ms", "connections_max"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")


_STREAM_MS_MIN = 10
_NEVER_TRAILERS = frozenset(
    {
        "age",
        "authorization",
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-range",
        "cookie",
        "date",
        "etag",
        "expires",
        "last-modified",
        "location",
        "pragma",
        "retry-after",
        "set-cookie",
        "vary",
        "www-authenticate",
    }
)
"""What says how to read, keep or route an answer, or who may (RFC 9110, section 6.5.1)."""
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "content-length",
        "content-type",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
