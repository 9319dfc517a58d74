"""What the wheel and the image install is what was tested: one set of pins, in each lock the same."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RENEW = (
    "run `uv pip compile pyproject.toml -c requirements.lock --universal --python-version 3.11 --generate-hashes "
    "--no-emit-index-url --no-header --no-annotate -q -o deploy/requirements.lock`, as `make lock` does"
)


def entries(lock: str) -> dict[str, str]:
    """Of each package the version, the marker and the hashes."""
    text = (ROOT / lock).read_text().replace("\\\n", " ")
    return {line.partition("==")[0]: line for line in text.splitlines() if "==" in line}


def test_the_image_installs_what_the_suite_ran_with() -> None:
    tested, shipped = entries("requirements.lock"), entries("deploy/requirements.lock")
    assert shipped
    pins = {name: (line.split()[0], re.findall(r"--hash=\S+", line)) for name, line in tested.items()}
    for name, line in shipped.items():
        assert pins.get(name) == (line.split()[0], re.findall(r"--hash=\S+", line)), f"{name}: {RENEW}"


def test_the_image_has_every_package_that_the_project_depends_on_and_none_that_only_developers_do() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    shipped = set(entries("deploy/requirements.lock"))
    names = {re.match(r"[\w.-]+", line)[0] for line in project["project"]["dependencies"]}  # type: ignore[index]
    assert names <= shipped, f"{names - shipped}: {RENEW}"
    assert not {"pytest", "ruff", "mypy", "hatchling"} & shipped


def test_no_lock_names_where_packages_come_from() -> None:
    for lock in ("requirements.lock", "deploy/requirements.lock", "benchmarks/requirements.lock"):
        assert "://" not in (ROOT / lock).read_text(), lock
