"""TrinityError to google.rpc.Status and back, the same at every edge.

The details follow google/rpc/error_details.proto: ErrorInfo (reason, domain, metadata)
always, BadRequest where fields are named, RetryInfo where a repetition makes sense and
RequestInfo with the request id. On gRPC they travel in `grpc-status-details-bin`, as
gRPC's richer error model has it.
"""

from __future__ import annotations

from typing import Final

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2, status_pb2

from trinity_core.errors import DOMAIN, Code, FieldViolation, Reason, TrinityError
from trinity_core.keys import hidden
from trinity_mesh.tls_words import explained

DETAILS_KEY: Final = "grpc-status-details-bin"
"""Trailing metadata key of the serialised google.rpc.Status."""

GRPC_CODE: Final = {int(code.value[0]): code for code in grpc.StatusCode}
"""grpc.StatusCode by number."""

_BY_CODE: Final = {
    Code.CANCELLED: Reason.CANCELLED,
    Code.INVALID_ARGUMENT: Reason.INVALID_FIELD,
    Code.DEADLINE_EXCEEDED: Reason.DEADLINE_EXCEEDED,
    Code.NOT_FOUND: Reason.UNKNOWN_PATH,
    Code.PERMISSION_DENIED: Reason.MISSING_SCOPE,
    Code.RESOURCE_EXHAUSTED: Reason.RATE_LIMITED,
    Code.UNIMPLEMENTED: Reason.UNIMPLEMENTED,
    Code.INTERNAL: Reason.INTERNAL,
    Code.UNAVAILABLE: Reason.BACKEND_UNAVAILABLE,
    Code.UNAUTHENTICATED: Reason.INVALID_KEY,
}


def to_status(error: TrinityError, *, request_id: str = "") -> status_pb2.Status:
    """The error as google.rpc.Status, with every detail a caller may see.

    Errors quote what they do not take. Where that was a key in a wrong place, its secret is left out: callers log
    what they are told.
    """
    status = status_pb2.Status(code=int(error.row.code), message=hidden(error.message))
    metadata = {name: hidden(value) for name, value in error.metadata.items()}
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)
    status.details.add().Pack(info)
    if error.violations:
        bad = error_details_pb2.BadRequest()
        for violation in error.violations:
            bad.field_violations.add(field=hidden(violation.field), description=hidden(violation.description))
        status.details.add().Pack(bad)
    if error.retry_after_ms is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(error.retry_after_ms)
        status.details.add().Pack(retry)
    if request_id:
        status.details.add().Pack(error_details_pb2.RequestInfo(request_id=request_id))
    return status


def from_status(status: status_pb2.Status) -> TrinityError:
    """The error that a google.rpc.Status tells of; unknown reasons keep only their code's meaning."""
    code = _code(status.code)
    reason, metadata = _BY_CODE.get(code, Reason.BACKEND_ERROR), dict[str, str]()
    violations: list[FieldViolation] = []
    retry_after_ms = None
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        bad = error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            metadata = dict(info.metadata)
            if info.domain == DOMAIN and info.reason in Reason.__members__:
                reason = Reason(info.reason)
        elif detail.Unpack(bad):
            violations = [FieldViolation(item.field, item.description) for item in bad.field_violations]
        elif detail.Unpack(retry):
            retry_after_ms = retry.retry_delay.ToMilliseconds()
    return TrinityError(reason, status.message, metadata, retry_after_ms, tuple(violations))


def from_rpc_error(error: grpc.aio.AioRpcError) -> TrinityError:
    """The error of a failed call. Without details (a proxy, a dead peer) the code alone decides."""
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            status = status_pb2.Status()
            try:
                status.ParseFromString(value)
                if status.code == error.code().value[0]:
                    return from_status(status)
            except DecodeError:
                break
    code = _code(error.code().value[0])
    message = explained(error.details() or code.name)
    return TrinityError(_BY_CODE.get(code, Reason.BACKEND_ERROR), message)


def _code(number: int) -> Code:
    return Code(number) if number in code_pb2.Code.values() else Code.UNKNOWN
