"""A whole mesh as a real process tree, for tests: `trinity up` with free ports in its own folder."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx

T = TypeVar("T")

START_S = 60
"""Generous: a start that takes longer is broken, not slow."""


@dataclass
class Mesh:
    """A running mesh."""

    process: subprocess.Popen[bytes]
    ready_path: Path
    data_dir: Path
    facts: dict[str, Any] = field(default_factory=dict)

    def refresh(self) -> dict[str, Any]:
        """The ready file as it is now: pids change when a part is restarted."""
        self.facts = json.loads(self.ready_path.read_text())
        return self.facts

    @property
    def key(self) -> str:
        return str(self.facts["key"])

    def http(self, **headers: str) -> httpx.Client:
        """A client with the demo key."""
        return httpx.Client(
            base_url=f"http://{self.facts['http']}",
            headers={"Authorization": f"Bearer {self.key}", **headers},
            timeout=10,
            verify=False,  # plain HTTP: nothing to verify, and a TLS context is slow to make
            trust_env=False,
        )

    def cli(self, *arguments: str, **kwargs: Any) -> subprocess.CompletedProcess[str]:
        """Run a `trinity` command against this mesh."""
        return subprocess.run(
            [sys.executable, "-m", "trinity_cli.main", *arguments],
            env={**os.environ, "TRINITY_READY_FILE": str(self.ready_path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **kwargs,
        )

    def stderr(self) -> str:
        return (self.data_dir.parent / "up.err").read_text(errors="replace")


@contextlib.contextmanager
def running_mesh(
    folder: Path,
    *options: str,
    environ: dict[str, str] | None = None,
    command: Sequence[str] = ("up",),
    program: Sequence[str] = ("-m", "trinity_cli.main"),
    python: str = sys.executable,
    prefix: Sequence[str] = (),
) -> Iterator[Mesh]:
    """Start `trinity up`, or another command, in `folder`, wait until it is ready, and end it afterwards.

    `program` is what Python is told to run for `trinity`, and `python` which Python.
    `prefix` stands before all of it.
    """
    ready, data = folder / "ready.json", folder / "data"
    words = [
        *(*prefix, python, *program, *command),
        *("--http-port", "0", "--report-port", "0", "--udp-port", "0", "--udp-report-port", "0"),
        *("--data-dir", str(data), "--ready-file", str(ready), "--workers", "1", "--seed", "7", *options),
    ]
    ready.unlink(missing_ok=True)  # left by a mesh that was killed
    with (folder / "up.out").open("wb") as out, (folder / "up.err").open("wb") as err:
        process = subprocess.Popen(words, stdout=out, stderr=err, env={**os.environ, **(environ or {})})
    mesh = Mesh(process, ready, data)
    try:
        wait_until(lambda: ready.exists() or process.poll() is not None, START_S)
        if process.poll() is not None:
            raise AssertionError(f"trinity {command[0]} ended with {process.returncode}:\n{mesh.stderr()}")
        mesh.refresh()
        yield mesh
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
                raise AssertionError(f"trinity up did not end within 30 s:\n{mesh.stderr()}") from None


def wait_until(condition: Callable[[], T], within_s: float = 30) -> T:
    """Ask until the answer is true; its value. Fails after `within_s`, which bounds a broken mesh, not a slow one."""
    deadline = time.monotonic() + within_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {condition}")
        time.sleep(0.05)
