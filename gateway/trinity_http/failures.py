"""Errors as HTTP answers: a google.rpc.Status in JSON, whatever failed and wherever.

{"code": 5, "message": "…", "details": [
  {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "UNKNOWN_ASSET", "domain": "trinity-beast", …},
  {"@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": "…", …}]}
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from trinity_core.errors import DOMAIN, HTTP_STATUS, TABLE, Code, Reason, TrinityError
from trinity_http.answer import Answer, Headers
from trinity_http.message_types import Types
from trinity_http.protojson_write import JsonWriter
from trinity_mesh.status import DETAILS_KEY, to_status

JSON: Final = b"application/json"
NO_STORE: Final = (b"cache-control", b"no-store")


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong, ready for any framing."""

    code: Code
    http_status: int
    reason: str
    message: str
    body: bytes
    """The google.rpc.Status as JSON text."""
    headers: Headers
    """Headers that belong to it: Retry-After, Allow, WWW-Authenticate."""

    def answer(self) -> Answer:
        """As a whole HTTP answer."""
        return Answer(self.http_status, [(b"content-type", JSON), NO_STORE, *self.headers], self.body)


class Failures:
    """Makes failures of errors."""

    def __init__(self, types: Types) -> None:
        """`types` are asked for details that only the served contract knows."""
        self._writer = JsonWriter(types, show_unknown_any=True)

    def of(self, error: TrinityError, request_id: str) -> Failure:
        """The failure of an error of our own."""
        return self._failure(to_status(error, request_id=request_id), error.row.http_status, str(error.reason), error)

    def of_call(self, error: grpc.aio.AioRpcError, service: str, request_id: str) -> Failure:
        """The failure of a gRPC call, with every detail its service sent.

        A service that sent no google.rpc.ErrorInfo is given one: its code's name as reason,
        its full name as domain. What never reached a service is BACKEND_UNAVAILABLE, without
        the transport's own words: they name addresses.
        """
        status = _status_of(error)
        if not status.details and error.code() is grpc.StatusCode.UNAVAILABLE and _TRANSPORT.search(status.message):
            return self.of(UNREACHABLE, request_id)
        code = _code(status.code)
        info = _info(status)
        if info is None:
            info = error_details_pb2.ErrorInfo(reason=code.name, domain=service)
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                info = error_details_pb2.ErrorInfo(reason=Reason.DEADLINE_EXCEEDED, domain=DOMAIN)
            status.details.add().Pack(info)
        http_status = HTTP_STATUS[code]
        if info.domain == DOMAIN and info.reason in TABLE and TABLE[Reason(info.reason)].code is code:
            http_status = TABLE[Reason(info.reason)].http_status
        if not any(detail.Is(error_details_pb2.RequestInfo.DESCRIPTOR) for detail in status.details):
            status.details.add().Pack(error_details_pb2.RequestInfo(request_id=request_id))
        return self._failure(status, http_status, info.reason, None)

    def _failure(self, status: status_pb2.Status, http_status: int, reason: str, error: TrinityError | None) -> Failure:
        headers: Headers = []
        retry_s = _retry_s(status)
        if retry_s is not None:
            headers.append((b"retry-after", b"%d" % retry_s))
        if error is not None and error.reason is Reason.METHOD_NOT_ALLOWED:
            headers.append((b"allow", error.metadata.get("allow", "").encode("ascii")))
        if http_status == _UNAUTHORIZED:
            headers.append((b"www-authenticate", _CHALLENGE_INVALID if reason == Reason.INVALID_KEY else _CHALLENGE))
        return Failure(_code(status.code), http_status, reason, status.message, self._writer.write(status), headers)


UNREACHABLE: Final = TrinityError(
    Reason.BACKEND_UNAVAILABLE,
    "the service behind this gateway cannot be reached now; try again",
    retry_after_ms=1_000,
)
UNFORESEEN: Final = TrinityError(
    Reason.INTERNAL, "something went wrong on our side; the request id leads to the details"
)


def _status_of(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    number = error.code().value[0]
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                status = status_pb2.Status.FromString(value)
            except DecodeError:
                break
            if status.code == number:
                return status
    return status_pb2.Status(code=number, message=error.details() or "")


def _info(status: status_pb2.Status) -> error_details_pb2.ErrorInfo | None:
    info = error_details_pb2.ErrorInfo()
    try:
        return info if any(detail.Unpack(info) for detail in status.details) else None
    except DecodeError:
        return None


def _retry_s(status: status_pb2.Status) -> int | None:
    retry = error_details_pb2.RetryInfo()
    try:
        if any(detail.Unpack(retry) for detail in status.details):
            delay_ms: int = retry.retry_delay.ToMilliseconds()
            return max(1, -(-delay_ms // 1_000))
    except DecodeError:
        pass
    return None


def _code(number: int) -> Code:
    try:
        return Code(number)
    except ValueError:
        return Code.UNKNOWN


_TRANSPORT: Final = re.compile(
    r"ipv4:|ipv6:|unix:|failed to connect|connections to all backends|DNS resolution|socket closed|recvmsg|sendmsg"
    r"|connection (?:reset|refused)|broken pipe|goaway|stream removed|keepalive watchdog|transport closed"
    r"|endpoint closing|cancelling all calls",
    re.IGNORECASE,
)
"""The words of gRPC's own transport, which does not say otherwise that no service was reached."""
_UNAUTHORIZED: Final = 401
_CHALLENGE: Final = f'Bearer realm="{DOMAIN}"'.encode()
_CHALLENGE_INVALID: Final = f'Bearer realm="{DOMAIN}", error="invalid_token"'.encode()
