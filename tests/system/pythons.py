"""The Pythons of this machine that the project supports, and environments made with them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RUNTIME_LOCK = ROOT / "deploy" / "requirements.lock"

Version = tuple[int, int]


def supported() -> list[Version]:
    """The versions that the project says it supports, oldest first."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = (re.fullmatch(r"Programming Language :: Python :: 3\.(\d+)", line) for line in project["classifiers"])
    return sorted((3, int(found[1])) for found in texts if found)


def installed() -> dict[Version, Path]:
    """A working program for each supported version that this machine has."""
    own = sys.version_info[:2]
    found = {own: Path(getattr(sys, "_base_executable", sys.executable))}
    for version in supported():
        name = f"python{version[0]}.{version[1]}"
        pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
        on_path = [Path(folder) / name for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
        for program in [*on_path, *sorted(pyenv.glob(f"{version[0]}.{version[1]}.*/bin/python"))]:
            if version not in found and program.is_file() and _is(program, version):
                found[version] = program
    return {version: found[version] for version in supported() if version in found}


def _is(program: Path, version: Version) -> bool:
    """Whether it runs, is that version, and can make environments: a shim or a part of a distribution may not."""
    code = "import json, sys, venv, ssl, sqlite3; print(json.dumps(sys.version_info[:2]))"
    try:
        done = subprocess.run([program, "-c", code], capture_output=True, text=True, check=False, timeout=30)
    except OSError:
        return False
    return done.returncode == 0 and tuple(json.loads(done.stdout)) == version


def make_environment(folder: Path, program: Path) -> Path:
    """An empty virtual environment; its Python."""
    subprocess.run([program, "-m", "venv", "--without-pip", folder], check=True, timeout=60)
    return folder / "bin" / "python"


def pip(python: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run this environment's pip on another one."""
    command = [sys.executable, "-m", "pip", "--python", python, "--quiet", "--disable-pip-version-check"]
    return subprocess.run([*command, *words], capture_output=True, text=True, check=False, timeout=180)


def share_packages(python: Path) -> None:
    """Let an environment of the same version see this one's packages, but not the project in this checkout.

    A path in a .pth file is searched; .pth files that stand in it, such as an editable install's, are not read.
    """
    found = next(python.parent.parent.glob("lib/python3.*/site-packages"))
    (found / "shared.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")


def trinity(python: Path) -> str:
    """The command that the wheel brought."""
    found = shutil.which("trinity", path=str(python.parent))
    assert found, "the wheel brought no `trinity` command"
    return found
