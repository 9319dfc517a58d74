"""Valkey (or Redis) run by us from a plain binary: a bounded cache on a Unix socket, nothing on disk."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final
from urllib.parse import quote

from trinity_mesh.child import Spec
from trinity_mesh.readiness import Answers
from trinity_storage.embedded import RETRIED_10_S
from trinity_storage.place import Embedded, Place, private_dir, write_for
from trinity_storage.tool import plain_environ

_PING_S: Final = 1.0


def embedded_valkey(*, binary: Path, place: Place, memory_max_mib: int) -> Embedded:
    """Valkey of `binary`; it forgets everything when it ends, as a cache may."""
    directory = place.data_dir / "valkey"
    sockets = place.socket_dir / "valkey"
    socket = sockets / "valkey.sock"
    config = directory / "valkey.conf"

    async def prepare() -> None:
        private_dir(directory, place.run_as)
        private_dir(sockets, place.run_as)
        socket.unlink(missing_ok=True)
        write_for(config, valkey_settings(socket, directory, memory_max_mib), place.run_as)

    spec = Spec(
        name="valkey",
        argv=(str(binary), str(config)),
        env=plain_environ(place.environ),
        cwd=Path("/"),
        ready=Answers(lambda: pongs(socket)),
        restart=RETRIED_10_S,
        run_as=place.run_as,
        before_start=prepare,
    )
    return Embedded(spec, f"unix://{quote(str(socket), safe='/')}")


def valkey_settings(socket: Path, directory: Path, memory_max_mib: int) -> str:
    """All of valkey.conf, in words that Redis 7.0 knows as well."""
    lines = [
        "port 0",
        f"unixsocket {_quoted(str(socket))}",
        "unixsocketperm 700",
        f"dir {_quoted(str(directory))}",
        # A cache: nothing is written, and the least recently used goes first.
        'save ""',
        "appendonly no",
        f"maxmemory {memory_max_mib}mb",
        "maxmemory-policy allkeys-lru",
        "databases 1",
        "maxclients 500",
        # Nobody may stop it, empty it, list it, read its settings or make it write files.
        "user default on nopass resetchannels &* ~* +@all -@admin -@dangerous +info",
        "daemonize no",
        "supervised no",
        "always-show-logo no",
        'logfile ""',
        "loglevel notice",
        "set-proc-title no",
    ]
    return "\n".join(lines) + "\n"


async def pongs(socket: Path) -> bool:
    """Whether PING is answered now; within a second."""
    try:
        async with asyncio.timeout(_PING_S):
            reader, writer = await asyncio.open_unix_connection(str(socket))
            try:
                writer.write(b"PING\r\n")
                return await reader.readline() == b"+PONG\r\n"
            finally:
                writer.close()
                await writer.wait_closed()
    except OSError:  # TimeoutError is one
        return False


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
