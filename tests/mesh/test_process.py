"""A real process: ready file, signals, exit codes and logs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from trinity_mesh.process import EXIT_CONFIG, EXIT_FAILED, EXIT_OK

PROGRAM = """
import asyncio, sys
from pathlib import Path
from trinity_core.errors import Reason, TrinityError
from trinity_mesh.config import ConfigError
from trinity_mesh.process import run_process
how = sys.argv[1]
async def part(stopping, ready):
    if how == "config": raise ConfigError("settings of x: flush_ms must be positive")
    if how == "refused": raise TrinityError(Reason.BACKEND_UNAVAILABLE, "port 1 is taken")
    if how == "bug": raise RuntimeError("boom")
    if how == "leak": raise RuntimeError("boom: tbk_test_0c7bgy9rbydg_" + "s3cr3t" * 8)
    ready({"address": "here"})
    print("ready", flush=True)
    await stopping.wait()
sys.exit(run_process(part, name="x", ready_file=Path(sys.argv[2])))
"""


def start(how: str, ready: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, how, str(ready)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_process_cleanly_after_it_said_it_is_ready(tmp_path: Path, number: int) -> None:
    ready = tmp_path / "ready.json"
    process = start("serve", ready)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    facts = json.loads(ready.read_text())
    assert facts == {"pid": process.pid, "address": "here"}
    assert ready.stat().st_mode & 0o777 == 0o600
    os.kill(process.pid, number)
    process.communicate(timeout=30)
    assert process.returncode == EXIT_OK


@pytest.mark.parametrize(
    ("how", "code", "says"),
    [
        ("config", EXIT_CONFIG, "flush_ms must be positive"),
        ("refused", EXIT_FAILED, "port 1 is taken"),
        ("bug", EXIT_FAILED, "boom"),
    ],
)
def test_what_stops_a_process_is_told_by_its_exit_code_and_log(tmp_path: Path, how: str, code: int, says: str) -> None:
    process = start(how, tmp_path / "ready.json")
    _, err = process.communicate(timeout=30)
    assert process.returncode == code
    line = json.loads(err.splitlines()[-1])
    assert says in line["message"] + line.get("traceback", "")
    assert line["part"] == "x"
    assert not (tmp_path / "ready.json").exists()


def test_a_key_that_gets_into_a_log_is_written_without_its_secret(tmp_path: Path) -> None:
    _, err = start("leak", tmp_path / "ready.json").communicate(timeout=30)
    assert "boom: tbk_test_0c7bgy9rbydg_…" in json.loads(err.splitlines()[-1])["traceback"]
    assert "s3cr3ts3cr3t" not in err
