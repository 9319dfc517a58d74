"""One family of errors, and the one table that gives each its code at every edge.

Inside the mesh only `TrinityError` crosses a module's seam. At an edge the row of
its reason says what a gRPC, HTTP or UDP caller sees. gRPC codes are those of
google.rpc.Code; HTTP statuses follow its published mapping.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from types import MappingProxyType

DOMAIN = "trinity-beast"
"""`domain` of every google.rpc.ErrorInfo this mesh sends."""


class Code(IntEnum):
    """google.rpc.Code, by number."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


HTTP_STATUS: Mapping[Code, int] = MappingProxyType(
    {
        Code.OK: 200,
        Code.CANCELLED: 499,
        Code.UNKNOWN: 500,
        Code.INVALID_ARGUMENT: 400,
        Code.DEADLINE_EXCEEDED: 504,
        Code.NOT_FOUND: 404,
        Code.ALREADY_EXISTS: 409,
        Code.PERMISSION_DENIED: 403,
        Code.RESOURCE_EXHAUSTED: 429,
        Code.FAILED_PRECONDITION: 400,
        Code.ABORTED: 409,
        Code.OUT_OF_RANGE: 400,
        Code.UNIMPLEMENTED: 501,
        Code.INTERNAL: 500,
        Code.UNAVAILABLE: 503,
        Code.DATA_LOSS: 500,
        Code.UNAUTHENTICATED: 401,
    }
)
"""HTTP status of each code, after google/rpc/code.proto."""


class Reason(StrEnum):
    """Why something was refused or failed; `reason` of google.rpc.ErrorInfo."""

    INVALID_FIELD = "INVALID_FIELD"
    INVALID_JSON = "INVALID_JSON"
    INVALID_REQUEST = "INVALID_REQUEST"
    INVALID_PAGE_TOKEN = "INVALID_PAGE_TOKEN"
    UNKNOWN_PARAMETER = "UNKNOWN_PARAMETER"
    UNKNOWN_ASSET = "UNKNOWN_ASSET"
    UNKNOWN_VENUE = "UNKNOWN_VENUE"
    UNKNOWN_PATH = "UNKNOWN_PATH"
    NOT_LISTED = "NOT_LISTED"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    NOT_ACCEPTABLE = "NOT_ACCEPTABLE"
    UNSUPPORTED_MEDIA_TYPE = "UNSUPPORTED_MEDIA_TYPE"
    BODY_TOO_LARGE = "BODY_TOO_LARGE"
    HEADERS_TOO_LARGE = "HEADERS_TOO_LARGE"
    REQUEST_TOO_SLOW = "REQUEST_TOO_SLOW"
    TOO_MANY_CONNECTIONS = "TOO_MANY_CONNECTIONS"
    NO_PRICE = "NO_PRICE"
    STALE_PRICE = "STALE_PRICE"
    TOO_FEW_SOURCES = "TOO_FEW_SOURCES"
    VENUE_UNAVAILABLE = "VENUE_UNAVAILABLE"
    VENUE_RATE_LIMITED = "VENUE_RATE_LIMITED"
    MISSING_KEY = "MISSING_KEY"
    INVALID_KEY = "INVALID_KEY"
    MISSING_SCOPE = "MISSING_SCOPE"
    RATE_LIMITED = "RATE_LIMITED"
    TOO_MANY_STREAMS = "TOO_MANY_STREAMS"
    OVERLOADED = "OVERLOADED"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    CANCELLED = "CANCELLED"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    BACKEND_UNAVAILABLE = "BACKEND_UNAVAILABLE"
    BACKEND_ERROR = "BACKEND_ERROR"
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
    STORE_CONFLICT = "STORE_CONFLICT"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    SCHEMA_MISMATCH = "SCHEMA_MISMATCH"
    DATA_DIR_IN_USE = "DATA_DIR_IN_USE"
    UNKNOWN_ASSOCIATE = "UNKNOWN_ASSOCIATE"
    UNKNOWN_PLAN = "UNKNOWN_PLAN"
    UNKNOWN_KEY = "UNKNOWN_KEY"
    KEY_NOT_ACTIVE = "KEY_NOT_ACTIVE"
    TOO_MANY_KEYS = "TOO_MANY_KEYS"
    TRANSPORT_NOT_ALLOWED = "TRANSPORT_NOT_ALLOWED"
    ASSET_NOT_ALLOWED = "ASSET_NOT_ALLOWED"
    NETWORK_NOT_ALLOWED = "NETWORK_NOT_ALLOWED"
    QUOTA_EXHAUSTED = "QUOTA_EXHAUSTED"
    LEDGER_FULL = "LEDGER_FULL"
    UNKNOWN_ENDPOINT = "UNKNOWN_ENDPOINT"
    UNKNOWN_SUBSCRIPTION = "UNKNOWN_SUBSCRIPTION"
    UNKNOWN_DELIVERY = "UNKNOWN_DELIVERY"
    ENDPOINT_NOT_ACTIVE = "ENDPOINT_NOT_ACTIVE"
    WRONG_CHALLENGE = "WRONG_CHALLENGE"
    INVALID_SIGNATURE = "INVALID_SIGNATURE"
    TOO_MANY_ENDPOINTS = "TOO_MANY_ENDPOINTS"
    TOO_MANY_SUBSCRIPTIONS = "TOO_MANY_SUBSCRIPTIONS"
    UNKNOWN_PEER = "UNKNOWN_PEER"
    PEER_NOT_ALLOWED = "PEER_NOT_ALLOWED"
    STOPPING = "STOPPING"
    INTERNAL = "INTERNAL"


