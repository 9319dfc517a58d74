"""A session of datagrams, opened over HTTP with an API key that never travels in one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from trinity_cli.exits import CommandError, Exit, command_error
from trinity_cli.target import Target, read_ready, ready_path
from trinity_client import UdpSessionKey, open_udp_session
from trinity_core.errors import TrinityError


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


async def open_session(target: Target) -> UdpSessionKey:
    """A new session of the target's key. Raises CommandError."""
    if not target.key:
        raise CommandError(
            f"a session needs a key, and {target.origin} has none", code=Exit.REFUSED, hint="put one into TRINITY_KEY"
        )
    try:
        return await open_udp_session(f"http://{target.http}", target.key)
    except TrinityError as error:
        raise command_error(error, target.where("http")) from error
