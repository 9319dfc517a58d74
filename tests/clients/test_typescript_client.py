"""The TypeScript client passes its own tests against a real mesh, by every way that there is to it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

from clients.node_package import PACKAGE, built_package
from clients.polyglot_mesh import polyglot_mesh


def test_the_lock_file_names_no_registry_and_every_package_is_pinned() -> None:
    locked = json.loads((PACKAGE / "package-lock.json").read_text())
    own = locked["packages"].pop("")
    assert locked["packages"]
    assert all(
        "resolved" not in each and each["integrity"].startswith("sha512-") for each in locked["packages"].values()
    )
    for kind in ("dependencies", "devDependencies"):
        assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in own[kind].values())


def test_the_client_gets_watches_and_explains_prices_and_reads_usage(tmp_path: Path) -> None:
    built = built_package()
    tests = sorted(str(path) for path in (built / "test").glob("*.test.js"))
    assert len(tests) >= 5
    with polyglot_mesh(tmp_path) as mesh:
        told = tmp_path / "mesh.json"
        told.write_text(json.dumps(mesh.document()))
        done = subprocess.run(
            ["node", "--test", "--test-reporter=tap", *tests],
            env={**os.environ, "TRINITY_MESH": str(told)},
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        sums = dict(re.findall(r"^# (\w+) (\d+)$", done.stdout, re.MULTILINE))
        assert done.returncode == 0, done.stdout + done.stderr + mesh.mesh.stderr()
    assert (sums["fail"], sums["cancelled"], sums["skipped"], sums["todo"]) == ("0", "0", "0", "0")
    for way in mesh.ways:
        for what in (
            "a price is got, exact and marked as simulated",
            "a book follows, and resumes where it was after its connection was cut",
            "an explanation has every venue, and the kept ones are the sources of the price",
            "usage is read: what was answered to the key, listed and summed",
        ):
            assert re.search(rf"^# Subtest: {re.escape(way['name'])}$", done.stdout, re.MULTILINE)
            assert done.stdout.count(f"# Subtest: {what}") == len(mesh.ways)
    assert done.stdout.count("# Subtest: refused: ") == len(mesh.refused)