@dataclass(frozen=True, slots=True)
class Row:
    """What each edge says of a reason."""

    code: Code
    http_status: int
    """HTTP status where it is finer than the code's own."""


def _row(code: Code, http_status: int | None = None) -> Row:
    return Row(code, HTTP_STATUS[code] if http_status is None else http_status)


TABLE: Mapping[Reason, Row] = MappingProxyType(
    {
        Reason.INVALID_FIELD: _row(Code.INVALID_ARGUMENT),
        Reason.INVALID_JSON: _row(Code.INVALID_ARGUMENT),
        Reason.INVALID_REQUEST: _row(Code.INVALID_ARGUMENT),
        Reason.INVALID_PAGE_TOKEN: _row(Code.INVALID_ARGUMENT),
        Reason.UNKNOWN_PARAMETER: _row(Code.INVALID_ARGUMENT),
        Reason.UNKNOWN_ASSET: _row(Code.NOT_FOUND),
        Reason.UNKNOWN_VENUE: _row(Code.NOT_FOUND),
        Reason.UNKNOWN_PATH: _row(Code.NOT_FOUND),
        Reason.NOT_LISTED: _row(Code.NOT_FOUND),
        Reason.METHOD_NOT_ALLOWED: _row(Code.UNIMPLEMENTED, 405),
        Reason.NOT_ACCEPTABLE: _row(Code.INVALID_ARGUMENT, 406),
        Reason.UNSUPPORTED_MEDIA_TYPE: _row(Code.INVALID_ARGUMENT, 415),
        Reason.BODY_TOO_LARGE: _row(Code.INVALID_ARGUMENT, 413),
        Reason.HEADERS_TOO_LARGE: _row(Code.INVALID_ARGUMENT, 431),
        Reason.REQUEST_TOO_SLOW: _row(Code.DEADLINE_EXCEEDED, 408),
        Reason.TOO_MANY_CONNECTIONS: _row(Code.UNAVAILABLE),
        Reason.NO_PRICE: _row(Code.UNAVAILABLE),
        Reason.STALE_PRICE: _row(Code.UNAVAILABLE),
        Reason.TOO_FEW_SOURCES: _row(Code.UNAVAILABLE),
        Reason.VENUE_UNAVAILABLE: _row(Code.UNAVAILABLE),
        Reason.VENUE_RATE_LIMITED: _row(Code.RESOURCE_EXHAUSTED),
        Reason.MISSING_KEY: _row(Code.UNAUTHENTICATED),
        Reason.INVALID_KEY: _row(Code.UNAUTHENTICATED),
        Reason.MISSING_SCOPE: _row(Code.PERMISSION_DENIED),
        Reason.RATE_LIMITED: _row(Code.RESOURCE_EXHAUSTED),
        Reason.TOO_MANY_STREAMS: _row(Code.RESOURCE_EXHAUSTED),
        Reason.OVERLOADED: _row(Code.RESOURCE_EXHAUSTED, 503),
        Reason.DEADLINE_EXCEEDED: _row(Code.DEADLINE_EXCEEDED),
        Reason.CANCELLED: _row(Code.CANCELLED),
        Reason.UNIMPLEMENTED: _row(Code.UNIMPLEMENTED),
        Reason.BACKEND_UNAVAILABLE: _row(Code.UNAVAILABLE),
        Reason.BACKEND_ERROR: _row(Code.UNKNOWN),
        Reason.STORE_UNAVAILABLE: _row(Code.UNAVAILABLE),
        Reason.STORE_CONFLICT: _row(Code.ABORTED),
        Reason.ALREADY_EXISTS: _row(Code.ALREADY_EXISTS),
        Reason.SCHEMA_MISMATCH: _row(Code.FAILED_PRECONDITION),
        Reason.DATA_DIR_IN_USE: _row(Code.FAILED_PRECONDITION),
        Reason.UNKNOWN_ASSOCIATE: _row(Code.NOT_FOUND),
        Reason.UNKNOWN_PLAN: _row(Code.NOT_FOUND),
        Reason.UNKNOWN_KEY: _row(Code.NOT_FOUND),
        Reason.KEY_NOT_ACTIVE: _row(Code.FAILED_PRECONDITION),
        Reason.TOO_MANY_KEYS: _row(Code.RESOURCE_EXHAUSTED),
        Reason.TRANSPORT_NOT_ALLOWED: _row(Code.PERMISSION_DENIED),
        Reason.ASSET_NOT_ALLOWED: _row(Code.PERMISSION_DENIED),
        Reason.NETWORK_NOT_ALLOWED: _row(Code.PERMISSION_DENIED),
        Reason.QUOTA_EXHAUSTED: _row(Code.RESOURCE_EXHAUSTED),
        Reason.LEDGER_FULL: _row(Code.UNAVAILABLE),
        Reason.UNKNOWN_ENDPOINT: _row(Code.NOT_FOUND),
        Reason.UNKNOWN_SUBSCRIPTION: _row(Code.NOT_FOUND),
        Reason.UNKNOWN_DELIVERY: _row(Code.NOT_FOUND),
        Reason.ENDPOINT_NOT_ACTIVE: _row(Code.FAILED_PRECONDITION),
        Reason.WRONG_CHALLENGE: _row(Code.FAILED_PRECONDITION),
        Reason.INVALID_SIGNATURE: _row(Code.UNAUTHENTICATED),
        Reason.TOO_MANY_ENDPOINTS: _row(Code.RESOURCE_EXHAUSTED),
        Reason.TOO_MANY_SUBSCRIPTIONS: _row(Code.RESOURCE_EXHAUSTED),
        Reason.UNKNOWN_PEER: _row(Code.UNAUTHENTICATED),
        Reason.PEER_NOT_ALLOWED: _row(Code.PERMISSION_DENIED),
        Reason.STOPPING: _row(Code.UNAVAILABLE),
        Reason.INTERNAL: _row(Code.INTERNAL),
    }
)
"""The one table: every reason has exactly one row (docs/errors.md shows it)."""


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of a request that broke a rule."""

    field: str
    """Path of the field, as the caller names it: "max_age", "assets[2]"."""
    description: str
    """What is wrong and what to do."""


@dataclass(eq=False)
class TrinityError(Exception):
    """A refusal or failure whose reason, message and metadata may be shown to the caller."""

    reason: Reason
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Machine-readable facts, shown in ErrorInfo; never a secret."""
    retry_after_ms: int | None = None
    """When a repetition makes sense, milliseconds from now; None where it does not or nobody knows."""
    violations: tuple[FieldViolation, ...] = ()

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"

    @property
    def row(self) -> Row:
        """The reason's row of the table."""
        return TABLE[self.reason]


def invalid_field(path: str, description: str) -> TrinityError:
    """INVALID_ARGUMENT that names one field and says what to do."""
    return TrinityError(
        Reason.INVALID_FIELD,
        f"{path}: {description}",
        metadata={"field": path},
        violations=(FieldViolation(path, description),),
    )
