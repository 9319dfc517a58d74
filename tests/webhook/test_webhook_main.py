"""The webhook service as a process: settings by environment, readiness, an orderly end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from processes import GENEROUS_S, until
from trinity.webhook.v1 import webhook_pb2
from trinity_mesh.channels import open_channel
from trinity_mesh.process import EXIT_CONFIG, EXIT_OK
from trinity_mesh.secrets_file import make_secrets
from webhook.small_webhook import Caller

PLAIN = {name: value for name, value in os.environ.items() if not name.startswith("TRINITY_")}


def start(ready_file: Path, **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "trinity_webhook", str(ready_file)],
        env={**PLAIN, **environ},
        stderr=subprocess.PIPE,
        text=True,
    )


async def test_a_process_serves_until_it_is_told_to_end(database_url: str, tmp_path: Path) -> None:
    make_secrets(tmp_path / "secrets.json")
    ready_file = tmp_path / "ready.json"
    process = start(
        ready_file,
        TRINITY_WEBHOOK_LISTEN="127.0.0.1:0",
        TRINITY_WEBHOOK_SECRETS_FILE=str(tmp_path / "secrets.json"),
        TRINITY_WEBHOOK_POSTGRES_URL=database_url,
        TRINITY_WEBHOOK_PUBLIC_LISTEN="",
    )
    try:
        await until(lambda: ready_file.exists() or process.poll() is not None, "ready")
        assert process.poll() is None
        address = json.loads(ready_file.read_text())["address"]
        async with open_channel(address) as channel:
            # The public keys are all that a stranger may ask for; here there is none.
            request = webhook_pb2.GetKeySetRequest(endpoint="whe_000000000000000000000000")
            reason = ""
            try:
                await Caller(channel, ())(request)
            except Exception as error:
                reason = str(error)
            assert "UNKNOWN_ENDPOINT" in reason
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=GENEROUS_S)
    assert process.returncode == EXIT_OK, said


def test_a_setting_that_is_missing_or_wrong_ends_it_at_once(tmp_path: Path) -> None:
    for environ, named in (
        ({}, "postgres.url"),
        ({"TRINITY_WEBHOOK_DRAIN_MS": "-1"}, "drain_ms"),
        ({"TRINITY_WEBHOOK_POSTGRES_URL": "postgresql:///x"}, "secrets"),
    ):
        process = start(tmp_path / "ready.json", **{"TRINITY_WEBHOOK_SECRETS_FILE": str(tmp_path / "none"), **environ})
        _, said = process.communicate(timeout=GENEROUS_S)
        assert (process.returncode, named in said) == (EXIT_CONFIG, True), said
