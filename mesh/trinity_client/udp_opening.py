"""Opens sessions of datagrams over HTTP, with an API key. Only this module of the client knows httpx."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from google.protobuf import json_format
from google.rpc import status_pb2

from trinity.account.v1 import account_pb2
from trinity_core.errors import Reason, TrinityError
from trinity_core.udp_session import SESSION_KEY_BYTES, parse_session_id
from trinity_mesh.status import from_status

PATH: Final = "/v1/udp/sessions"

_BODY_BYTES_MAX: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class UdpSessionKey:
    """An open session: what a client needs of it."""

    session_id: int
    session_key: bytes = field(repr=False)
    """32 bytes; it signs every datagram and never travels in one."""
    expire_s: int
    """When it ends, unix seconds."""


async def open_udp_session(url: str, key: str, *, timeout_ms: int = 10_000) -> UdpSessionKey:
    """A new session of a key.

    Args:
        url: where a gateway answers HTTP: "http://127.0.0.1:8080" or "https://…".
        key: the API key; it goes there and nowhere else.
        timeout_ms: longest wait.

    Raises TrinityError: what the gateway says (INVALID_KEY), or BACKEND_UNAVAILABLE.
    """
    # A tenth of the time that a process of the mesh takes to come up, and most never open a session.
    import httpx

    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    try:
        async with (
            httpx.AsyncClient(timeout=timeout_ms / 1_000, trust_env=False) as client,
            client.stream("POST", url.rstrip("/") + PATH, content=b"{}", headers=headers) as response,
        ):
            body = b""
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > _BODY_BYTES_MAX:
                    raise _unavailable(f"{url} opened no session: its answer has no end")
            status = response.status_code
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise _unavailable(f"{url} cannot be reached: {error}; is that a gateway of the mesh?") from error
    try:
        if status != httpx.codes.OK:
            raise from_status(json_format.Parse(body, status_pb2.Status(), ignore_unknown_fields=True))
        made = json_format.Parse(body, account_pb2.CreateUdpSessionResponse(), ignore_unknown_fields=True)
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise _unavailable(f"{url} opened no session: status {status}; is that a gateway of the mesh?") from error
    session_id = parse_session_id(made.session_id)
    if session_id is None or len(made.session_key) != SESSION_KEY_BYTES:
        raise _unavailable(f"{url} opened no session: its answer has another form")
    return UdpSessionKey(session_id, made.session_key, made.expire_time.seconds)


def _unavailable(message: str) -> TrinityError:
    return TrinityError(Reason.BACKEND_UNAVAILABLE, message, retry_after_ms=1_000)
