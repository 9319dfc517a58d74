"""The options that `trinity up` and `trinity serve` share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from trinity_cli.plan import Venues

F = TypeVar("F", bound=Callable[..., Any])

_PORT: Final = click.IntRange(0, 65_535)


def mesh_options(*, venues: Venues, data_dir: str) -> Callable[[F], F]:
    """Adds them to a command; the arguments are defaults."""
    options = (
        click.option(
            "--host", default="127.0.0.1", show_default=True, help="Address that HTTP, UDP and gRPC listen on."
        ),
        click.option(
            "--http-port", type=_PORT, default=8080, show_default=True, help="Port of prices over HTTP; 0: a free one."
        ),
        click.option(
            "--report-port", type=_PORT, default=9090, show_default=True, help="Port of reports over HTTP; 0: likewise."
        ),
        click.option(
            "--udp-port", type=_PORT, default=2679, show_default=True, help="Port of prices over UDP; 0: likewise."
        ),
        click.option(
            "--udp-report-port",
            type=_PORT,
            default=2680,
            show_default=True,
            help="Port of reports over UDP; 0: likewise.",
        ),
        click.option(
            "--grpc-port", type=_PORT, help="Port of prices for gRPC callers with a key. [default: none is open]"
        ),
        click.option(
            "--privatelink-port",
            type=_PORT,
            help="Port of prices over HTTP for balancers that write PROXY protocol v2, which bridge.trusted_proxies "
            "names. [default: none is open]",
        ),
        click.option(
            "--data-dir",
            type=click.Path(path_type=Path, file_okay=False),
            default=lambda: Path(os.environ.get("TRINITY_DATA_DIR") or data_dir),
            help=f"Folder for everything that is kept. [default: $TRINITY_DATA_DIR or ./{data_dir}]",
        ),
        click.option("--workers", type=click.IntRange(1, 64), help="Gateway processes. [default: half of the cores]"),
        click.option(
            "--venues",
            type=click.Choice([str(choice) for choice in Venues]),
            default=str(venues),
            show_default=True,
            help="Simulated exchanges or the real ones.",
        ),
        click.option("--seed", type=int, default=1, show_default=True, help="Seed of the simulated exchanges."),
        click.option(
            "--ready-file",
            type=click.Path(path_type=Path, dir_okay=False),
            help="Also write the ready file here; it always stands in the data folder as ready.json.",
        ),
    )

    def add(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def workers_or_default(workers: int | None) -> int:
    """As many as were asked for; else half of the cores, for the other half makes prices."""
    return workers or max(1, (os.cpu_count() or 2) // 2)
