"""Real stores for tests: which servers this machine has, and some of them running."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from processes import GENEROUS_S
from trinity_mesh.clock import SystemClock
from trinity_storage.migrate import migrate
from trinity_storage.postgres import Postgres, PostgresConfig

KINDS: Final = ("wheels", "debian")
"""The newest we carry, and the oldest we promise to work with (PostgreSQL 15, Redis 7)."""

DEBIAN_POSTGRES: Final = Path("/usr/lib/postgresql/15/bin/postgres")
DEBIAN_REDIS: Final = Path("/usr/bin/redis-server")


PATIENT: Final = PostgresConfig(acquire_timeout_ms=20_000)
"""For tests that are not about how long one waits: the machine is shared."""


@dataclass(frozen=True, slots=True)
class Programs:
    """Server programs of one kind."""

    kind: str
    postgres: Path
    postgres_major: int
    valkey: Path


def programs(kind: str) -> Programs | None:
    """The programs of a kind; None where this machine lacks one."""
    if kind == "debian":
        if not (DEBIAN_POSTGRES.exists() and DEBIAN_REDIS.exists()):
            return None
        return Programs(kind, DEBIAN_POSTGRES, 15, DEBIAN_REDIS)
    from trinity_storage.resolve import postgres_programs, valkey_programs

    async def first() -> Programs | None:
        nothing_on_path = {"PATH": ""}
        async for postgres in postgres_programs(nothing_on_path, lambda _: None):
            async for valkey in valkey_programs(nothing_on_path, lambda _: None):
                return Programs(kind, postgres.path, postgres.major, valkey.path)
        return None

    with asyncio.Runner() as runner:
        return runner.run(first())


MISSING: Final = {
    "wheels": "the wheels' servers do not run here",
    "debian": "Debian's postgresql-15 and redis-server are not installed",
}


@dataclass(frozen=True, slots=True)
class Stores:
    """Running servers."""

    kind: str
    postgres_url: str
    """As the owner of the database, no superuser."""
    valkey_url: str

    @property
    def admin_url(self) -> str:
        """As PostgreSQL's superuser."""
        return self.postgres_url.replace("//trinity@/trinity", "//postgres@/postgres")


# A process of its own, so that servers outlive the event loops of single tests.
_SERVES = """
import asyncio, json, os, sys
from pathlib import Path
from trinity_mesh.clock import SystemClock
from trinity_mesh.socketdir import socket_dir
from trinity_mesh.supervise import Supervisor
from trinity_storage.resolve import StorageConfig, resolve_postgres, resolve_valkey

async def main():
    data = Path(sys.argv[1])
    common = {
        "config": StorageConfig(), "data_dir": data, "socket_dir": socket_dir(data, environ=os.environ),
        "environ": {**os.environ, "PATH": sys.argv[2]},
    }
    stores = [await resolve_postgres(clock=SystemClock(), **common), await resolve_valkey(**common)]
    async with Supervisor([store.spec for store in stores], clock=SystemClock(), data_dir=data) as supervisor:
        print(json.dumps([store.url for store in stores]), flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


@contextmanager
def running_stores(kind: str) -> Iterator[Stores]:
    """Servers of a kind, found as the mesh finds them, until the block ends."""
    path = "" if kind == "wheels" else f"{DEBIAN_POSTGRES.parent}:{DEBIAN_REDIS.parent}"
    directory = Path(tempfile.mkdtemp(prefix="trinity-stores-"))
    command = [sys.executable, "-c", _SERVES, str(directory / "data"), path]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, "the stores did not start; what they said stands above"
        stores = Stores(kind, *json.loads(line))
        asyncio.run(_relax(stores))
        yield stores
    finally:
        process.communicate(timeout=GENEROUS_S)
        shutil.rmtree(directory)


_shared: Final[dict[str, Stores]] = {}
_running: Final = ExitStack()


def shared_stores(kind: str) -> Stores:
    """Servers of a kind for all tests of this process that have a database of their own and leave Valkey alone.

    Skips the test where this machine has none.
    """
    if programs(kind) is None:
        pytest.skip(MISSING[kind])
    if kind not in _shared:
        _shared[kind] = _running.enter_context(running_stores(kind))
    return _shared[kind]


def end_shared_stores() -> None:
    """End those that were started."""
    _running.close()
    _shared.clear()


async def _relax(stores: Stores) -> None:
    """Let PostgreSQL leave writing to the system: what tests kill are processes, and no machine loses its power."""
    admin = await asyncpg.connect(stores.admin_url)
    try:
        for setting in ("fsync", "full_page_writes"):
            await admin.execute(f"ALTER SYSTEM SET {setting} = off")
        await admin.execute("SELECT pg_reload_conf()")
    finally:
        await admin.close()


def url_of(stores: Stores, name: str) -> str:
    """The address of a database of the servers."""
    return stores.postgres_url.replace("//trinity@/trinity", f"//trinity@/{name}")


async def make_template(stores: Stores, name: str) -> str:
    """A database with every migration taken, to make others of; its address."""
    await create_database(stores, name)
    async with Postgres(PATIENT, url=url_of(stores, name), name="test", clock=SystemClock()) as postgres:
        await migrate(postgres)
    return url_of(stores, name)


async def create_database(stores: Stores, name: str, *, template: str = "template0") -> None:
    """A database, copied file by file: a third of the time that it takes by the log."""
    admin = await asyncpg.connect(stores.admin_url)
    try:
        await admin.execute(f"CREATE DATABASE {name} OWNER trinity TEMPLATE {template} STRATEGY file_copy")
    finally:
        await admin.close()


@asynccontextmanager
async def fresh_database(stores: Stores, *, template: str = "template0") -> AsyncIterator[str]:
    """The address of a database of the test's own."""
    name = f"test_{uuid.uuid4().hex}"
    await create_database(stores, name, template=template)
    try:
        yield url_of(stores, name)
    finally:
        admin = await asyncpg.connect(stores.admin_url)
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()
