"""The TypeScript client's package: installed as its lock file says, made from the contracts, compiled."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "clients" / "typescript"
_STAMP = PACKAGE / "node_modules" / ".installed"
_NODE_MIN = 20


def built_package() -> Path:
    """The folder of the compiled package. Skips, saying why, where Node.js or its packages cannot be had."""
    _need_node()
    _install()
    include = subprocess.run(
        [sys.executable, ROOT / "scripts/generate.py", "--include"], capture_output=True, text=True, check=False
    )
    assert include.returncode == 0, include.stderr
    for name in ("generate", "build"):
        done = npm("run", "--silent", name)
        assert done.returncode == 0, f"npm run {name}:\n{done.stdout}{done.stderr}"
    return PACKAGE / "dist"


def npm(*words: str) -> subprocess.CompletedProcess[str]:
    """Run npm in the package; `buf` is the one of this environment."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return subprocess.run(
        ["npm", *words],
        cwd=PACKAGE,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def _need_node() -> None:
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("Node.js and npm are not installed")
    told = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    if int(told.removeprefix("v").partition(".")[0]) < _NODE_MIN:
        pytest.skip(f"the client needs Node.js {_NODE_MIN} or later, this is {told.strip()}")


def _install() -> None:
    """`npm ci`, unless what is there was installed by the same lock file."""
    locked = hashlib.sha256((PACKAGE / "package-lock.json").read_bytes()).hexdigest()
    if _STAMP.exists() and _STAMP.read_text() == locked:
        return
    done = npm("ci", "--prefer-offline", "--fetch-retries", "1")
    if done.returncode != 0 and any(
        word in done.stderr for word in ("ENOTFOUND", "ECONNREFUSED", "ETIMEDOUT", "EAI_AGAIN")
    ):
        pytest.skip(f"the npm registry cannot be reached: {done.stderr.strip().splitlines()[0]}")
    assert done.returncode == 0, f"npm ci:\n{done.stderr}"
    _STAMP.write_text(locked)
