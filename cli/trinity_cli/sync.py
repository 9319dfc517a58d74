"""`trinity sync`: copy the usage log from the database into the cache now."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click

from trinity_cli.exits import CommandError, Exit, asking
from trinity_cli.output import Output, json_option
from trinity_cli.target import ready_path
from trinity_mesh.clock import Clock, SystemClock
from trinity_mesh.config import ConfigError, load
from trinity_sync.config import SyncConfig
from trinity_sync.main import SECTION, opened
from trinity_sync.syncing import Done, Kind


@click.command()
@click.option("--full", is_flag=True, help="Load everything anew, not only what changed.")
@click.option(
    "--ready-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File that the mesh wrote when it was ready; its stores are used. [default: $TRINITY_READY_FILE, "
    "then ready.json in $TRINITY_DATA_DIR or ./data]",
)
@json_option
def sync(*, full: bool, ready_file: Path | None, as_json: bool) -> None:
    """Bring the cache's copy of the usage log up to the database.

    Only what changed since the last sync, or everything with --full or where there is no
    complete copy. Readers have a complete copy all the while, whenever this is ended. The
    stores are those of the mesh that runs here, or those that TRINITY_SYNC_POSTGRES_URL and
    TRINITY_SYNC_VALKEY_URL name.
    """
    out = Output(as_json=as_json)
    try:
        config = load(
            SyncConfig, section=SECTION, values=_values(ready_path(ready_file, os.environ)), environ=os.environ
        )
        with asking("the stores"), asyncio.Runner() as runner:
            done = runner.run(_sync(config, full=full, shown=Shown(quiet=as_json, clock=SystemClock())))
    except ConfigError as error:
        raise CommandError(
            str(error),
            code=Exit.UNREACHABLE,
            hint="`trinity up` starts a mesh; TRINITY_SYNC_POSTGRES_URL and TRINITY_SYNC_VALKEY_URL name stores",
        ) from error
    if as_json:
        out.document({**asdict(done), "kind": str(done.kind)})
    else:
        out.line(_sentence(done))


class Shown:
    """Progress on stderr: a line that is redrawn on a terminal, a line now and then elsewhere."""

    def __init__(self, *, quiet: bool, clock: Clock) -> None:
        self._quiet = quiet
        self._clock = clock
        self._tty = sys.stderr.isatty()
        self._began_ns = self._told_ns = clock.monotonic_ns()

    def progress(self, kind: Kind, rows: int, expected: int) -> None:
        """See `trinity_sync.syncing.Progress`."""
        now_ns = self._clock.monotonic_ns()
        if self._quiet or now_ns - self._told_ns < (_REDRAWN_NS if self._tty else _TOLD_NS):
            return
        self._told_ns = now_ns
        part = f" of about {expected:,}" if expected > rows else ""
        seconds = (now_ns - self._began_ns) / 1e9
        text = f"trinity: {kind} sync: {rows:,}{part} rows, {seconds:.1f} s"
        click.echo(f"\r\x1b[2K{text}" if self._tty else text, err=True, nl=not self._tty)

    def end(self) -> None:
        """Make room for what comes after the line."""
        if self._tty and not self._quiet and self._told_ns != self._began_ns:
            click.echo("\r\x1b[2K", err=True, nl=False)


async def _sync(config: SyncConfig, *, full: bool, shown: Shown) -> Done:
    try:
        async with opened(config, clock=SystemClock()) as syncing:
            return await syncing.once(full=full, progress=shown.progress)
    finally:
        shown.end()


def _values(ready: Path) -> Mapping[str, Any]:
    """The stores of the mesh whose ready file it is, as its processes were told them; nothing where none runs."""
    try:
        folder = Path(json.loads(ready.read_text("utf-8"))["data_dir"])
    except (OSError, ValueError, KeyError, TypeError):
        folder = ready.parent
    for name in ("sync", "account"):
        try:
            values = json.loads((folder / "run" / f"{name}.config.json").read_text("utf-8"))
            found = {store: {"url": values[store]["url"]} for store in ("postgres", "valkey")}
        except (OSError, ValueError, KeyError, TypeError):
            continue
        return values if name == SECTION and isinstance(values, dict) else found
    return {}


def _sentence(done: Done) -> str:
    took = f"{done.took_ms / 1_000:.1f} s"
    if done.kind is Kind.FULL:
        return f"copied all {done.rows:,} rows ({done.packed_bytes / (1 << 20):.1f} MiB) in {took}: {done.why}"
    return f"copied {done.rows:,} changed rows in {took}" if done.rows else "nothing had changed"


_REDRAWN_NS: Final = 100_000_000
_TOLD_NS: Final = 2_000_000_000
