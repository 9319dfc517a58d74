"""The TypeScript client passes its own tests against a real mesh by every way to it, and the pages' examples run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clients.node_package import PACKAGE, ROOT, built_package
from clients.polyglot_mesh import PolyglotMesh, example_environ, polyglot_mesh

CLIENTS = ROOT / "clients"


def test_the_lock_file_names_no_registry_and_every_package_is_pinned() -> None:
    locked = json.loads((PACKAGE / "package-lock.json").read_text())
    own = locked["packages"].pop("")
    assert locked["packages"]
    assert all(
        "resolved" not in each and each["integrity"].startswith("sha512-") for each in locked["packages"].values()
    )
    for kind in ("dependencies", "devDependencies"):
        assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in own[kind].values())


@pytest.mark.timeout(300)  # installs, compiles and starts a mesh, on a busy machine too
def test_the_client_and_the_examples_work_against_a_mesh(tmp_path: Path) -> None:
    built = built_package()
    with polyglot_mesh(tmp_path) as mesh:
        _holds_its_own_tests(built, mesh, tmp_path)
        for way in mesh.ways[:2]:
            for command in (
                ["node", str(built / "example/main.js")],
                [sys.executable, str(CLIENTS / "python/main.py")],
            ):
                _runs(command, example_environ(way["price"]))
        if shutil.which("jq") and shutil.which("nc") and shutil.which("curl"):
            facts = mesh.mesh.facts
            where = {
                "TRINITY_HTTP": f"http://{facts['http']}",
                "TRINITY_UDP": facts["udp"],
                "TRINITY_KEY": mesh.mesh.key,
            }
            out = _runs(["sh", str(CLIENTS / "shell/example.sh")], {**example_environ({}), **where})
            assert re.search(r"^OK BTC [0-9.]+ USD F\*$", out, re.MULTILINE)


def _holds_its_own_tests(built: Path, mesh: PolyglotMesh, folder: Path) -> None:
    """The client's own tests pass, every one of them, by every way."""
    tests = sorted(str(path) for path in (built / "test").glob("*.test.js"))
    assert len(tests) >= 5
    told = folder / "mesh.json"
    told.write_text(json.dumps(mesh.document()))
    done = subprocess.run(
        ["node", "--test", "--test-reporter=tap", *tests],
        env={**os.environ, "TRINITY_MESH": str(told)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr + mesh.mesh.stderr()
    sums = dict(re.findall(r"^# (\w+) (\d+)$", done.stdout, re.MULTILINE))
    assert (sums["fail"], sums["cancelled"], sums["skipped"], sums["todo"]) == ("0", "0", "0", "0")
    for way in mesh.ways:
        assert re.search(rf"^# Subtest: {re.escape(way['name'])}$", done.stdout, re.MULTILINE)
    for what in (
        "a price is got, exact and marked as simulated",
        "a book follows, and resumes where it was after its connection was cut",
        "an explanation has every venue, and the kept ones are the sources of the price",
        "usage is read: what was answered to the key, listed and summed",
    ):
        assert done.stdout.count(f"# Subtest: {what}\n") == len(mesh.ways)
    assert done.stdout.count("# Subtest: refused: ") == len(mesh.refused)


def _runs(command: list[str], environ: dict[str, str]) -> str:
    """An example ends well, with what all of them print."""
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert re.match(r"price BTC [0-9]+(\.[0-9]+)? ", lines[0])
    assert lines[1].startswith("error UNKNOWN_ASSET ")
    changes = [line for line in lines if line.startswith("change ")]
    assert len(changes) == int(environ["TRINITY_CHANGES"])
    assert {line.split()[1] for line in changes} <= {"BTC", "ETH"}
    return done.stdout
