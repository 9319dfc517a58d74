"""`trinity serve`: the parts of the mesh that one machine or task runs, beside others that run the rest."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import click

from trinity_cli.abroad import abroad_of, abroad_options
from trinity_cli.exits import CommandError, Exit
from trinity_cli.mesh_options import mesh_options, workers_or_default
from trinity_cli.mesh_settings import MeshSettings
from trinity_cli.modes import PARTS, Mode
from trinity_cli.output import json_option
from trinity_cli.plan import Venues
from trinity_cli.running import run_mesh
from trinity_cli.up import not_started
from trinity_core.errors import TrinityError
from trinity_mesh.config import ConfigError


@click.command()
@click.option(
    "--mode",
    type=click.Choice([str(mode) for mode in Mode]),
    required=True,
    envvar="TRINITY_MODE",
    help="What this machine does; $TRINITY_MODE says it too. docs/operations.md tells which to run where.",
)
@click.option(
    "--secrets-file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="TRINITY_SECRETS_FILE",
    help="File with the secrets that all machines of one mesh share. [default: secrets.json in the data folder, made "
    "where it is missing]",
)
@abroad_options
@click.option(
    "--logs",
    type=click.Choice(["files", "stderr"]),
    default="files",
    show_default=True,
    envvar="TRINITY_LOGS",
    help="Where the processes' logs go beside their files in the data folder; a container's belong on stderr.",
)
@mesh_options(venues=Venues.LIVE, data_dir="data")
@json_option
def serve(
    *,
    mode: str,
    venues: str,
    workers: int | None,
    data_dir: Path,
    secrets_file: Path | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Run the parts of one mode until SIGTERM or Ctrl-C.

    The stores are those that TRINITY_STORAGE_POSTGRES_URL and TRINITY_STORAGE_VALKEY_URL name;
    without them this machine gets stores of its own, which no other machine shares. A machine that
    uses the services of another for all that is stored has none. No key is made: `trinity key create`
    makes one.
    """
    chosen = Mode(mode)
    abroad = abroad_of(chosen, options, os.environ)
    if chosen is Mode.SYNC:
        _need_stores(os.environ)
    if secrets_file is not None and not secrets_file.exists():
        raise CommandError(
            f"{secrets_file} does not exist",
            code=Exit.USAGE,
            hint="copy secrets.json of the machine that the mesh began on: with other secrets no key would be good",
        )
    if "account" in abroad.remotes and secrets_file is None and not (data_dir / "secrets.json").exists():
        raise CommandError(
            "--account is another machine's, and without its secrets no key is good here",
            code=Exit.USAGE,
            hint="--secrets-file names a copy of that machine's secrets.json",
        )
    settings = MeshSettings(
        parts=PARTS[chosen],
        venues=Venues(venues),
        workers=workers_or_default(workers),
        data_dir=data_dir.absolute(),
        secrets_file=None if secrets_file is None else secrets_file.absolute(),
        env=None,
        unattended=True,
        abroad=abroad,
        **options,
    )
    try:
        with asyncio.Runner() as runner:
            return runner.run(run_mesh(settings, keys={}, as_json=as_json, environ=os.environ))
    except (TrinityError, ConfigError) as error:
        raise not_started(error) from error


def _need_stores(environ: Any) -> None:
    """A sync between stores of its own would copy nothing from nobody to nobody."""
    missing = [name for name in ("TRINITY_STORAGE_POSTGRES_URL", "TRINITY_STORAGE_VALKEY_URL") if not environ.get(name)]
    if missing:
        raise CommandError(
            f"mode SYNC copies from one shared store to another, and {' and '.join(missing)} names none",
            code=Exit.USAGE,
            hint="name the stores that the other machines use; `trinity up` syncs its own by itself",
        )
