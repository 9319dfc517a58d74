"""The ready file: what a mesh on this machine tells of itself, for commands and scripts."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trinity_cli.abroad import MESH_PORTS
from trinity_cli.mesh_settings import MeshSettings
from trinity_cli.modes import Part
from trinity_cli.plan import Places
from trinity_core.keys import KeyText
from trinity_mesh.process import write_json
from trinity_mesh.supervise import Supervisor


def facts_of(
    settings: MeshSettings, places: Places, processes: Sequence[str], keys: Sequence[KeyText]
) -> dict[str, Any]:
    """What the ready file tells: of each part that there is, where it answers."""
    facts: dict[str, Any] = {"data_dir": str(places.data_dir)}
    if Part.PRICES in settings.parts:
        facts |= {"http": places.http, "udp": places.udp}
    if Part.REPORTS in settings.parts:
        facts |= {"reports": places.reports, "udp_reports": places.udp_reports}
    sockets = {"feed": "feeds"} | {name: name for name in ("price", "account", "usage", "report", "webhook")}
    facts["grpc"] = {part: places.socket(part) for part, process in sockets.items() if process in processes}
    if settings.abroad.mesh_host:
        facts["grpc_mesh"] = {part: settings.abroad.listen(part) for part in MESH_PORTS if part in processes}
    if places.grpc:
        facts["grpc_public"] = places.grpc
    if places.privatelink:
        facts["privatelink"] = places.privatelink
    facts |= dict(zip(("key", "admin_key"), (key.text for key in keys), strict=False))
    facts["sandbox"] = settings.simulated
    if settings.simulated:
        facts["sandbox_control"] = f"http://127.0.0.1:{places.control_port}"
    return facts


class ReadyFiles:
    """The ready file, kept true while parts come and go."""

    def __init__(self, paths: list[Path], facts: dict[str, Any]) -> None:
        self._paths = paths
        self.facts = facts
        self._written = False
        self.remove()

    def write(self, supervisor: Supervisor) -> None:
        """Write all of it, with the pids of now."""
        self._written = True
        self.facts["pids"] = {"up": os.getpid()} | {
            status.name: status.pid for status in supervisor.statuses() if status.pid is not None
        }
        for path in self._paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, self.facts)

    def renew(self, supervisor: Supervisor) -> None:
        """Write it again once it was written."""
        if self._written:
            self.write(supervisor)

    def remove(self) -> None:
        """Nobody shall take a mesh for ready that is not."""
        self._written = False
        for path in self._paths:
            path.unlink(missing_ok=True)

    def print(self) -> None:
        """The same document on stdout."""
        print(json.dumps(self.facts), flush=True)
