"""A session of datagrams: opened over HTTP with the caller's key, which itself never travels in one."""

from __future__ import annotations

import http.client
import os
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Final

from google.protobuf import json_format
from google.rpc import status_pb2

from trinity.account.v1 import account_pb2
from trinity_cli.exits import CommandError, Exit, command_error
from trinity_cli.target import Target, read_ready, ready_path
from trinity_core.udp_mac import signed_line
from trinity_core.udp_session import SESSION_KEY_BYTES, parse_session_id
from trinity_mesh.clock import Clock
from trinity_mesh.status import from_status

PATH: Final = "/v1/udp/sessions"

_HTTP_S: Final = 10.0
_BODY_BYTES_MAX: Final = 64 << 10


class Session:
    """An open session: makes lines that are good once."""

    def __init__(self, session_id: str, session_key: bytes, clock: Clock) -> None:
        self._id = session_id
        self._key = session_key
        self._clock = clock
        self._sequence = 0

    def sign(self, text: str) -> bytes:
        """The line to send for `text` ("GET BTC USD")."""
        self._sequence += 1
        unix_s = self._clock.unix_ns() // 1_000_000_000
        line = signed_line(self._key, text, session=self._id, unix_s=unix_s, sequence=self._sequence)
        return line.encode("ascii")


def session_target(
    part: str, address: str | None, ready_file: Path | None, environ: Mapping[str, str] = os.environ
) -> Target:
    """The mesh of the ready file, which knows where sessions are opened.

    `address` is that of `part` alone ("udp", "udp_reports"). TRINITY_KEY is the key to go with;
    without it, the key in the file. Raises CommandError.
    """
    target = read_ready(ready_path(ready_file, environ))
    if address:
        target = replace(target, udp=address) if part == "udp" else replace(target, udp_reports=address)
    target.need(part)
    # Both HTTP ports open sessions, and a mesh may have but one of them.
    target = replace(target, http=target.http or target.reports)
    target.need("http")
    return replace(target, key=environ.get("TRINITY_KEY") or target.key)


def open_session(target: Target, *, clock: Clock) -> Session:
    """A new session of the target's key. Raises CommandError."""
    if not target.key:
        raise CommandError(
            f"a session needs a key, and {target.origin} has none", code=Exit.REFUSED, hint="put one into TRINITY_KEY"
        )
    where = target.where("http")
    try:
        status, body = _post(target)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise CommandError(
            f"{where}: {error}", code=Exit.UNREACHABLE, hint="is the mesh running? `trinity up` starts it"
        ) from error
    try:
        if status != HTTPStatus.OK:
            told = json_format.Parse(body, status_pb2.Status(), ignore_unknown_fields=True)
            raise command_error(from_status(told), where)
        made = json_format.Parse(body, account_pb2.CreateUdpSessionResponse(), ignore_unknown_fields=True)
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise CommandError(
            f"{where} opened no session: status {status}", code=Exit.UNAVAILABLE, hint="is that a gateway of the mesh?"
        ) from error
    if parse_session_id(made.session_id) is None or len(made.session_key) != SESSION_KEY_BYTES:
        raise CommandError(f"{where} opened no session: its answer has another form", code=Exit.UNAVAILABLE)
    return Session(made.session_id, made.session_key, clock)


def _post(target: Target) -> tuple[int, bytes]:
    host, _, port = target.http.rpartition(":")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=_HTTP_S)
    try:
        headers = {"Authorization": f"Bearer {target.key}", "Content-Type": "application/json"}
        connection.request("POST", PATH, body=b"{}", headers=headers)
        response = connection.getresponse()
        return response.status, response.read(_BODY_BYTES_MAX)
    finally:
        connection.close()
