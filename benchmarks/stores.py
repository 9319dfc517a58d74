"""How soon embedded stores serve, serve again after a kill, and are gone with their supervisor."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter

import asyncpg

from trinity_mesh.clock import SystemClock
from trinity_mesh.socketdir import socket_dir
from trinity_mesh.supervise import State, Supervisor
from trinity_storage.migrate import migrate
from trinity_storage.postgres import Postgres, PostgresConfig
from trinity_storage.resolve import StorageConfig, Store, resolve_postgres, resolve_valkey

ROUNDS = 5
BUSY = "DO $$ BEGIN LOOP PERFORM 1; END LOOP; END $$"
KINDS = {"wheels": "", "PATH and Debian": f"/usr/lib/postgresql/15/bin:{os.environ.get('PATH', '')}"}


def main() -> None:
    """Print milliseconds for the wheels and for what stands on PATH; write benchmarks/results/stores.json."""
    if len(sys.argv) == 3:
        asyncio.run(serve_until_killed(Path(sys.argv[1]), sys.argv[2]))
        return
    results = {}
    for kind, path in KINDS.items():
        rows = asyncio.run(measure(path))
        results[kind] = rows
        print(kind)
        for name, values in rows.items():
            said = "  ".join(f"{value:7.0f}" for value in values) if isinstance(values, list) else values
            print(f"  {name:48} {said}")
    result = {"machine": f"{platform.machine()}, Python {platform.python_version()}", "milliseconds": results}
    Path(__file__).with_name("results").mkdir(exist_ok=True)
    Path(__file__).with_name("results").joinpath("stores.json").write_text(json.dumps(result, indent=2) + "\n")


async def resolve(data: Path, path: str) -> list[Store]:
    """Both stores, found with `path` as PATH."""
    sockets, environ = socket_dir(data, environ=os.environ), {**os.environ, "PATH": path}
    config, clock = StorageConfig(), SystemClock()
    postgres = await resolve_postgres(config=config, data_dir=data, socket_dir=sockets, environ=environ, clock=clock)
    valkey = await resolve_valkey(config=config, data_dir=data, socket_dir=sockets, environ=environ)
    return [postgres, valkey]


async def measure(path: str) -> dict[str, list[float] | str]:
    """Milliseconds of each round; versions as text."""
    rows: dict[str, list[float] | str] = {}
    first, second, again, gone = [], [], {"postgres": [], "valkey": []}, []
    for _ in range(ROUNDS):
        home = Path(tempfile.mkdtemp(prefix="trinity-bench-"))
        data = home / "data"
        for starts in (first, second):
            began = perf_counter()
            stores = await resolve(data, path)
            rows["versions"] = ", ".join(f"{store.version} ({store.origin})" for store in stores)
            specs = [store.spec for store in stores if store.spec]
            async with Supervisor(specs, clock=SystemClock(), data_dir=data) as supervisor:
                starts.append(ms(began))
                if starts is first:
                    pool = Postgres(PostgresConfig(), url=stores[0].url, name="bench", clock=SystemClock())
                    async with pool:
                        await migrate(pool)
                for name, values in again.items():
                    values.append(await kill_and_wait(supervisor, name))
        gone.append(await kill_supervisor(data, path))
        shutil.rmtree(home)
    rows["first start, cluster made"] = first
    rows["second start"] = second
    rows["postgres killed, serving again"] = sorted(again["postgres"])
    rows["valkey killed, serving again"] = sorted(again["valkey"])
    rows["supervisor killed, all gone (a busy backend too)"] = gone
    rows["medians"] = ", ".join(f"{statistics.median(v):.0f}" for v in rows.values() if isinstance(v, list))
    return rows


async def kill_and_wait(supervisor: Supervisor, name: str) -> float:
    """Milliseconds from SIGKILL to serving."""
    before = supervisor.status(name)
    began = perf_counter()
    os.kill(before.pid or 0, signal.SIGKILL)
    await until(lambda: serves_anew(supervisor, name, before.restarts))
    return ms(began)


async def serves_anew(supervisor: Supervisor, name: str, restarts: int) -> bool:
    """Whether a later run serves."""
    now = supervisor.status(name)
    return now.restarts > restarts and now.state is State.SERVING


async def kill_supervisor(data: Path, path: str) -> float:
    """Milliseconds from the supervisor's SIGKILL until none of its processes is left."""
    command = [sys.executable, __file__, str(data), path]
    supervisor = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert supervisor.stdout is not None
    url = (await supervisor.stdout.readline()).decode().strip()
    connection = await asyncpg.connect(url)
    busy = asyncio.create_task(connection.execute(BUSY))
    await asyncio.sleep(0.1)
    everyone = below(supervisor.pid)
    assert connection.get_server_pid() in everyone
    began = perf_counter()
    supervisor.kill()
    await supervisor.wait()

    async def none_left() -> bool:
        return not everyone & running()

    await until(none_left)
    took = ms(began)
    connection.terminate()
    await asyncio.gather(busy, return_exceptions=True)
    return took


async def serve_until_killed(data: Path, path: str) -> None:
    """The supervisor that is to be killed."""
    stores = await resolve(data, path)
    async with Supervisor([store.spec for store in stores if store.spec], clock=SystemClock(), data_dir=data):
        print(stores[0].url, flush=True)
        await asyncio.sleep(3_600)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Return as soon as it holds."""
    async with asyncio.timeout(60):
        while not await condition():  # noqa: ASYNC110 - other processes set no events
            await asyncio.sleep(0.002)


def stats() -> dict[int, tuple[str, int]]:
    """State and parent of every process (Linux)."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            found[int(entry.name)] = (fields[0], int(fields[1]))
    return found


def running() -> set[int]:
    """Processes that are not merely waiting to be reaped."""
    return {pid for pid, (state, _) in stats().items() if state not in "ZX"}


def below(pid: int) -> set[int]:
    """Every process under one."""
    known, found, waiting = stats(), set(), [pid]
    while waiting:
        above = waiting.pop()
        children = {child for child, (_, parent) in known.items() if parent == above} - found
        found |= children
        waiting.extend(children)
    return found


def ms(began: float) -> float:
    """Milliseconds since."""
    return (perf_counter() - began) * 1_000


if __name__ == "__main__":
    main()
