"""`trinity up`: the whole mesh on this machine, supervised until it is told to stop."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import click

from trinity_cli.demo_key import ADMIN_SCOPES, SCOPES, admin_key, demo_key
from trinity_cli.edge import edge_options, take_edge_options
from trinity_cli.exits import CommandError, Exit
from trinity_cli.mesh_options import mesh_options, workers_or_default
from trinity_cli.mesh_settings import MeshSettings
from trinity_cli.modes import Part
from trinity_cli.output import json_option
from trinity_cli.plan import Venues
from trinity_cli.running import run_mesh
from trinity_core.errors import TrinityError
from trinity_mesh.config import ConfigError


@click.command()
@mesh_options(venues=Venues.SANDBOX, data_dir="data")
@edge_options
@json_option
def up(*, venues: str, workers: int | None, data_dir: Path, as_json: bool, **options: Any) -> int:
    """Run the whole mesh on this machine until Ctrl-C.

    Starts PostgreSQL and Valkey (or uses those that TRINITY_STORAGE_POSTGRES_URL and
    TRINITY_STORAGE_VALKEY_URL name), the exchanges' sandboxes, the feed worker, the services,
    the sync and the gateways; makes a demo key and an operator's; restarts what falls;
    leaves nothing behind.
    """
    try:
        edge = take_edge_options(options)
        settings = MeshSettings(
            parts=frozenset(Part),
            venues=Venues(venues),
            workers=workers_or_default(workers),
            data_dir=data_dir.absolute(),
            secrets_file=None,
            env="local",
            edge=edge,
            **options,
        )
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        keys = {demo_key(settings.data_dir): SCOPES, admin_key(settings.data_dir): ADMIN_SCOPES}
        with asyncio.Runner() as runner:
            return runner.run(run_mesh(settings, keys=keys, as_json=as_json, environ=os.environ))
    except (TrinityError, ConfigError) as error:
        raise not_started(error) from error


def not_started(error: TrinityError | ConfigError) -> CommandError:
    """Why a mesh did not start, for the command that was to start it."""
    first, _, more = str(getattr(error, "message", error)).partition("\n")
    return CommandError(first, code=Exit.UNAVAILABLE, hint=more.lstrip())
